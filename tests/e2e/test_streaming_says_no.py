"""Exactly once, broken on purpose on a real Kafka and a real Flink: each time the ledger says no, and why.

And the sound twin, which the same fault leaves exact.

Each row is a whole run; what is broken is one setting of an experiment that is otherwise that of its twin.
"""

from __future__ import annotations

import os
import re

import pytest

from chaos.model import Decision, EventKind, Status
from chaos.recording import Recording
from tests.e2e.short import run

pytestmark = [
    pytest.mark.real,
    pytest.mark.slow,
    pytest.mark.timeout(400),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
]

TEXT = """
chaosgate: 1
name: {name}
stack:
  streaming:
    kafka: {{brokers: 1, topics: {{in: 4}}}}
    flink:
      {{taskmanagers: {taskmanagers}, standby: false, checkpoint: {checkpoint}{flink}, job: {{parallelism: 2{job}}}}}
load:
  records: {{topic: in, keys: 20, acks: all, read: [out, win], markers: true, settle: {settle}{records}}}
  rate: 200/s
  users: 2
  timeout: 20s
warm-up: 2s
duration: 12s
steps:
  - {{name: break, at: 4s, {step}}}
gates:
  - ledger: {{input: in, output: out, windows: win}}
  - restarts: {{per-fault: 9}}
  - orphaned-transactions: {{limit: 20s}}
seed: 5
"""
KILL = "on: {running: OverAggregate}, fault: {kill: {down-for: 2s}}"
RESUBMIT = "on: jobmanager, fault: resubmit"
UPGRADE = "on: jobmanager, fault: {upgrade: {to: v2}}"
CHANGED = "on: jobmanager, fault: {upgrade: {to: v3}}"


NEVER_SETTLES = {"settle": "15s"}
NOTHING_RUNS = {"settle": "8s"}  # so that there is nothing to be waited for


def text(name, *, step=KILL, checkpoint="1s", flink="", job="", records="", taskmanagers=1, settle="45s"):
    """One broker and one TaskManager: it is the job that loses or doubles."""
    told = {"flink": flink, "job": job, "records": records, "taskmanagers": taskmanagers, "settle": settle}
    return TEXT.format(name=name, step=step, checkpoint=checkpoint, **told)


def ledger(result):
    assert result.error is None, result.error
    return next(verdict for verdict in result.judgement.verdicts if verdict.gate == "ledger")


@pytest.mark.alone  # whether it counts is judged, too
def test_the_sound_twin_is_exact_through_a_kill_and_an_upgrade(tmp_path):
    yaml = text("sound", step=KILL).replace("duration: 12s", "duration: 24s")
    both = f"{KILL}}}\n  - {{name: update, at: 16s, {UPGRADE}"
    result = run(tmp_path, yaml.replace(KILL, both))
    assert ledger(result).status is Status.PASS, ledger(result)
    assert result.judgement.decision is Decision.PROMOTE, result.judgement.why


