"""What a fault, a target and a stack must do, whoever made them; chaos/testing.py is the door to these.

    check_fault(Latency(delay_s=0.05))                              settings ─▶ the same reversible actions, every time
    check_target(target)                                            in force, confirmed, healed, proved; or refused
    check_stack(stack)    check_stack(stack, target, folder)        what it says of itself; and once it serves

An AssertionError says what is wrong and what would be right. What they ask is what the engine relies on.
"""

from __future__ import annotations

import json
import queue
import time
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any

from chaos.errors import CapabilityError, ChaosgateError
from chaos.model import (
    NODE_ACTIONS,
    Aimed,
    Cut,
    Freeze,
    Impairment,
    Node,
    Power,
    Proof,
    Shape,
    Signal,
    StackAction,
    Topology,
    node_action,
    to_json,
)
from chaos.ports import Backends, FindsRole, HasProbes, LimitsCpu

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from chaos.model import Evidence, NodeAction
    from chaos.ports import Fault, Injection, Stack, Target

MEMBERS = tuple(Node(name=f"n{i}", role="member", address=f"192.0.2.{i}", zone="ab"[i % 2]) for i in (1, 2, 3))
CLIENT = Node(name="client1", role="client", address="192.0.2.9")  # RFC 5737: addresses for examples
TOPOLOGY = Topology(nodes=(*MEMBERS, CLIENT))
TOUCHED = frozenset({"processes", "packets", "links", "cpu", "disk", "clock"})
PROVED_S = 60.0  # until a real target must have confirmed a fault, or proved its heal
PROMPT_S = 2.0  # what "returns at once" may take on a busy machine
NOBODY = "nobody-is-called-this"


def assert_frozen(value: Any) -> None:
    """Assert that it is a dataclass whose fields can't be set."""
    name = type(value).__name__
    assert is_dataclass(value), f"{name}: make it a dataclass whose fields are its YAML keys"
    for field in fields(value):
        try:
            setattr(value, field.name, getattr(value, field.name))
        except AttributeError:  # FrozenInstanceError is one
            continue
        raise AssertionError(f"{name}.{field.name} can be set: make the dataclass frozen")


# ---------------------------------------------------------------- faults


