from __future__ import annotations

import contextlib
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from chaos.clock import MonotonicClock
from chaos.model import Status
from chaos.probes import PROBES, probes_of
from chaos.probes.etcd import ReplicaProbe, StatusProbe
from chaos.stacks import STACKS
from chaos.stacks.etcd.members import Members
from chaos.stacks.etcd.versions import SHIPPED
from gates.replicas_equal import ReplicasEqual
from tests.stacks.etcd.clusters import cluster
from tests.stacks.etcd.loopback import until


def replicas(readings):
    return {r.node: (r, json.loads(r.text)) for r in readings if r.name == "replica"}


def bisected(readings):
    return {r.node: r for r in readings if r.name == "replica-bisect"}


def put_all(stack, pairs, node="etcd1"):
    stack.members.ask_one(node, lambda c: [c.put(k, v) for k, v in pairs], 5.0)


def test_a_stack_has_the_probes_that_know_it():
    assert {name for name, kind in PROBES.items() if kind.stack == "etcd"} == {"etcd-status", "etcd-replicas"}


@pytest.mark.real
def test_probes_can_be_made_before_the_stack_is_up_and_count_rounds_together():
    with cluster() as (stack, target):
        probes = probes_of(stack, target)
        assert probes["etcd-status"][0].read(1.0)
        replica = probes["etcd-replicas"][0]
        rounds = [
            replicas(r)["etcd1"][1]["round"] for r in (replica.read(1.0), replica.read(1.0), stack.compare_replicas())
        ]
        assert rounds == [1, 2, 3]


@pytest.mark.real
def test_members_are_read_and_a_dead_one_has_no_value():
    with cluster() as (stack, target):
        probe = StatusProbe.of(stack, target)
        seen = {(r.name, r.node): r for r in probe.read(1.0)}
        assert [seen["up", n].value for n in stack.member_names] == [1.0, 1.0, 1.0]
        assert sum(seen["leader", n].value for n in stack.member_names) == 1.0
        assert all(seen["follower", n].value == 1.0 - seen["leader", n].value for n in stack.member_names)
        assert seen["quorum", ""].value == 1.0
        assert set(STACKS["etcd"].readings) <= {name for name, _ in seen}  # what the engine goes by is told
        assert len({seen["raft-term", n].value for n in stack.member_names}) == 1
        assert seen["db-size", "etcd1"].value > 0

        target.kill("etcd3")
        seen = {(r.name, r.node): r for r in probe.read(1.0)}
        for name in ("up", "leader", "follower", "raft-term", "applied-index", "revision", "db-size"):
            assert seen[name, "etcd3"].value is None
            assert "refused" in seen[name, "etcd3"].why
        target.kill("etcd2")
        until(lambda: {r.name: r.value for r in probe.read(1.0)}["quorum"] == 0.0)


@pytest.mark.real
def test_a_stopped_member_costs_the_timeout_and_has_no_value():
    with cluster() as (stack, target), target.stopped("etcd2"):
        clock = MonotonicClock()
        began_ns = clock.now_ns()
        readings = StatusProbe.of(stack, target).read(0.5)
        assert clock.now_ns() - began_ns < 5e9
        assert {r.node for r in readings if r.name == "up" and r.value is None} == {"etcd2"}
        (found, facts) = replicas(ReplicaProbe.of(stack, target).read(0.5))["etcd2"]
        assert found.value is None
        assert found.why
        assert "revision" not in facts


@pytest.mark.real
@pytest.mark.parametrize("version", SHIPPED)
def test_sound_members_hash_alike_while_written_and_when_quiet(version):
    with cluster(version) as (stack, target):
        probe = ReplicaProbe.of(stack, target)
        for n in range(3):
            put_all(stack, [(f"k{n}", "v"), ("same", str(n))])
            live = replicas(probe.read(2.0))
            assert len({r.value for r, _ in live.values()}) == 1
            assert {f["quiet"] for _, f in live.values()} == {False}
            assert {f["at_revision"] for _, f in live.values()} == {min(f["revision"] for _, f in live.values())}
        readings = probe.compare_quiet(5.0)
        assert len({r.value for r, _ in replicas(readings).values()}) == 1
        assert {f["quiet"] for _, f in replicas(readings).values()} == {True}
        assert bisected(readings) == {}
        assert probe.bisect() == []


class Watched(MonotonicClock):
    """A clock that tells when somebody begins to sleep by it."""

    def __init__(self):
        super().__init__()
        self.slept = threading.Event()

    def sleep_until(self, at_ns):
        self.slept.set()
        return super().sleep_until(at_ns)


@pytest.mark.real
def test_a_member_on_its_way_back_is_waited_for_while_others_are_written():
    with cluster() as (stack, target), ThreadPoolExecutor(1) as reader:
        put_all(stack, [("k", str(n)) for n in range(10)])
        target.kill("etcd3")
        clock = Watched()
        reading = reader.submit(replace(ReplicaProbe.of(stack, target), patience_s=30.0, clock=clock).read, 1.0)
        assert clock.slept.wait(30)  # it was asked, and is asked again
        target.revive("etcd3")  # by this thread: a process dies with the thread that started it
        found = replicas(reading.result(60))
        assert len({r.value for r, _ in found.values()}) == 1
        assert found["etcd3"][0].value is not None
        assert "revision" not in found["etcd3"][1]  # it was down when its status was asked


