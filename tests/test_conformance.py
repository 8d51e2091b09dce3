"""The conformance suites say yes to what ships, and no, with a reason, to each way of being wrong."""

from __future__ import annotations

import itertools
import os
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pytest

from chaos.errors import StackError, UsageError
from chaos.faults import FAULTS
from chaos.model import Aimed, Cut, Freeze, Node, Process, Proof, Signal, StackAction, StackSpec
from chaos.ports import Backends, RunsProcesses
from chaos.stacks import STACKS
from chaos.targets import TARGETS, Wants
from chaos.targets.memory import MemoryTarget, Told
from chaos.testing import check_fault, check_stack, check_target
from tests.staged import NODES, ToldStack

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

# ---------------------------------------------------------------- faults

NEEDED: dict[str, dict[str, Any]] = {
    "latency": {"delay_s": 0.05},
    "loss": {"share": 0.1},
    "cpu": {"cores": 0.1},
    "disk": {"latency_s": 0.05},
    "clock": {"ahead_s": 30.0},
    "rescale": {"parallelism": 1},
    "upgrade": {"to": "v2"},
    "shape": {"delay_s": 0.05},
    "replace": {"version": "2.0"},
}


@pytest.mark.parametrize("name", sorted(FAULTS))
def test_every_shipped_fault_conforms(name):
    check_fault(FAULTS[name](**NEEDED.get(name, {})))


@dataclass(frozen=True, slots=True, kw_only=True)
class Nothing:
    """Does nothing; a control for the harness itself."""

    def aim(self, victims, topology):
        return ()


def test_a_fault_that_does_nothing_conforms():
    check_fault(Nothing())


def aiming(aim: Callable[[Sequence[Node]], Any], **more: Any) -> Any:
    """Return a fault that aims like this."""
    members = {"aim": lambda self, victims, topology: aim(victims), **more}
    return dataclass(frozen=True)(type("Odd", (), members))()


NUMBERS = itertools.count()
STOP, RESTART = Signal(signal="STOP"), StackAction(operation="restart")


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        (aiming(lambda v: [STOP]), "wrap it"),
        (aiming(lambda v: [Aimed(subject="mars", action=STOP)]), "no node of the topology"),
        (aiming(lambda v: [Aimed(subject=v[0].name, action=a) for a in (STOP, RESTART)]), "mixes operations"),
        (aiming(lambda v: [Aimed(subject=v[0].name, action=RESTART)]), "momentary is False"),
        (aiming(lambda v: [Aimed(subject=v[0].name, action=STOP)], momentary=True), "momentary is True"),
        (aiming(lambda v: [Aimed(subject=v[0].name, action=Cut(peers=["n2"]))]), "does not come back from JSON"),
        (aiming(lambda v: v[5]), "raises IndexError"),
        (
            aiming(lambda v: [Aimed(subject="n1", action=Signal(process=str(next(NUMBERS))))]),
            "not the same",
        ),
        (aiming(lambda v: (), touches=frozenset({"disks"})), "there are clock, cpu, disk, links"),
        (dataclass(type("Loose", (), {"__annotations__": {"x": int}, "x": 1}))(), "make the dataclass frozen"),
        (object(), "make it a dataclass"),
    ],
)
def test_a_fault_that_does_not_conform_is_told_why(fault, why):
    with pytest.raises(AssertionError, match=why):
        check_fault(fault)


# ---------------------------------------------------------------- targets


def test_the_target_in_memory_conforms():
    target = MemoryTarget(NODES)
    assert isinstance(target, Backends)
    assert isinstance(target, RunsProcesses)
    check_target(target)
    assert target.in_force == []


def test_only_what_a_target_can_do_is_asked_of_it():
    target = MemoryTarget(NODES, lacks=frozenset({"freeze"}))
    check_target(target)
    assert not any("freeze n" in line for line in target.log)


@pytest.mark.parametrize(
    ("told", "why"),
    [
        (Told(confirms=None), "no confirmation within"),
        (Told(confirms=Proof.MISMATCH), "confirm is mismatch"),
        (Told(heals=None), "put it there first"),
        (Told(heals=Proof.INCONCLUSIVE), "heal is inconclusive"),
    ],
)
def test_a_target_that_proves_nothing_is_told_so(told, why):
    with pytest.raises(AssertionError, match=why):
        check_target(MemoryTarget(NODES, told=lambda _: told), [Freeze()], within_s=0.2)