def check_fault(fault: Fault, topology: Topology = TOPOLOGY) -> None:
    """Assert what the planner and the engine rely on, for each single victim and for several.

    A fault is a frozen dataclass; `aim` is pure: the same victims give the same actions, on nodes of the topology, all
    of known kinds that survive JSON, all of them changes to nodes or all of them operations of the stack.
    """
    name = type(fault).__name__
    assert_frozen(fault)
    touches = getattr(fault, "touches", TOUCHED)
    assert set(touches) <= TOUCHED, f"{name}.touches: {set(touches) - TOUCHED}; there are {', '.join(sorted(TOUCHED))}"
    members = topology.with_role(topology.nodes[0].role)
    for victims in (*((node,) for node in members), members[: len(members) // 2 + 1]):
        aimed = _aim(fault, victims, topology)
        assert _aim(fault, victims, topology) == aimed, f"{name}.aim: twice the same victims, and not the same actions"
        _check_actions(fault, aimed, topology)


def _aim(fault: Fault, victims: Sequence[Node], topology: Topology) -> list[Aimed]:
    before = to_json(topology)
    try:
        aimed = list(fault.aim(victims, topology))
    except Exception as error:  # a stranger's plugin may raise anything; it is named
        named = ", ".join(victim.name for victim in victims)
        raise AssertionError(f"{type(fault).__name__}.aim raises {error!r} for {named}") from error
    assert to_json(topology) == before, f"{type(fault).__name__}.aim changes the topology"
    return aimed


def _check_actions(fault: Fault, aimed: Sequence[Aimed], topology: Topology) -> None:
    name, known = type(fault).__name__, {node.name for node in topology.nodes}
    for one in aimed:
        assert isinstance(one, Aimed), f"{name}.aim returns {one!r}; wrap it: Aimed(subject=…, action=…)"
        assert one.subject in known, f"{name}.aim: {one.subject!r} is no node of the topology"
        data = json.loads(json.dumps(to_json(one.action), allow_nan=False))
        if not isinstance(one.action, StackAction):
            assert one.action.kind in NODE_ACTIONS, f"{name}.aim: no agent knows the kind {one.action.kind!r}"
            assert node_action(data) == one.action, f"{name}.aim: {one.action} does not come back from JSON as it was"
    operations = [isinstance(one.action, StackAction) for one in aimed]
    assert all(operations) or not any(operations), f"{name}.aim mixes operations and changes to nodes: make two faults"
    momentary = bool(getattr(fault, "momentary", False))
    if aimed:
        assert all(operations) == momentary, f"{name}.momentary is {momentary}: True for operations, and only for them"


# ---------------------------------------------------------------- targets


def check_target(target: Target, actions: Sequence[NodeAction] | None = None, *, within_s: float = PROVED_S) -> None:
    """Assert what the engine relies on, with each of `actions` on the first node, one after the other.

    By default those that the target says it can do. Each is confirmed, heals to one future however often it is asked
    for, and is proved gone in `events` before that future ends. What can't be done is refused, and nothing of it stays.
    """
    topology = target.topology()
    names = [node.name for node in topology.nodes]
    assert target.name, "a target has a name"
    assert names, f"{target.name}: a topology without nodes"
    assert len(set(names)) == len(names), f"{target.name}: two nodes of one name among {', '.join(names)}"
    json.dumps(to_json(target.describe()), allow_nan=False)
    _refused(target, Aimed(subject=names[0], action=StackAction(operation="restart")))
    _refused(target, Aimed(subject=NOBODY, action=Freeze()))
    for action in _possible(target, names[-1]) if actions is None else actions:
        _check_injection(target, Aimed(subject=names[0], action=action), within_s)


def _possible(target: Target, peer: str) -> list[NodeAction]:
    every: tuple[NodeAction, ...] = (
        Cut(peers=(peer,)),
        Shape(impairment=Impairment(delay_s=0.05), peers=(peer,)),
        Signal(signal="STOP"),
        Signal(signal="KILL"),
        Freeze(),
        Power(),
    )
    return [action for action in every if _can(target, action)]


def _can(target: Target, action: NodeAction) -> bool:
    if not isinstance(target, Backends):
        return True
    try:
        backend = target.backend(action)
    except CapabilityError as missing:
        _check_wording(missing, f"{target.name}: {action.kind}")
        return False
    assert backend, f"{target.name}.backend({action.kind}) is empty; name the mechanism, or raise CapabilityError"
    return True


def _refused(target: Target, aimed: Aimed) -> None:
    what = f"{aimed.action.kind} on {aimed.subject}"
    try:
        injection = target.inject([aimed], deadline_s=10.0)
    except ChaosgateError as refusal:
        _check_wording(refusal, f"{target.name}: {what}")
        return
    except Exception as error:  # as above
        raise AssertionError(f"{target.name}: {what} raises {error!r}; raise TargetError or CapabilityError") from error
    injection.heal().result(PROVED_S)
    raise AssertionError(f"{target.name}: {what} can't be done anywhere, and was not refused")


def _check_wording(refusal: ChaosgateError, what: str) -> None:
    assert str(refusal), f"{what} is refused without a word; say what is missing, and what would do"


def _check_injection(target: Target, aimed: Aimed, within_s: float) -> None:
    what = f"{target.name}: {aimed.action.kind} on {aimed.subject}"
    injection = target.inject([aimed], deadline_s=4 * within_s)
    try:
        told = _until(injection, "confirm", within_s)
        assert told, f"{what}: no confirmation within {within_s:g} s"
        _check_evidence(told[-1], aimed, what)
    finally:
        began = time.monotonic()
        healed = injection.heal()
        took_s = time.monotonic() - began
        healed.result(within_s)
    assert took_s < PROMPT_S, f"{what}: heal took {took_s:.1f} s to return; do the undo in a thread"
    told = _now(injection)
    heals = [evidence for evidence in told if evidence.phase == "heal"]
    assert heals, f"{what}: the future ended, and no evidence of the heal is in `events`; put it there first"
    _check_evidence(heals[-1], aimed, what)
    assert injection.heal() is healed, f"{what}: a second heal is not the same future"
    assert not [e for e in _now(injection) if e.phase == "heal"], f"{what}: a second heal did something again"


def _check_evidence(evidence: Evidence, aimed: Aimed, what: str) -> None:
    said = f"{what}: {evidence.phase}"
    assert evidence.subject == aimed.subject, f"{said} speaks of {evidence.subject!r}"
    assert evidence.action == aimed.action.kind, f"{said} calls the action {evidence.action!r}"
    assert evidence.proof is Proof.CONFIRMED, f"{said} is {evidence.proof}: {evidence.detail}"
    assert evidence.detail, f"{said} has no sentence"
    assert evidence.effective_ns is not None, f"{said} does not say since when"
    json.dumps(to_json(evidence), allow_nan=False)


def _until(injection: Injection, phase: str, within_s: float) -> list[Evidence]:
    """Return evidence up to the first of `phase`; empty if none came."""
    told: list[Evidence] = []
    deadline = time.monotonic() + within_s
    while (left_s := deadline - time.monotonic()) > 0:
        try:
            told.append(injection.events.get(timeout=left_s))
        except queue.Empty:
            break
        if told[-1].phase == phase:
            return told
    return []


def _now(injection: Injection) -> list[Evidence]:
    return [injection.events.get_nowait() for _ in range(injection.events.qsize())]


# ---------------------------------------------------------------- stacks


def check_stack(stack: Stack, target: Target | None = None, folder: Path | None = None) -> None:
    """Assert what a stack says of itself; with a fresh target made of its nodes, and a folder for logs, that it serves.

    Nodes have distinct names and roles, and are the same when asked twice. Once up: an address a client can use and a
    version for each node that has one, roles held by nodes of the topology, unknown operations and roles refused.
    """
    name, nodes = stack.spec.name, stack.nodes()
    names = [node.name for node in nodes]
    assert names, f"{name}: a stack wants nodes"
    assert len(set(names)) == len(names), f"{name}: two nodes of one name among {', '.join(names)}"
    assert all(node.role for node in nodes), f"{name}: every node has a role"
    assert list(stack.nodes()) == list(nodes), f"{name}: asked twice, it wants other nodes"
    if isinstance(stack, LimitsCpu):
        foreign = set(stack.cpu_limits()) - set(names)
        assert not foreign, f"{name}: limits {', '.join(sorted(foreign))}, which it does not want"
    if target is None:
        return
    assert folder is not None, "check_stack with a target needs a folder for the logs"
    stack.up(target, folder)
    _check_endpoints(stack, target)
    _check_versions(stack, target)
    _check_probes(stack, target)
    _refuses(f"{name}: the operation {NOBODY!r}", lambda: stack.operate(StackAction(operation=NOBODY), names[0], 1.0))
    if isinstance(stack, FindsRole):
        _check_roles(stack, stack, target)


def _check_endpoints(stack: Stack, target: Target) -> None:
    endpoints = stack.endpoints()
    assert endpoints, f"{stack.spec.name}: nothing that a client could talk to"
    for node, endpoint in endpoints.items():
        target.topology().node(node)
        host, _, port = endpoint.rpartition(":")
        assert host, f"{stack.spec.name}: {endpoint!r} of {node} is not host:port"
        assert port.isdigit(), f"{stack.spec.name}: {endpoint!r} of {node} is not host:port"


def _check_versions(stack: Stack, target: Target) -> None:
    versions: Mapping[str, Mapping[str, str]] = stack.versions()
    assert versions, f"{stack.spec.name}: no process says which version it is"
    for node, facts in versions.items():
        target.topology().node(node)
        missing = [key for key in ("version", "sha256", "path") if not facts.get(key)]
        assert not missing, f"{stack.spec.name}: {node} does not say its {', '.join(missing)}"


def _check_probes(stack: Stack, target: Target) -> None:
    for name, (probe, every_s) in stack.probes(target).items() if isinstance(stack, HasProbes) else ():
        assert every_s > 0, f"{stack.spec.name}: probe {name} looks every {every_s} s"
        for reading in probe.read(2.0):
            assert reading.value is not None or reading.why, f"{name}: no answer of {reading.node}, and no reason"


def _check_roles(stack: Stack, finder: FindsRole, target: Target) -> None:
    role = stack.nodes()[0].role
    held = [node.name for node in finder.find(role, "", 5.0)]
    known = {node.name for node in target.topology().nodes}
    assert set(held) <= known, f"{stack.spec.name}: {role} is held by {', '.join(sorted(set(held) - known))}, no nodes"
    found: list[Sequence[Node]] = []
    _refuses(f"{stack.spec.name}: the role {NOBODY!r}", lambda: found.append(finder.find(NOBODY, "", 1.0)), found=found)


def _refuses(what: str, ask: Callable[[], Any], found: Sequence[Sequence[Node]] = ((CLIENT,),)) -> None:
    """Assert that `ask` raises an error of ours; for roles, finding nobody will do too."""
    try:
        ask()
    except ChaosgateError as refusal:
        _check_wording(refusal, what)
        return
    assert not any(found), f"{what} was not refused; raise UsageError and name those that there are"


__all__ = ["assert_frozen", "check_fault", "check_stack", "check_target"]