BROKEN = {  # what is broken → how, the gate that says no, and a word of its reason
    "a sink that is at least once": ({"job": ", guarantee: at-least-once"}, "ledger", "doubled"),
    "a reader of what was not committed": ({"records": ", isolation: read_uncommitted"}, "ledger", "doubled"),
    "a job that begins at the newest record": ({"step": RESUBMIT}, "ledger", "lost"),
    "an upgrade that leaves its state behind": (
        {"step": CHANGED, "job": ", keep-state: false"},
        "ledger",
        "undercounted",
    ),
    "a transaction shorter than a checkpoint": (
        {"checkpoint": "4s", "job": ", transaction-timeout: 1500ms", **NEVER_SETTLES},
        "ledger",
        "lost",
    ),
    # What was written may still be committed, for all that the logs say. That nothing moves is told by others.
    "no checkpoints": ({"checkpoint": "0s", **NEVER_SETTLES}, "orphaned-transactions", "still open"),
    "a job that is not restarted": ({"flink": ", restarts: false", **NOTHING_RUNS}, "restarts", "the job was FAILED"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_exactly_once_that_is_broken_is_held_with_its_reason(tmp_path, what):
    change, gate, word = BROKEN[what]
    result = run(tmp_path, text("broken", **change))
    assert result.error is None, result.error
    verdict = next(one for one in result.judgement.verdicts if one.gate == gate)
    assert word in verdict.summary, verdict.summary
    assert verdict.status is Status.FAIL, verdict
    assert result.judgement.decision is Decision.HOLD


def test_an_upgrade_to_a_plan_that_state_does_not_fit_is_refused_and_held_with_the_reason(tmp_path):
    """Nothing runs any more: what came after the savepoint never came out, and the run tells why."""
    result = run(tmp_path, text("changed", step=CHANGED, **NOTHING_RUNS))
    verdicts = {one.gate: one for one in result.judgement.verdicts}
    assert result.judgement.decision is Decision.HOLD, result.judgement.sentence
    assert verdicts["ledger"].summary.startswith("lost"), verdicts["ledger"].summary
    assert "Cannot map checkpoint/savepoint state" in verdicts["validity"].summary


def test_a_kill_that_met_an_idle_taskmanager_can_not_tell(tmp_path):
    """One slot has all of the job. Whose it is is Flink's choice, but a victim that worked is idle the next time."""
    twice = "every: 18s, until: 23s, on: {role: taskmanager, count: 1}, fault: {kill: {down-for: 4s}}"
    yaml = text("idle", step=twice, taskmanagers=2).replace("parallelism: 2", "parallelism: 1")
    result = run(tmp_path, yaml.replace("duration: 12s", "duration: 32s").replace("seed: 5", "seed: 4"))
    assert result.error is None, result.error
    assert len(set(victims(result.folder))) == 1, "this seed is to choose the same one twice"
    assert result.judgement.decision is Decision.CANNOT_TELL
    assert re.search(r"break(#1)? met taskmanager\d, which ran no task then", result.judgement.sentence)


def victims(folder):
    events = Recording.open(folder).events
    return [name for event in events if event.kind is EventKind.INJECT for name in event.data["victims"]]


def test_a_generator_that_leaves_numbers_out_is_caught(tmp_path):
    verdict = ledger(run(tmp_path, text("skips", records=", sabotage: skip-ids")))
    assert verdict.status is Status.INCONCLUSIVE, verdict
    assert "the load is at fault, not the stack" in verdict.summary, verdict


def test_a_reader_that_stops_early_can_not_tell_and_is_no_loss(tmp_path):
    verdict = ledger(run(tmp_path, text("stops", records=", sabotage: stop-early")))
    assert verdict.status is Status.INCONCLUSIVE, verdict


LEADER = """
chaosgate: 1
name: {name}
stack:
  kafka: {{brokers: 3, topics: {{in: 1}}}}
load:
  records: {{topic: in, keys: 20, acks: {acks}}}
  rate: 400/s
  users: 4
  timeout: 20s
warm-up: 3s
duration: 18s
steps:
  - {{name: alone, at: 5s, for: 1200ms, on: {{leader-of: in/0}}, fault: {{partition: {{from: others}}}}}}
  - {{name: dark, at: 6210ms, for: 4s, on: {{leader-of: in/0}}, fault: {{power: {{unsynced: lost}}}}}}
gates:
  - ledger: {{input: in}}
seed: 5
"""


@pytest.mark.parametrize(
    ("acks", "status"),
    [
        ("1", Status.FAIL),
        pytest.param("all", Status.PASS, marks=pytest.mark.alone),  # whether it counts is judged, too
    ],
)
def test_what_a_leader_alone_acknowledged_is_lost_with_its_power(tmp_path, acks, status):
    """A cable out for less than a session keeps the followers behind; what had not come to them is nowhere.

    What was sent last before the cut is sent again 0.2, 0.6 and 1.4 s later (RFC 6298, 5.5): the power goes before.
    """
    verdict = ledger(run(tmp_path, LEADER.format(name="leader", acks=acks)))
    assert verdict.status is status, verdict
    if acks == "1":
        assert verdict.summary.startswith("acknowledged, lost"), verdict