@pytest.mark.real
def test_members_that_differ_are_compared_twice_on_end_and_so_certainly_differ():
    with separate(COMMON, [("k", "odd"), *COMMON[1:]], COMMON) as members:
        readings = ReplicaProbe(members=members).read(2.0)
        assert [json.loads(r.text)["round"] for r in readings] == [1, 1, 1, 2, 2, 2]
        assert ReplicasEqual().watch(readings).status is Status.FAIL
    with separate(COMMON, COMMON) as members:
        readings = ReplicaProbe(members=members).read(2.0)
        assert len(readings) == 2
        assert ReplicasEqual().watch(readings) is None


@contextlib.contextmanager
def separate(*histories):
    """Clusters of one member each, with the given writes, presented as the members of one."""
    with contextlib.ExitStack() as stack:
        members = {}
        for number, history in enumerate(histories, start=1):
            one, _ = stack.enter_context(cluster(members=1))
            put_all(one, history)
            members[f"m{number}"] = one.members
        yield Members(
            endpoints={name: m.endpoints["etcd1"] for name, m in members.items()},
            peers={name: m.peers["etcd1"] for name, m in members.items()},
        )


COMMON = [(f"k{n % 7}", f"v{n}") for n in range(40)]  # revisions 3 … 42; 2 is the stack's own ready key


@pytest.mark.real
def test_a_member_that_differs_is_named_with_the_first_differing_revision():
    odd = [*COMMON[:20], ("k0", "lost"), *COMMON[21:]]
    with separate(COMMON, odd, COMMON) as members:
        readings = ReplicaProbe(members=members).compare_quiet(2.0)
        hashes = {node: r.value for node, (r, _) in replicas(readings).items()}
        assert hashes["m1"] == hashes["m3"] != hashes["m2"]
        assert {f["quiet"] for _, f in replicas(readings).values()} == {True}
        assert list(bisected(readings)) == ["m2"]
        assert bisected(readings)["m2"].value == 23.0
        assert bisected(readings)["m2"].text == "m2 differs from the majority from revision 23 on"


@pytest.mark.real
def test_a_member_that_lost_the_last_write_is_named_though_hashes_agree_at_the_least_revision():
    # etcd #13766 at its smallest: the log is applied alike, one member is a revision behind. A read takes no index,
    # so a write that changes nothing but the log (a delete of nothing) stands in for the lost one.
    with separate(COMMON, COMMON, COMMON[:-1]) as members:
        members.ask_one("m3", lambda c: c.call("/v3/kv/deleterange", {"key": "bm90aGluZw=="}), 2.0)
        readings = ReplicaProbe(members=members).compare_quiet(2.0)
        assert len({r.value for r, _ in replicas(readings).values()}) == 1
        assert {n: r.value for n, r in bisected(readings).items()} == {"m3": 42.0}


@pytest.mark.real
def test_without_a_majority_the_sentence_says_so():
    with separate([("k", "a")], [("k", "b")]) as members:
        (found,) = ReplicaProbe(members=members).bisect()
        assert found.node == "m2"
        assert found.value == 3.0
        assert "no majority" in found.text


@pytest.mark.real
def test_a_comparison_that_never_settles_is_not_quiet():
    with separate(COMMON[:5], COMMON) as members:
        readings = ReplicaProbe(members=members).compare_quiet(0.2)
        assert {f["quiet"] for _, f in replicas(readings).values()} == {False}
        assert len({r.value for r, _ in replicas(readings).values()}) == 1  # alike as far as both go


@pytest.mark.real
def test_an_unreachable_member_makes_the_comparison_not_quiet_and_has_no_value():
    with cluster() as (stack, target):
        target.kill("etcd3")
        readings = stack.compare_replicas(deadline_s=0.3)
        found = replicas(readings)
        assert found["etcd3"][0].value is None
        assert {f["quiet"] for _, f in found.values()} == {False}
        assert found["etcd1"][0].value == found["etcd2"][0].value is not None


def compact(members, revision):
    members.ask(lambda c: c.call("/v3/kv/compaction", {"revision": str(revision), "physical": True}), 5.0)


@pytest.mark.real
def test_a_difference_after_a_compaction_is_dated():
    with separate(COMMON, [*COMMON[:-1], ("k4", "odd")], COMMON) as members:
        compact(members, 30)
        assert bisected(ReplicaProbe(members=members).compare_quiet(2.0))["m2"].value == 42.0


@pytest.mark.real
def test_a_difference_from_before_the_compaction_has_no_date_and_says_why():
    with separate([("once", "a"), *COMMON], [("once", "b"), *COMMON], [("once", "a"), *COMMON]) as members:
        compact(members, 30)
        found = bisected(ReplicaProbe(members=members).compare_quiet(2.0))["m2"]
        assert found.value is None
        assert found.why == "m2 differs from m1 already at revision 31, where the comparable history begins"


@pytest.mark.real
def test_one_byte_changed_in_one_members_file_is_found_though_all_are_healthy():
    with cluster() as (stack, target):
        put_all(stack, COMMON)
        revision = stack.members.ask_one("etcd1", lambda c: c.put("precious", "a-value-like-no-other"), 2.0)
        put_all(stack, COMMON)
        assert bisected(stack.compare_replicas()) == {}
        target.stop("etcd2", "etcd", grace_s=5)
        file = target.folder("etcd2") / "etcd/member/snap/db"
        file.write_bytes(file.read_bytes().replace(b"a-value-like-no-other", b"A-value-like-no-other"))
        target.revive("etcd2")
        until(lambda: len(stack.members.statuses(0.5)) == 3)
        assert not stack.quorum_lost()
        found = bisected(stack.compare_replicas())
        assert {node: reading.value for node, reading in found.items()} == {"etcd2": float(revision)}
