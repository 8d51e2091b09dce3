"""A target in memory: nothing is touched, every injection does as it is told. For tests of everything above a target.

    inject ─▶ told(aimed) ─▶ refused │ hangs │ in force ─▶ evidence ─▶ heal ─▶ gone │ still there │ hangs

It confirms faults that never happened, so it is not in TARGETS: no experiment may be promoted by it. By default all
goes well, and it passes `chaos.testing.check_target` as a real target does.
"""

from __future__ import annotations

import threading
from concurrent.futures import Future
from dataclasses import dataclass, replace
from queue import Queue
from typing import TYPE_CHECKING, Any

from chaos.clock import MonotonicClock
from chaos.errors import AgentError, CapabilityError, DirtyError, TargetError
from chaos.model import Evidence, Power, ProcessState, Proof, Signal, StackAction, Topology

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from chaos.model import Action, Aimed, Node, Process
    from chaos.ports import Clock

HANG_S = 60.0  # what hangs and is never released ends then, so that no thread is left for good
KILLED = -9


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What one injection is to do. A proof of None: it says nothing."""

    refuses: str = ""  # the error's text; nothing is in force then
    inject_hangs: bool = False  # until `release`
    confirms: Proof | None = Proof.CONFIRMED
    heal_raises: str = ""  # `heal` itself raises
    heal_fails: str = ""  # the future raises; the effect stays
    heal_hangs: bool = False  # the future waits for `release`
    heals: Proof | None = Proof.CONFIRMED


AS_ASKED = Told()


def by_kind(**told: Told) -> Callable[[Sequence[Aimed]], Told]:
    """Tell injections apart by the kind of their first action; those not named go well."""
    return lambda aimed: told.get(aimed[0].action.kind, AS_ASKED)


class MemoryTarget:
    """Nodes that exist by name only. Implements Target, Backends and RunsProcesses; safe from any thread.

    `told` decides what an injection does; `lacks` are kinds of actions that can't be done here.
    """

    name = "memory"

    def __init__(
        self,
        nodes: Iterable[Node],
        *,
        told: Callable[[Sequence[Aimed]], Told] = lambda _: AS_ASKED,
        clock: Clock | None = None,
        lacks: frozenset[str] = frozenset(),
        base: Path | None = None,
    ) -> None:
        self.clock: Clock = MonotonicClock() if clock is None else clock
        self.log: list[str] = []  # "inject cut etcd1", "heal cut etcd1", in the order in which it was asked for
        self.in_force: list[Aimed] = []
        self._topology = Topology(nodes=tuple(nodes))
        self._told, self._lacks, self._base = told, lacks, base
        self._processes: dict[tuple[str, str], ProcessState] = {}
        self._lock = threading.RLock()
        self._released = threading.Event()
        self._hanging = 0
        self._waiting: list[Callable[[], None]] = []

    # ------------------------------------------------------------ Target, Backends

    def topology(self) -> Topology:
        """Nodes; no capabilities."""
        return self._topology

    def inject(self, aimed: Sequence[Aimed], *, deadline_s: float) -> MemoryInjection:  # noqa: ARG002 nothing outlives us
        """Note what is in force. AgentError as told, CapabilityError for what is lacking, TargetError for no node."""
        for one in aimed:
            self.backend(one.action)
            self._refuse_unknown(one.subject)
            self._log(f"inject {one.action.kind} {one.subject}")
        told = self._told(aimed)
        if told.inject_hangs:
            self._hang()
        if told.refuses:
            raise AgentError(told.refuses)
        with self._lock:
            self.in_force.extend(aimed)
        for one in aimed:
            self._hurt(one)
        return MemoryInjection(self, aimed, told)

    def describe(self) -> Mapping[str, Any]:
        """Say that it is not real."""
        return {"target": self.name, "real": False}

    def backend(self, action: Action) -> str:
        """Return "memory"; CapabilityError for an operation of a stack, or a kind that is lacking."""
        if isinstance(action, StackAction) or action.kind in self._lacks:
            raise CapabilityError(f"{action.kind}: not on target {self.name}; choose a target that can do it")
        return self.name

    # ------------------------------------------------------------ RunsProcesses

    def start(self, node: str, process: Process) -> ProcessState:
        """Note that it runs."""
        self._refuse_unknown(node)
        with self._lock:
            before = self._processes.get((node, process.name))
            return self._run(node, process.name, 1 if before is None else before.starts + 1)

    def stop(self, node: str, name: str, *, grace_s: float) -> ProcessState:  # noqa: ARG002 it ends at once
        """Note that it ended with 0; TargetError if there is none."""
        with self._lock:
            if (node, name) not in self._processes:
                raise TargetError(f"{node}: no process {name!r} was ever started there")
            return self._end(node, name, 0)

    def processes(self) -> Sequence[ProcessState]:
        """Return the newest state of every process."""
        with self._lock:
            return tuple(self._processes.values())

    def folder(self, node: str) -> Path:
        """Return a folder for the node below `base`; TargetError if it was made without one."""
        if self._base is None:
            raise TargetError(f"{node}: this target was made without a folder; give `base`")
        (self._base / node).mkdir(parents=True, exist_ok=True)
        return self._base / node

    def die(self, node: str, name: str, exit_code: int) -> None:
        """Let a process end by itself."""
        with self._lock:
            self._end(node, name, exit_code)

    # ------------------------------------------------------------ told from outside

    @property
    def hanging(self) -> int:
        """How many calls of `inject` wait for the release."""
        return 0 if self._released.is_set() else self._hanging

    def release(self) -> None:
        """Let everything go on that hangs, now and later."""
        self._released.set()
        with self._lock:
            waiting, self._waiting = self._waiting, []
        for go_on in waiting:
            go_on()

    def when_released(self, go_on: Callable[[], None]) -> None:
        """Call `go_on` at the release; at once if that was before."""
        with self._lock:
            if not self._released.is_set():
                self._waiting.append(go_on)
                return
        go_on()

    def healed(self, aimed: Sequence[Aimed]) -> None:
        """Take what was in force back."""
        with self._lock:
            for one in aimed:
                self.in_force.remove(one)
                self._mend(one)

    def note_heal(self, aimed: Sequence[Aimed]) -> None:
        """Log that a heal was asked for."""
        for one in aimed:
            self._log(f"heal {one.action.kind} {one.subject}")

    # ------------------------------------------------------------ effects, in memory

    def _hang(self) -> None:
        with self._lock:
            self._hanging += 1
        self._released.wait(HANG_S)
        with self._lock:
            self._hanging -= 1

    def _log(self, line: str) -> None:
        with self._lock:
            self.log.append(line)

    def _refuse_unknown(self, node: str) -> None:
        if node not in {one.name for one in self._topology.nodes}:
            raise TargetError(f"{node}: no such node; there are {', '.join(n.name for n in self._topology.nodes)}")

    def _hurt(self, one: Aimed) -> None:
        with self._lock:
            for node, name in self._struck(one):
                self._end(node, name, KILLED)

    def _mend(self, one: Aimed) -> None:
        for node, name in self._struck(one):
            state = self._processes[node, name]
            if state.exit_code is not None:
                self._run(node, name, state.starts + 1)

    def _struck(self, one: Aimed) -> list[tuple[str, str]]:
        """Return the processes that an action kills."""
        action = one.action
        if not (isinstance(action, Power) or (isinstance(action, Signal) and action.signal == "KILL")):
            return []
        only = action.process if isinstance(action, Signal) else ""
        return [key for key in self._processes if key[0] == one.subject and only in ("", key[1])]

    def _run(self, node: str, name: str, starts: int) -> ProcessState:
        state = ProcessState(node=node, name=name, pid=1000 + starts, started_ns=self.clock.now_ns(), starts=starts)
        self._processes[node, name] = state
        return state

    def _end(self, node: str, name: str, exit_code: int) -> ProcessState:
        state = self._processes[node, name]
        if state.exit_code is None:
            state = replace(state, exit_code=exit_code, ended_ns=self.clock.now_ns())
            self._processes[node, name] = state
        return state


class MemoryInjection:
    """One step in force in memory; implements Injection."""

    def __init__(self, target: MemoryTarget, aimed: Sequence[Aimed], told: Told) -> None:
        self.events: Queue[Evidence] = Queue()
        self._target, self._aimed, self._told = target, tuple(aimed), told
        self._healed: Future[Evidence] | None = None
        self._lock = threading.Lock()
        self._say("inject", Proof.INCONCLUSIVE)
        self._say("confirm", told.confirms)

    def heal(self) -> Future[Evidence]:
        """Return always the same future. It raises DirtyError, or `heal` does, as told."""
        if self._told.heal_raises:
            raise DirtyError(self._told.heal_raises)
        with self._lock:
            if self._healed is not None:
                return self._healed
            self._healed = Future()
        self._target.note_heal(self._aimed)
        if self._told.heal_hangs:
            self._target.when_released(self._undo)
        else:
            self._undo()
        return self._healed

    def _undo(self) -> None:
        assert self._healed is not None
        if self._told.heal_fails:
            self._healed.set_exception(DirtyError(self._told.heal_fails))
            return
        if self._told.heals is not Proof.MISMATCH:
            self._target.healed(self._aimed)
        self._say("heal", self._told.heals)
        self._healed.set_result(self._evidence(self._aimed[0], "heal", self._told.heals or Proof.INCONCLUSIVE))

    def _say(self, phase: str, proof: Proof | None) -> None:
        if proof is not None:
            for one in self._aimed:
                self.events.put(self._evidence(one, phase, proof))

    def _evidence(self, one: Aimed, phase: str, proof: Proof) -> Evidence:
        now = self._target.clock.now_ns()
        return Evidence(
            at_ns=now,
            phase=phase,
            subject=one.subject,
            action=one.action.kind,
            proof=proof,
            detail=f"in memory: {phase}, {proof}",
            effective_ns=now,
        )
