"""Every query of Nexmark, on a real Flink and a real Kafka, against the same computed again from the events."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from dataclasses import replace

import pytest

from chaos.clock import ns
from chaos.model import StackSpec
from chaos.stacks.flink import jobs, operations
from chaos.stacks.streaming.stack import StreamingStack
from tests.stacks.etcd.loopback import until
from tests.stacks.lab_target import opened
from tests.stacks.streaming import auction
from tests.stacks.streaming.test_streaming_in_lab import FEEDER, brokers, topics, traffic

EVENTS, STEP_MS = 6000, 10  # a minute of event time

pytestmark = [pytest.mark.real, pytest.mark.slow, pytest.mark.timeout(400)]


@pytest.fixture(scope="module")
def stack_and_target(tmp_path_factory):
    stack = StreamingStack.of(StackSpec(name="streaming", settings={"flink": {"job": {"name": "nexmark-q0"}}}))
    folder = tmp_path_factory.mktemp("nexmark")
    stack.provide((), print)
    with opened(stack, folder) as target:
        stack.up(target, folder / "logs")
        stop(stack)
        yield stack, target


@pytest.fixture(scope="module")
def events(stack_and_target):
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
