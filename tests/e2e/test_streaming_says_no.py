"""Exactly once, broken on purpose on a real Kafka and a real Flink: each time the ledger says no, and why.

And the sound twin, which the same fault leaves exact.

Each row is a whole run; what is broken is one setting of an experiment that is otherwise that of its twin.
"""

from __future__ import annotations

import os

import pytest

from chaos.model import Decision, Status
from tests.e2e.short import run

pytestmark = [
    pytest.mark.real,
    pytest.mark.slow,
    pytest.mark.alone,
    pytest.mark.timeout(400),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
]

TEXT = """
chaosgate: 1
name: {name}
stack:
  streaming:
    kafka: {{brokers: 3, topics: {{in: 4}}}}
    flink:
      {{taskmanagers: 2, standby: false, checkpoint: {checkpoint}{flink}, job: {{parallelism: 2{job}}}}}
load:
  records: {{topic: in, keys: 20, acks: all, read: [out, win], markers: true{records}}}
  rate: 400/s
  users: 4
  timeout: 20s
warm-up: 5s
duration: {duration}
steps:
  - {{name: break, at: 6s, {step}}}
gates:
  - ledger: {{input: in, output: out, windows: win}}
seed: 5
"""
KILL = "on: {running: OverAggregate}, fault: {kill: {down-for: 4s}}"
RESUBMIT = "on: jobmanager, fault: resubmit"
UPGRADE = "on: jobmanager, fault: {upgrade: {to: v2}}"


def text(name, *, step=KILL, checkpoint="1s", flink="", job="", records="", duration="22s"):
    return TEXT.format(
        name=name, step=step, checkpoint=checkpoint, flink=flink, job=job, records=records, duration=duration
    )


def ledger(result):
    assert result.error is None, result.error
    return next(verdict for verdict in result.judgement.verdicts if verdict.gate == "ledger")


@pytest.mark.parametrize("step", [KILL, UPGRADE], ids=["kill", "upgrade"])
def test_the_sound_twin_is_exact(tmp_path, step):
    result = run(tmp_path, text("sound", step=step))
    assert ledger(result).status is Status.PASS, ledger(result)
    assert result.judgement.decision is Decision.PROMOTE, result.judgement.why


BROKEN = {
    "a sink that is at least once": ({"job": ", guarantee: at-least-once"}, "doubled"),
    "a reader of what was not committed": ({"records": ", isolation: read_uncommitted"}, "doubled"),
    "a job that begins at the newest record": ({"step": RESUBMIT}, "lost"),
    "no checkpoints": ({"checkpoint": "0s"}, "lost"),
    "a job that is not restarted": ({"flink": ", restarts: false"}, "lost"),
    "a transaction shorter than a checkpoint": ({"checkpoint": "4s", "job": ", transaction-timeout: 1500ms"}, "lost"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_exactly_once_that_is_broken_is_held_with_its_reason(tmp_path, what):
    change, kind = BROKEN[what]
    verdict = ledger(run(tmp_path, text("broken", **change)))
    assert verdict.status is Status.FAIL, verdict
    assert kind in verdict.summary, verdict.summary


def test_a_generator_that_leaves_numbers_out_is_caught(tmp_path):
    verdict = ledger(run(tmp_path, text("skips", records=", sabotage: skip-ids")))
    assert verdict.status is not Status.PASS, verdict


def test_a_reader_that_stops_early_can_not_tell_and_is_no_loss(tmp_path):
    verdict = ledger(run(tmp_path, text("stops", records=", sabotage: stop-early")))
    assert verdict.status is Status.INCONCLUSIVE, verdict
