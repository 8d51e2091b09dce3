"""What every target with agents has in common: one that answers for its nodes, and every fault measured.

    engine ── inject ──▶ AgentTarget ── ask ──▶ Agents: one (a lab's), or one on each machine of a cluster
                            │ bare paths, measured while nothing is in force
                            └▶ MeasuredInjection: applied, confirmed, watched, healed, proved

Agents that die are no silence: every injection in force says so, and the next heal starts new ones, which replay the
journals of the old ones before they do anything else.
"""

from __future__ import annotations

import itertools
import json
import threading
from abc import ABC, abstractmethod
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol

from chaos.agent.points import effect
from chaos.errors import AgentError, CapabilityError, HarnessError
from chaos.fidelity import check
from chaos.model import Aimed, NodeAction, StackAction, to_json
from chaos.targets.agents import probing
from chaos.targets.agents.baseline import Baseline
from chaos.targets.agents.injection import MeasuredInjection
from chaos.targets.agents.mechanisms import Means, mechanism
from chaos.targets.agents.paths import paths

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from concurrent.futures import Future
    from pathlib import Path

    from chaos.jsonlines import Said
    from chaos.model import Action, Measurement, Topology

ASK_S = 15.0
REFRESH_S = 3.0  # between two looks at the bare paths while nothing is in force


class Agents(Protocol):
    """Whoever answers for the nodes; what can be asked is in chaos/agent/serve.py."""

    @property
    def alive(self) -> bool:
        """Tell whether all of it can still answer."""
        ...

    def ask(self, op: str, timeout_s: float, **arguments: Any) -> Said:
        """Ask and wait; AgentError if refused, late or gone."""
        ...

    def send(self, op: str, **arguments: Any) -> Future[Said]:
        """Ask without waiting."""
        ...

    def wait(self, op: str, future: Future[Said], timeout_s: float) -> Said:
        """Return the answer; AgentError if refused, late or gone."""
        ...

    def close(self) -> None:
        """Let it undo everything and end. Idempotent."""
        ...


