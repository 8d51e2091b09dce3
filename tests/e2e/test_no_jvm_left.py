"""Kafka, Flink, their store on a disk of ours, a job and its topics: whatever ends a run of them, nothing is left.

Where else a controller can be killed, and by which signals, test_nothing_left.py tries with a stack that starts faster.
"""

from __future__ import annotations

import os
import signal

import pytest

from chaos.model import EventKind
from tests.e2e.ending import Ending
from tests.leftovers import snapshot

pytestmark = [
    pytest.mark.real,
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.skipif(os.geteuid() != 0, reason="the whole look needs the machine's root"),
]

WHOLE_S = 200.0  # of a run on a machine that other tests use, too
TEXT = """
chaosgate: 1
name: jvms
stack:
  streaming:
    kafka: {brokers: 1, topics: {in: 2}}
    flink: {taskmanagers: 1, standby: false, store: true, job: {parallelism: 1}}
load:
  records: {topic: in, keys: 4, read: [out]}
  rate: 20/s
  users: 1
  timeout: 20s
warm-up: 500ms
duration: 4s
steps:
  - {name: sick, at: 100ms, for: 2s, on: store, fault: {disk: {latency: 10ms, of: [sync]}}}
gates:
  - ledger: {input: in, output: out}
seed: 3
"""
KILLED_AT = ("process.start:3", "disk.apply")  # half started, and with all that a run can have


@pytest.fixture
def begin(tmp_path):
    started: list[Ending] = []

    def start(**points: str) -> Ending:
        started.append(Ending(tmp_path / f"{len(started)}", TEXT, **points))
        return started[-1]

    yield start
    for run in started:
        run.__exit__()


@pytest.mark.parametrize("point", KILLED_AT)
def test_a_controller_that_is_killed_takes_its_jvms_mounts_and_topics_with_it(begin, point):
    run = begin(STOP_AT=point, STOP_WHO="controller")
    assert run.wait(WHOLE_S) == -signal.SIGKILL, run.said()
    run.assert_only_folders_left()
    code, said = run.heal()
    assert code == 0, said
    run.assert_nothing_left()
    run.assert_judged_as_cut_short()


def test_a_signal_in_mid_fault_ends_it_in_order(begin):
    run = begin()
    run.await_event("the fault in force", lambda e: e.kind is EventKind.CONFIRM, WHOLE_S)
    seen = snapshot(run._folders).since(run.before)
    for what in ("java", "disk"):
        assert any(what in name for name in seen["processes"]), seen["processes"]
    os.kill(run.process.pid, signal.SIGINT)
    run.assert_ended_in_order(run.wait(WHOLE_S), word="interrupted")
    run.assert_healed("sick")
