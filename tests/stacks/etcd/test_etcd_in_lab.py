from __future__ import annotations

from pathlib import Path

import pytest

from chaos.model import StackAction, StackSpec
from chaos.stacks.etcd.stack import EtcdStack
from chaos.stacks.etcd.versions import DEFAULT_VERSION, provide
from chaos.store import sha256
from tests.stacks.etcd.loopback import until
from tests.stacks.lab_target import opened


@pytest.fixture
def lab(tmp_path):
    stack = EtcdStack.of(StackSpec(name="etcd", settings={"fsync": False}))
    with opened(stack, tmp_path) as target:
        stack.up(target, tmp_path / "logs")
        yield stack, target, target.lab


@pytest.mark.real
def test_etcd_runs_on_namespaces_and_the_host_can_not_reach_it(lab, tmp_path):
    stack, target, _ = lab
    facts = stack.versions()
    assert {(f["version"], f["sha256"], f["of"]) for f in facts.values()} == {
        (DEFAULT_VERSION, sha256(provide(DEFAULT_VERSION)), "process")
    }
    assert (tmp_path / "logs/etcd1-etcd.log").stat().st_size > 0
    (leader,) = stack.find("leader", "", 1.0)
    assert leader == target.topology().node(leader.name)
    here = Path("/proc/self/ns/net").stat().st_ino
    readings = stack.probes(target)["etcd-status"][0].read(1.0)
    assert {r.value for r in readings if r.name == "up"} == {1.0}
    assert Path("/proc/self/ns/net").stat().st_ino == here


@pytest.mark.real
def test_a_node_without_power_is_not_asked_in_vain_and_members_restart(lab):
    stack, target, opened = lab
    (leader,) = stack.find("leader", "", 1.0)
    opened.node_call("", {"op": "poweroff", "node": leader.name})
    until(lambda: [n for n in stack.find("leader", "", 0.5) if n.name != leader.name])
    assert stack.versions()[leader.name]["version"] == ""
    assert [s.exit_code is None for s in target.processes() if s.node == leader.name] == [False]
    opened.node_call("", {"op": "boot", "node": leader.name})
    until(lambda: len(stack.members.statuses(0.5)) == 3)
    assert "restarted" in stack.operate(StackAction(operation="restart"), leader.name, 30.0)
    assert len({r.value for r in stack.compare_replicas()}) == 1