class Credulous(MemoryTarget):
    """Takes everything that it is asked for as done."""

    def backend(self, action):
        return "hope"

    def _refuse_unknown(self, node):
        pass


class Forgetful(MemoryTarget):
    """Heals to another future each time."""

    def inject(self, aimed, *, deadline_s):
        injection = super().inject(aimed, deadline_s=deadline_s)
        first = injection.heal

        class Again:
            events = injection.events

            def heal(self):
                told: Future[Any] = Future()
                told.set_result(first().result())
                return told

        return Again()


def test_a_target_that_refuses_nothing_is_told_so():
    with pytest.raises(AssertionError, match="can't be done anywhere, and was not refused"):
        check_target(Credulous(NODES))


def test_a_target_whose_heal_is_not_idempotent_is_told_so():
    with pytest.raises(AssertionError, match="not the same future"):
        check_target(Forgetful(NODES), [Freeze()])


@pytest.mark.parametrize(("nodes", "why"), [((), "without nodes"), ((NODES[0], NODES[0]), "two nodes of one name")])
def test_a_topology_must_have_nodes_that_can_be_told_apart(nodes, why):
    with pytest.raises(AssertionError, match=why):
        check_target(MemoryTarget(nodes))


def test_processes_in_memory_die_of_a_kill_and_are_started_again():
    target = MemoryTarget(NODES)
    target.start("n1", Process(name="etcd", argv=("etcd",)))
    injection = target.inject([Aimed(subject="n1", action=Signal())], deadline_s=5)
    assert target.processes()[0].exit_code == -9
    injection.heal().result(1)
    assert (target.processes()[0].exit_code, target.processes()[0].starts) == (None, 2)


def test_no_experiment_can_be_run_on_the_target_in_memory():
    assert "memory" not in TARGETS


real = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, of a user namespace at least")


@pytest.mark.real
@pytest.mark.slow
@real
def test_the_embedded_lab_conforms(tmp_path):
    nodes = [Node(name=f"conf{n}", role="member", address="") for n in (1, 2)]
    with TARGETS["netns"].open(nodes, wants=Wants(), evidence=tmp_path) as target:
        target.start("conf1", Process(name="sleep", argv=("sleep", "600"), log=str(tmp_path / "sleep.log")))
        check_target(target)


# ---------------------------------------------------------------- stacks


def test_a_stack_that_serves_conforms(tmp_path):
    check_stack(ToldStack())
    check_stack(ToldStack(), MemoryTarget(NODES), tmp_path)


def test_etcd_conforms_before_it_is_started():
    check_stack(STACKS["etcd"].make(StackSpec(name="etcd", settings={"members": 3, "cpu": 0.5})))


class Odd(ToldStack):
    """A stack with something wrong."""

    def __init__(self, **wrong: Any) -> None:
        super().__init__()
        self.wrong = wrong

    def nodes(self):
        return self.wrong.get("nodes", NODES)

    def endpoints(self):
        return self.wrong.get("endpoints", super().endpoints())

    def operate(self, action, node, timeout_s):
        return "done, whatever it was" if "operates" in self.wrong else super().operate(action, node, timeout_s)

    def find(self, role, argument, timeout_s):
        if "finds" in self.wrong:
            return NODES[:1]
        raise UsageError(f"no role {role}") if role != "member" else StackError("never")

    def cpu_limits(self):
        return self.wrong.get("cpu", {})


@pytest.mark.parametrize(
    ("stack", "why"),
    [
        (Odd(nodes=()), "wants nodes"),
        (Odd(nodes=(NODES[0], NODES[0])), "two nodes of one name"),
        (Odd(nodes=(replace(NODES[0], role=""),)), "has a role"),
        (Odd(cpu={"mars": 1.0}), "limits mars"),
        (Odd(endpoints={}), "nothing that a client could talk to"),
        (Odd(endpoints={"n1": "192.0.2.1"}), "not host:port"),
        (ToldStack(speaks=False), "does not say its version"),
        (Odd(operates=True), "the operation .* was not refused"),
        (Odd(finds=True), "the role .* was not refused"),
    ],
)
def test_a_stack_that_does_not_conform_is_told_why(tmp_path, stack, why):
    with pytest.raises(AssertionError, match=why):
        check_stack(stack, MemoryTarget(NODES), tmp_path)
