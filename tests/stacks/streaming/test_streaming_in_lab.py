"""A real Flink between two topics of a real Kafka: its roles, what it refuses, and every query of Nexmark.

The queries' answers are compared with the same computed again from the events. That keyed-count is exact, through
kills and upgrades, whole runs say (tests/e2e/test_streaming_says_no.py).
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from chaos.clock import ns
from chaos.conformance import check_stack
from chaos.errors import StackError
from chaos.model import StackAction, StackSpec
from chaos.stacks.flink import jobs, operations
from chaos.stacks.streaming.stack import StreamingStack, split
from tests.stacks.etcd.loopback import until
from tests.stacks.lab_target import opened
from tests.stacks.streaming import auction

FEEDER = Path(__file__).with_name("feeder.py")

EVENTS, STEP_MS = 6000, 10  # a minute of event time

pytestmark = [pytest.mark.real, pytest.mark.slow, pytest.mark.timeout(400)]


@pytest.fixture(scope="module")
def stack_and_target(tmp_path_factory):
    stack = StreamingStack.of(StackSpec(name="streaming", settings={"flink": {"job": {"name": "nexmark-q0"}}}))
    folder = tmp_path_factory.mktemp("nexmark")
    stack.provide((), print)
    with opened(stack, folder) as target:
        began = time.monotonic()
        check_stack(stack, target, folder / "logs")
        sys.stdout.write(f"\n{split(stack.phases, time.monotonic() - began)}\n")  # for whoever runs pytest with -s
        yield stack, target


@pytest.fixture(scope="module")
def without_job(stack_and_target):
    stop(stack_and_target[0])


def brokers(stack):
    return ",".join(stack.endpoints().values())


def topics(stack, target, *names):
    reader = target.spawn("client1", [sys.executable, str(FEEDER), "read", brokers(stack), *names], stdout=-1)
    return json.loads(reader.communicate(timeout=90)[0])


def traffic(rows):
    """Leave out the end markers."""
    return [row for row in rows if not row[3]["k"].startswith("-")]


def test_roles_of_both_stacks_are_found(stack_and_target):
    stack, _ = stack_and_target
    assert len(stack.find("leader", "", 5.0)) == len(stack.find("controller", "", 5.0)) == 1
    assert [node.role for node in stack.find("leader-of", "in/0", 5.0)] == ["broker"]
    assert {node.role for node in stack.find("running", "any", 5.0)} == {"taskmanager"}
    assert stack.find("running", "no such vertex", 5.0) == ()
    assert {facts["version"] for facts in stack.versions().values()} >= {"2.3.0", "4.3.1"}


def test_an_upgrade_that_can_not_be_planned_is_refused_while_the_old_job_runs(stack_and_target, monkeypatch):
    stack, _ = stack_and_target
    monkeypatch.setattr(jobs, "script", lambda *_: "SELECT * FROM inptu;")
    with pytest.raises(StackError, match="inptu"):
        stack.operate(StackAction(operation="savepoint-upgrade", arguments={"to": "v1"}), "", 60.0)
    assert not stack.flink.not_running()


@pytest.fixture(scope="module")
def events(without_job, stack_and_target):
    stack, target = stack_and_target
    argv = [sys.executable, str(FEEDER), "nexmark", brokers(stack), str(EVENTS), str(STEP_MS)]
    feeder = target.spawn("client1", argv, stdout=subprocess.PIPE)
    assert json.loads(feeder.communicate(timeout=60)[0]) == {"sent": EVENTS, "acked": EVENTS}
    rows = traffic(topics(stack, target, "in")["in"])
    return [auction.Event(value["k"], value["n"], at_ms, value) for _, _, at_ms, value in rows]


def submit(stack, query):
    flink = stack.flink
    flink.settings = replace(flink.settings, job=replace(flink.settings.job, name=query))
    flink.submit(jobs.Submission(settings=flink.settings.job))
    until(lambda: not flink.not_running(), within_s=60)


def stop(stack):
    """What its last checkpoint did not commit, the savepoint does."""
    operations.stop(stack.flink, stack.clock.now_ns() + ns(60.0))


def told(rows):
    return Counter(
        (value["k"], value["n"], value["told"]) if "told" in value else (value["k"], value["window_ms"], value["count"])
        for _, _, _, value in rows
    )


def answered(stack_and_target, query, enough):
    """Return what a query wrote until there was `enough` of it, and what its end committed besides."""
    stack, target = stack_and_target
    before = places(topics(stack, target, "out")["out"])

    def written():
        return [row for row in traffic(topics(stack, target, "out")["out"]) if not places([row]) <= before]

    submit(stack, query)
    try:
        until(lambda: enough(written()), within_s=60)
    finally:
        stop(stack)
    return written()


def places(rows):
    return {(partition, offset) for partition, offset, _, _ in rows}


@pytest.mark.parametrize("query", ["q0", "q2", "q3", "q5", "q7", "q8"])
def test_a_query_answers_what_its_events_say(stack_and_target, events, query):
    expected = getattr(auction, query)(events)
    assert expected
    rows = answered(stack_and_target, f"nexmark-{query}", lambda rows: len(rows) >= expected.total())
    assert told(rows) == expected


def test_windows_of_the_machines_clock_hold_every_bid_once(stack_and_target, events):
    expected = auction.q12(events)
    rows = answered(
        stack_and_target, "nexmark-q12", lambda rows: sum(row[3]["count"] for row in rows) >= expected.total()
    )
    counted = Counter()
    for _, _, _, value in rows:
        counted[value["k"]] += value["count"]
        assert value["window_ms"] % auction.WINDOW_MS == 0
    assert counted == expected
