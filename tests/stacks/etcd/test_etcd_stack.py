from __future__ import annotations

import shutil
import time

import pytest

from chaos.errors import CapabilityError, StackError, UsageError
from chaos.model import StackAction, StackSpec, Topology
from chaos.stacks import STACKS
from chaos.stacks.etcd.stack import EtcdStack
from chaos.stacks.etcd.versions import SHIPPED, provide
from chaos.store import sha256
from tests.stacks.etcd.clusters import cluster
from tests.stacks.etcd.loopback import Loopback, until


def of(**settings):
    return EtcdStack.of(StackSpec(name="etcd", settings=settings))


def test_a_stack_asks_for_members_and_client_nodes():
    nodes = of(members=3, clients=2).nodes()
    assert [(n.name, n.role) for n in nodes] == [
        ("etcd1", "member"),
        ("etcd2", "member"),
        ("etcd3", "member"),
        ("client1", "client"),
        ("client2", "client"),
    ]


def test_only_members_are_limited_in_cpu():
    assert of(members=2, cpu=0.5).cpu_limits() == {"etcd1": 0.5, "etcd2": 0.5}
    assert of().cpu_limits() == {}


def test_a_majority_is_needed():
    assert [of(members=n).quorum() for n in (1, 2, 3, 4, 5)] == [1, 2, 2, 3, 3]


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        (StackSpec(name="etcd", settings={"membres": 3}), "membres"),
        (StackSpec(name="etcd", settings={"members": 0}), "members: a cluster has at least one"),
        (StackSpec(name="etcd", versions={"zookeeper": "3.9"}), "zookeeper: etcd has one component"),
    ],
)
def test_wrong_settings_are_refused_before_anything_is_touched(spec, says):
    with pytest.raises(UsageError, match=says):
        EtcdStack.of(spec)


def test_the_table_names_roles_and_operations():
    assert STACKS["etcd"].roles == ("member", "leader", "follower", "client")
    assert STACKS["etcd"].operations == ("restart", "replace")


def test_nothing_can_be_asked_before_it_is_up():
    with pytest.raises(StackError, match="not up yet"):
        of().endpoints()


def test_a_target_without_processes_is_refused():
    class Cluster:
        name = "somewhere"

        def topology(self):
            return Topology(nodes=())

    with pytest.raises(CapabilityError, match="somewhere: can't start processes"):
        of().up(Cluster(), None)


@pytest.mark.real
@pytest.mark.parametrize("version", SHIPPED)
def test_each_version_comes_up_and_survives_its_leader(version):
    with cluster(version) as (stack, target):
        assert stack.endpoints()["etcd1"] == f"{target.topology().node('etcd1').address}:2379"
        facts = stack.versions()
        assert {f["version"] for f in facts.values()} == {version}
        assert {f["sha256"] for f in facts.values()} == {sha256(provide(version))}
        assert {f["of"] for f in facts.values()} == {"process"}

        (first,) = stack.find("leader", "", 1.0)
        assert {n.name for n in stack.find("follower", "", 1.0)} == set(stack.member_names) - {first.name}
        target.kill(first.name)
        (second,) = until(lambda: [n for n in stack.find("leader", "", 0.5) if n.name != first.name])
        assert second.role == "member"
        assert until(lambda: not stack.quorum_lost())


@pytest.mark.real
@pytest.mark.parametrize("version", SHIPPED)
def test_leadership_goes_to_whom_it_is_asked_for(version):
    with cluster(version) as (stack, _):
        (first,) = stack.find("leader", "", 1.0)
        heir = next(name for name in stack.member_names if name != first.name)
        assert stack.hand_over("leader", [first.name], 5.0) == ""
        assert stack.hand_over("leader", [heir], 5.0) == f"leadership moved from {first.name} to {heir}"
        assert [node.name for node in stack.find("leader", "", 1.0)] == [heir]
        assert heir not in stack.hand_over("follower", [heir, first.name], 5.0).split(" to ")[1]
        assert {heir, first.name} == {node.name for node in stack.find("follower", "", 1.0)}


@pytest.mark.real
def test_a_stopped_heir_is_not_handed_the_leadership():
    with cluster() as (stack, target):
        (first,) = stack.find("leader", "", 1.0)
        heir = next(name for name in stack.member_names if name != first.name)
        with target.stopped(heir):
            assert stack.hand_over("leader", [heir], 2.0) == ""  # not seen to follow, so no candidate
            assert [node.name for node in stack.find("leader", "", 1.0)] == [first.name]


@pytest.mark.real
def test_nobody_leads_without_a_majority():
    with cluster() as (stack, target):
        target.kill("etcd1")
        target.kill("etcd2")
        until(stack.quorum_lost)
        until(lambda: not stack.find("leader", "", 0.5))
        assert stack.find("follower", "", 0.5) == ()
        assert [n.name for n in stack.find("member", "", 0.5)] == ["etcd1", "etcd2", "etcd3"]


