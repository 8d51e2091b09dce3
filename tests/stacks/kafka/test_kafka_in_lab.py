"""Three real brokers on namespaces: they come up, fail over, are restarted one by one, and leave nothing."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from chaos.errors import StackError, UsageError
from chaos.model import Aimed, Signal, StackAction, StackSpec
from chaos.stacks.kafka import roles
from chaos.stacks.kafka.client import views
from chaos.stacks.kafka.ready import READY_TOPIC, not_writable
from chaos.stacks.kafka.stack import KafkaStack
from chaos.stacks.kafka.versions import DEFAULT_VERSION, provide
from chaos.store import sha256
from chaos.targets.netns.lab import NodeSpec
from chaos.targets.netns.target import open_netns
from chaos.testing import check_stack
from tests.leftovers import assert_nothing_left, await_true, snapshot

pytestmark = [pytest.mark.real, pytest.mark.slow]

FAILOVER_S = 20.0  # about 2.5 s on a machine of its own; this one may be busy
BACK_S = 120.0


@dataclass(frozen=True)
class Cluster:
    """A cluster that is up, and where."""

    stack: KafkaStack
    target: Any
    logs: Path

    def look(self):
        return views(self.stack.brokers.look(1.0))

    def holder(self, role, argument=""):
        found = self.stack.find(role, argument, 1.0)
        return found[0].name if found else ""

    def await_whole(self):
        names = self.stack.broker_names
        await_true(
            "every broker and replica is back",
            lambda: not any(roles.not_back(self.look(), names, name) for name in names),
            within_s=BACK_S,
        )

    def readings(self, probe):
        return self.stack.probes(self.target)[probe][0].read(2.0)


@contextlib.contextmanager
def lab(tmp_path, **settings):
    """Yield a stack that is not up yet and its target; afterwards nothing of both is left."""
    stack = KafkaStack.of(StackSpec(name="kafka", settings={"ready_s": BACK_S, **settings}))
    stack.provide([], print)  # what is made once a machine is no leftover
    before = snapshot()
    nodes = [NodeSpec(name=node.name, role=node.role) for node in stack.nodes()]
    with open_netns(nodes, base=tmp_path / "labs", evidence=tmp_path / "evidence") as target:
        yield Cluster(stack=stack, target=target, logs=tmp_path / "logs")
    assert_nothing_left(before, within_s=10.0)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with lab(tmp_path_factory.mktemp("three")) as made:
        check_stack(made.stack, made.target, made.logs)
        yield made


def test_it_conforms_and_its_start_is_split_by_phase(cluster, capsys):
    phases = cluster.stack.phases
    assert list(phases) == ["provided", "started", "together", "topics in sync", "acknowledged write"]
    assert list(phases.values()) == sorted(phases.values())
    with capsys.disabled():
        print("\nkafka from nothing:", ", ".join(f"{phase} {s:.1f} s" for phase, s in phases.items()))  # noqa: T201 — a measurement


def test_each_broker_says_which_version_it_is(cluster):
    facts = cluster.stack.versions()
    digest = sha256(provide(DEFAULT_VERSION).server)
    assert {name: (f["version"], f["sha256"], f["of"]) for name, f in facts.items()} == dict.fromkeys(
        cluster.stack.broker_names, (DEFAULT_VERSION, digest, "process")
    )


def test_the_class_archive_is_really_mapped(cluster):
    archive = str(provide(DEFAULT_VERSION).archive)
    pids = [state.pid for state in cluster.target.processes() if state.name == "kafka"]
    assert len(pids) == 3
    for pid in pids:
        assert archive in Path(f"/proc/{pid}/maps").read_text()


def test_topics_are_as_asked_for(cluster):
    topics = roles.topics(cluster.look())
    assert {name: len(partitions) for name, partitions in topics.items()} == {"in": 4, READY_TOPIC: 3}
    assert all(sorted(partition.replicas) == [1, 2, 3] for partition in topics["in"])
    with pytest.raises(UsageError, match="is no partition"):
        cluster.stack.find("leader-of", "in", 1.0)
    assert cluster.stack.find("leader-of", "in/9", 1.0) == ()


def test_a_native_client_stays_in_the_network_that_its_maker_has_entered(cluster):
    from confluent_kafka import Producer

    def networks():
        found = {}
        for task in Path("/proc/self/task").iterdir():
            with contextlib.suppress(OSError):
                found[task.name] = (task / "ns/net").stat().st_ino
        return found

    before = networks()
    with cluster.target.entered():
        inside = Path("/proc/thread-self/ns/net").stat().st_ino
        producer = Producer({"bootstrap.servers": cluster.stack.brokers.bootstrap, "acks": "all"})
        producer.produce(READY_TOPIC, b"x", partition=0)
        assert producer.flush(20) == 0
        native = {task: ns for task, ns in networks().items() if task not in before}
    assert native
    assert set(native.values()) == {inside} != {Path("/proc/self/ns/net").stat().st_ino}
    del producer
    await_true("its threads have ended", lambda: not networks().keys() & native.keys(), within_s=20.0)


def test_probes_tell_of_brokers_and_partitions(cluster):
    told = cluster.readings("kafka-status")
    values = {(r.name, r.node, r.text): r.value for r in told}
    assert values["quorum", "", ""] == 1.0
    assert [values["up", name, ""] for name in cluster.stack.broker_names] == [1.0] * 3
    assert sum(values["controller", name, ""] for name in cluster.stack.broker_names) == 1.0
    assert values["in-sync", "", "in"] == 3.0
    for number in range(4):
        holder = cluster.holder("leader-of", f"in/{number}")
        assert values["leader-of", holder, f"in/{number}"] == 1.0
    lags = cluster.readings("kafka-stable")
    assert {r.text: r.value for r in lags} == {f"in/{number}": 0.0 for number in range(4)}


def test_when_the_controller_is_killed_another_one_is_active_and_records_are_acknowledged(cluster, capsys):
    cluster.await_whole()
    first = cluster.holder("controller")
    began = time.monotonic()
    injection = cluster.target.inject([Aimed(subject=first, action=Signal(signal="KILL"))], deadline_s=BACK_S)
    try:
        await_true("another controller", lambda: cluster.holder("controller") not in ("", first), within_s=FAILOVER_S)
        took_s = time.monotonic() - began
        up = {r.node: r for r in cluster.readings("kafka-status") if r.name == "up"}
        assert up[first].value is None
        assert up[first].why
        with cluster.stack.brokers.entered():
            bootstrap = cluster.stack.brokers.bootstrap
            await_true("acks", lambda: not not_writable(bootstrap, READY_TOPIC, 3, 5.0), within_s=FAILOVER_S)
        acked_s = time.monotonic() - began
    finally:
        injection.heal().result(BACK_S)
    cluster.await_whole()
    with capsys.disabled():
        print(f"\nkafka controller killed: another one after {took_s:.1f} s, every leader acks after {acked_s:.1f} s")  # noqa: T201 — a measurement


def test_brokers_are_restarted_one_by_one_the_controller_last(cluster, capsys):
    cluster.await_whole()
    first = cluster.holder("controller")
    began = time.monotonic()
    said = cluster.stack.operate(StackAction(operation="restart"), "", 3 * BACK_S)
    parts = said.split("; ")
    assert [part.split(":")[0] for part in parts][-1] == first
    assert len(parts) == 3
    assert all("restarted, every replica in sync again after" in part for part in parts)
    assert roles.not_in_sync(cluster.look()[cluster.holder("controller")].metadata) == ""
    exits = {s.node: s.starts for s in cluster.target.processes() if s.name == "kafka"}
    assert set(exits) == set(cluster.stack.broker_names)
    with capsys.disabled():
        print(f"\nkafka rolling restart: {time.monotonic() - began:.1f} s: {said}")  # noqa: T201 — a measurement


def test_a_broker_gets_other_jars_and_says_so(cluster):
    said = cluster.stack.operate(
        StackAction(operation="replace", arguments={"version": DEFAULT_VERSION}), "kafka2", BACK_S
    )
    assert said.startswith(f"kafka2: {DEFAULT_VERSION} replaced by {DEFAULT_VERSION}, every replica in sync again")
    with pytest.raises(UsageError, match="no such version"):
        cluster.stack.operate(StackAction(operation="replace", arguments={"version": "9.9"}), "kafka2", 1.0)


def test_a_second_lab_beside_it_is_another_cluster(cluster, tmp_path):
    with lab(tmp_path, brokers=1, topics={"other": 2}) as second:
        second.stack.up(second.target, second.logs)
        assert set(roles.topics(second.look())) == {"other", READY_TOPIC}
        assert "other" not in roles.topics(cluster.look())
        assert second.stack.endpoints() != {"kafka1": cluster.stack.endpoints()["kafka1"]}
        assert not_writable_from_outside(second)


def not_writable_from_outside(cluster):
    """The host's own network does not lead into a lab."""
    return not_writable(cluster.stack.brokers.bootstrap, READY_TOPIC, 1, 1.0)


def test_a_broker_that_ends_at_once_is_told_with_its_last_words(tmp_path):
    with lab(tmp_path, brokers=1, config={"log.segment.bytes": "nonsense"}) as made:
        with pytest.raises(StackError, match=r"kafka1: kafka ended with 1\n--- .*kafka1-kafka\.log\n") as told:
            made.stack.up(made.target, made.logs)
        assert "log.segment.bytes" in str(told.value)