class AgentTarget(ABC):
    """Nodes with agents. Who inherits says who they are, and calls `_begin` when the nodes can be measured."""

    name: str
    holds_down = True  # what is killed stays down until it is started again
    gone_s = 15.0  # an effect that is still there so long after its undo makes the target dirty
    back_s = 15.0  # the same of processes that were killed and do not run again

    def __init__(self, evidence: Path) -> None:
        self.bare = Baseline()
        self.client: Agents
        self._evidence = evidence.absolute()
        self._lock = threading.RLock()
        self._reviving = threading.Lock()  # its own: who ends a dead agent waits for its reader, which takes the other
        self._in_force: list[MeasuredInjection] = []
        self._numbers = itertools.count(1)
        self._closing = threading.Event()
        self._before: dict[str, Any] = {}
        self._refreshing = threading.Thread(target=self._refresh, name="bare-paths", daemon=True)

    @abstractmethod
    def topology(self) -> Topology:
        """Nodes and capabilities."""

    @abstractmethod
    def _means(self) -> Means:
        """Return by what actions are carried out here."""

    @abstractmethod
    def _start_agents(self) -> Agents:
        """Return agents that have said hello; TargetError if they don't come up."""

    def _begin(self) -> None:
        """Learn the bare paths and the state of the kernel, and go on learning."""
        self._learn(40, 80.0)
        self._before = self._kernel()  # after the first packets: links that come up change their state until then
        self._keep("kernel-before.json", self._before)
        self._refreshing.start()

    # ------------------------------------------------------------ Target

    def inject(self, aimed: Sequence[Aimed], *, deadline_s: float) -> MeasuredInjection:
        """Do all of a step together; AgentError if any of it is refused, and then nothing of it stays."""
        for one in aimed:
            self.backend(one.action)  # refuses what can't be done here
        self.revive_agent()
        with self._lock:
            others = [one for injection in self._in_force for one in injection.aimed]
            found = paths(aimed, others, [node.name for node in self.topology().nodes])
            wanted = probing.plan([_node_action(one.action) for one in aimed], found)
            injection = MeasuredInjection(self, f"i{next(self._numbers)}", aimed, wanted)
            self._in_force.append(injection)
        try:
            injection.begin(deadline_s)
        except BaseException:  # also Ctrl-C: an injection that did not begin is none
            self.leave(injection)
            raise
        return injection

    def backend(self, action: Action) -> str:
        """Return the mechanism for an action; CapabilityError naming what is missing."""
        if isinstance(action, StackAction):
            raise CapabilityError(f"{action.kind}: not for a target; {action.operation} is the stack's own")
        return mechanism(action, self._means())

    # ------------------------------------------------------------ for injections

    def send_inject(self, *, name: str, aimed: Aimed, deadline_s: float) -> Future[dict[str, Any]]:
        """Ask the agent for one action."""
        action = to_json(aimed.action)
        return effect(
            "agent.inject",
            lambda: self.client.send("inject", name=name, subject=aimed.subject, action=action, deadline_s=deadline_s),
        )

    def evidence_file(self, name: str) -> Path:
        """Return the path of a new file of evidence."""
        with suppress(OSError):  # then it can't be written either, which is for the writer to tell
            self._evidence.mkdir(parents=True, exist_ok=True)
        return self._evidence / name

    def neighbour(self, node: str) -> str | None:
        """Return another node, from which this one can be tried; None if it is alone."""
        return next((other.name for other in self.topology().nodes if other.name != node), None)

    def leave(self, injection: MeasuredInjection) -> None:
        """Note that an injection is over; the bare paths may be learnt again when it was the last."""
        with self._lock:
            if injection in self._in_force:
                self._in_force.remove(injection)

    def restored(self, injection: MeasuredInjection) -> tuple[Measurement, ...]:
        """Compare the kernel's network state with that before any fault; nothing while others are in force."""
        with self._lock:
            if any(other is not injection for other in self._in_force):
                return ()
        name = "kernel network state restored = before"
        try:
            after = self._kernel()
        except AgentError as error:
            return (check(name, holds=None, why=str(error)),)
        self._keep(f"{injection.name}-healed-kernel.json", after)
        if unseen := not_looked_at(self._before, after):
            return (check(name, holds=None, why=f"not looked at: {', '.join(unseen)}"),)
        where = "; ".join(differences(self._comparable(after), after))
        return (check(name, holds=not where, why=where),)

    def _comparable(self, after: Mapping[str, Any]) -> Mapping[str, Any]:  # noqa: ARG002 - of targets that lose nodes
        """Return the state before any fault of what is still there."""
        return self._before

    def absent(self) -> frozenset[str]:
        """Return the nodes that are there no more, so that nothing can be measured of them."""
        return frozenset()

    def _keep(self, name: str, state: Mapping[str, Any]) -> None:
        with suppress(OSError):  # a full disk takes the file, not the heal
            self.evidence_file(name).write_text(json.dumps(state, indent=1) + "\n", encoding="utf-8")

    def revive_agent(self) -> None:
        """Start new agents if one died; they replay the journals first."""
        with self._reviving:
            if not self.client.alive:
                self.client.close()
                self.client = self._start_agents()

    # ------------------------------------------------------------ the agents

    def _heard(self, event: Mapping[str, Any]) -> None:
        with self._lock:
            injections = list(self._in_force)
        for injection in injections:
            if event["event"] == "gone":
                injection.alarm(str(event["why"]))
            elif event["event"] == "undone":
                injection.undone(event)
            elif event["event"] == "undo failed" and event["name"].startswith(f"{injection.name}."):
                injection.alarm(f"the agent could not undo it: {event['why']}")

    def _kernel(self) -> dict[str, Any]:
        nodes = [node.name for node in self.topology().nodes]
        return dict(self.client.ask("kernel", ASK_S, nodes=nodes)["kernel"])

    # ------------------------------------------------------------ bare paths

    def _refresh(self) -> None:
        while not self._closing.wait(REFRESH_S):
            with self._lock:
                quiet = not self._in_force and self.client.alive
            if not quiet:
                continue
            try:
                self._learn(10, 20.0)
            except HarnessError:  # an agent that died: the next injection starts a new one, and says so if it can't
                continue

    def _learn(self, packets: int, per_s: float) -> None:
        names = [node.name for node in self.topology().nodes]
        pairs = [(a, b) for a in names for b in names if a != b]
        if not pairs:
            return
        flows = probing.baseline_flows(pairs, packets, per_s)
        answer = self.client.ask("measure", packets / flows[0]["per_s"] + ASK_S, flows=flows, tail_s=0.2)
        with self._lock:
            if not self._in_force:  # a fault that began meanwhile has coloured them
                self.bare.add(probing.read_flows(answer).values())

    # ------------------------------------------------------------ the end

    def close(self) -> None:
        """Heal what is in force, then end the agents. Idempotent; the nodes are their opener's to close."""
        self._closing.set()
        with self._lock:
            injections = list(self._in_force)
        for future in [injection.heal() for injection in injections]:
            future.exception()  # waits; the injection has told its story in its events
        if self._refreshing.ident is not None:
            self._refreshing.join()
        self.client.close()


def not_looked_at(*states: Mapping[str, Any]) -> list[str]:
    """Name what no program could tell of, in any of these states: the kinds whose program is not installed."""
    parts = [part for state in states for part in state.values()]
    return sorted({kind for part in parts for kind, found in part.items() if found is None})


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Name what differs between two states of chaos/agent/kernel.py: where, which kind, the lines gone and new."""
    found = []
    for part, state in before.items():
        for kind, old in state.items():
            new = after.get(part, {}).get(kind)
            if new != old:
                found.append(f"{part or 'hub'} {kind}: {_apart(old, new)}")
    return found


def _apart(old: Any, new: Any) -> str:
    was, now = _lines(old), _lines(new)
    return f"gone {[x for x in was if x not in now]}, new {[x for x in now if x not in was]}"


def _lines(value: Any) -> list[str]:
    return value.splitlines() if isinstance(value, str) else [str(one) for one in value or ()]


def _node_action(action: Action) -> NodeAction:
    if isinstance(action, StackAction):
        raise CapabilityError(f"{action.operation} is an operation of the stack, not of a node")
    return action