@pytest.mark.real
def test_a_stopped_leader_is_not_found_and_costs_no_more_than_the_timeout():
    with cluster() as (stack, target):
        (first,) = stack.find("leader", "", 1.0)
        with target.stopped(first.name):
            until(lambda: [n for n in stack.find("leader", "", 0.3) if n.name != first.name])
            began_s = time.monotonic()
            assert first.name not in {node.name for node in stack.find("leader", "", 0.3)}
            assert time.monotonic() - began_s < 5  # far more than the timeout, far less than for ever


def test_an_unknown_role_or_operation_is_wrong_use():
    with pytest.raises(UsageError, match="no role 'leder'; there are member, leader"):
        of().find("leder", "", 1.0)
    with pytest.raises(UsageError, match="no operation 'reboot'; there are restart, replace"):
        of().operate(StackAction(operation="reboot"), "", 1.0)


@pytest.mark.real
def test_a_rolling_restart_ends_with_every_member_serving_and_its_data_kept():
    with cluster() as (stack, target):
        stack.members.ask_one("etcd1", lambda c: c.put("kept", "yes"), 1.0)
        said = stack.operate(StackAction(operation="restart"), "", 30.0)
        assert said.count("restarted, serving and caught up") == 3
        assert {s.starts for s in target.processes()} == {2}
        answers = stack.members.ask(lambda c: c.get("kept").value, 2.0)
        assert set(answers.values()) == {"yes"}


@pytest.mark.real
def test_one_member_restarts_alone():
    with cluster() as (stack, target):
        said = stack.operate(StackAction(operation="restart"), "etcd2", 30.0)
        assert said.startswith("etcd2: restarted")
        assert {s.node: s.starts for s in target.processes()} == {"etcd1": 1, "etcd2": 2, "etcd3": 1}


@pytest.mark.real
def test_members_are_replaced_one_by_one_on_the_same_data():
    with cluster("3.4.23") as (stack, _):
        stack.members.ask_one("etcd1", lambda c: c.put("kept", "yes"), 1.0)
        replace = StackAction(operation="replace", arguments={"version": "3.5.35"})
        assert "3.4.23 replaced by 3.5.35" in stack.operate(replace, "etcd1", 30.0)
        mixed = {n: f["version"] for n, f in stack.versions().items()}
        assert mixed == {"etcd1": "3.5.35", "etcd2": "3.4.23", "etcd3": "3.4.23"}
        assert len({r.value for r in stack.compare_replicas()}) == 1  # hashes are comparable between versions
        stack.operate(replace, "etcd2", 30.0)
        stack.operate(replace, "etcd3", 30.0)
        assert {f["version"] for f in stack.versions().values()} == {"3.5.35"}
        answers = stack.members.ask(lambda c: c.get("kept").value, 2.0)
        assert set(answers.values()) == {"yes"}


@pytest.mark.real
def test_a_member_that_can_not_come_back_fails_the_operation_with_its_log():
    with cluster() as (stack, target):
        shutil.rmtree(target.folder("etcd2") / "etcd" / "member")  # its history is gone: the others refuse it
        with pytest.raises(StackError, match=r"etcd2: .*\n(?s:.*)etcd2-etcd\.log"):
            stack.operate(StackAction(operation="restart"), "etcd2", 4.0)


@pytest.mark.real
def test_a_wrong_binary_is_found_whatever_its_name_says(tmp_path):
    named = tmp_path / "etcd-3.5.35"
    shutil.copy(provide("3.5.1"), named)
    with cluster(str(named), members=1) as (stack, target):
        before = stack.versions()["etcd1"]
        assert (before["version"], before["asked"]) == ("3.5.1", str(named))
        shutil.copy(provide("3.4.23"), tmp_path / "other")
        (tmp_path / "other").replace(named)  # the file is exchanged while the process runs on
        during = stack.versions()["etcd1"]
        assert during["sha256"] == before["sha256"] != sha256(named)
        target.kill("etcd1")
        after = stack.versions()["etcd1"]
        assert (after["version"], after["of"], after["sha256"]) == ("", "file", sha256(named))
        assert "etcd1" in after["why"] or "refused" in after["why"]


@pytest.mark.real
def test_a_cluster_that_does_not_become_ready_says_what_is_missing_and_shows_the_log():
    stack = of(ready_s=5.0)
    with Loopback(stack.nodes()) as target:
        (target.folder("etcd2") / "etcd").write_text("a file where the data folder should be")
        with pytest.raises(StackError, match=r"etcd2: etcd ended with \d+\n--- .*etcd2-etcd\.log\n"):
            stack.up(target, target.base / "logs")
