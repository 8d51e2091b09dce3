"""One step in force: applied together, measured, watched, healed, and the heal measured too.

begin ─▶ inject ─▶ confirm ─▶ watch, once a second … ─▶ heal asked ─▶ undone ─▶ measured gone ─▶ future
(all of the step together)     └───── every word of it is an Evidence in `events` ─────┘
"""

from __future__ import annotations

import threading
import time
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass, replace
from queue import Queue
from typing import TYPE_CHECKING, Any

from chaos import fidelity
from chaos.clock import NS
from chaos.errors import AgentError, DirtyError, HarnessError, TargetError
from chaos.model import (
    Aimed,
    ClockSkew,
    CpuQuota,
    DiskFault,
    Evidence,
    Freeze,
    Measurement,
    NodeAction,
    Power,
    Proof,
    Signal,
    StackAction,
)
from chaos.targets.agents import signs
from chaos.targets.agents.probing import Plan, flows_of, read_flows, watch_flows
from chaos.tolerances import CLOCK_S, CPU_S

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from chaos.fidelity import Flow
    from chaos.targets.agents.target import AgentTarget

ATTEMPTS = 3
WATCH_S = 1.0
WATCH_ROUNDS = 5  # the last so many low-rate rounds are judged together
WATCH_TRIALS = 10  # of a disk, in each of two looks: fewer could not show that half is not the whole
LOOK_APART_S = 0.25  # between two looks at the CPU time of what should stand still
SETTLE_S = 4.0  # an effect that is not there by then is a mismatch
REPLY_S = 30.0
DEATH_S = 1.0  # SIGKILL ends a process in milliseconds; one in an uninterruptible wait takes longer, and is told
DEATH_POLL_S = 0.005
_WORST_FIRST = (Proof.MISMATCH, Proof.INCONCLUSIVE, Proof.CONFIRMED)


@dataclass(slots=True, kw_only=True)
class Part:
    """One action of the step: its name at the agent, and what the agent remembered for its undo."""

    name: str
    aimed: Aimed
    undo: Mapping[str, Any]
    applied_ns: int
    death: Mapping[str, Any] | None = None  # of a kill: the look that saw it; whoever is killed may soon run again

    @property
    def kind(self) -> str:
        """The action's kind."""
        return self.aimed.action.kind

    @property
    def action(self) -> NodeAction:
        """The action; a target is never given a stack's own operations."""
        assert not isinstance(self.aimed.action, StackAction)
        return self.aimed.action


class MeasuredInjection:
    """A step in force on a target. Thread-safe; `heal` may be called from anywhere, any number of times."""

    def __init__(self, target: AgentTarget, name: str, aimed: Sequence[Aimed], plan: Plan) -> None:
        self.events: Queue[Evidence] = Queue()
        self.name = name
        self.aimed = tuple(aimed)
        self._target, self._plan = target, plan
        self._parts: list[Part] = []
        self._healing = threading.Event()
        self._watched = threading.Event()  # the measuring thread is done
        self._healed: Future[Evidence] | None = None
        self._lock = threading.Lock()
        self._rounds: dict[str, deque[Flow]] = {}

    # ------------------------------------------------------------ into force

    def begin(self, deadline_s: float) -> None:
        """Ask for all actions at once; AgentError if one is refused, and then none stays."""
        wanted = [(f"{self.name}.{i}", one) for i, one in enumerate(self.aimed)]
        asked = [
            (name, one, self._target.send_inject(name=name, aimed=one, deadline_s=deadline_s)) for name, one in wanted
        ]
        refused = []
        for name, one, future in asked:
            try:
                answer = self._target.client.wait("inject", future, REPLY_S)
                part = Part(name=name, aimed=one, undo=answer["undo"], applied_ns=answer["applied_ns"])
                part.death = self._death(part)
                self._parts.append(part)
            except AgentError as error:
                refused.append(str(error))
        if refused:
            self._take_back([name for name, _ in wanted])
            raise AgentError("; ".join(refused))
        for part in self._parts:
            self._say(part, "inject", (), Proof.INCONCLUSIVE, "in force, not yet measured", part.applied_ns)
        threading.Thread(target=self._measure, name=f"measure-{self.name}", daemon=True).start()

    def _death(self, part: Part) -> Mapping[str, Any] | None:
        """Of a kill, look until all that was hit has ended, a second at most."""
        if not (isinstance(part.action, Signal) and part.action.signal == "KILL"):
            return None
        until = time.monotonic() + DEATH_S
        while True:
            look = self._look(part)
            ended = signs.in_force(part.action, part.undo, look, look, ())
            if fidelity.proof(ended) is Proof.CONFIRMED or time.monotonic() > until:
                return look
            time.sleep(DEATH_POLL_S)

    def _take_back(self, names: Sequence[str]) -> None:
        self._target.revive_agent()  # one that died half-way: the new one finds the undo in the journal
        for name in names:
            self._target.client.ask("heal", REPLY_S, name=name)

    # ------------------------------------------------------------ measured

    def _measure(self) -> None:
        try:
            self._confirm()
            while not self._healing.wait(WATCH_S):
                self._watch()
        except HarnessError as error:
            self.alarm(str(error))
        except Exception as error:  # noqa: BLE001 - a watch that ended in silence would pass for a fault that holds
            self.alarm(f"the measuring broke down: {error!r}")
        finally:
            self._watched.set()

    def _confirm(self) -> None:
        """Measure, and again if a noisy moment left doubt; a mismatch is never measured away."""
        capture = self._target.evidence_file(f"{self.name}-confirm.pcapng")
        for _ in range(ATTEMPTS):
            told = self._measured_once(capture)
            proofs = {fidelity.proof(mine) for _, _, mine in told}
            if self._healing.is_set() or Proof.MISMATCH in proofs or Proof.INCONCLUSIVE not in proofs:
                break
        for part, effective_ns, mine in told:
            if self._healing.is_set() and part.death is None:  # seen in force or not: it no longer can be told
                mine.append(fidelity.check("measured while in force", holds=None, why="it was healed meanwhile"))
            proof = fidelity.proof(mine)
            files = (capture.name,) if capture.exists() else ()
            self._say(part, "confirm", mine, proof, _sentence(proof, mine), effective_ns or part.applied_ns, files)

    def _measured_once(self, capture: Path) -> list[tuple[Part, int | None, list[Measurement]]]:
        """Look and measure once: each part, since when it is in force if signs tell, and what was measured."""
        found = [self._signs_undisturbed(part) for part in self._parts]
        flows, tail_s = flows_of(self._plan)
        paths = self._plan.judge(self._target.bare, self._flows(flows, tail_s, capture))
        told = []
        for part, (at_ns, seen) in zip(self._parts, found, strict=True):
            subject = part.aimed.subject
            by_packets = [*paths.of(subject), *signs.without_packets(part.action, paths.on(subject))]
            told.append((part, at_ns, [*seen, *self._undisturbed(by_packets)]))
        return told

    def _signs_undisturbed(self, part: Part) -> tuple[int | None, tuple[Measurement, ...]]:
        at_ns, seen = self._signs_now(part)
        return at_ns, seen if part.death is not None else self._undisturbed(seen)  # a death was seen before any heal

    def _undisturbed(self, seen: Sequence[Measurement]) -> tuple[Measurement, ...]:
        """Of what was measured up to now: once a heal has begun, a mismatch may be the heal's own work."""
        return fidelity.doubted(seen, "it was healed meanwhile") if self._healing.is_set() else tuple(seen)

    def _watch(self) -> None:
        flows, tail_s = watch_flows(self._plan)
        for flow in self._flows(flows, tail_s).values():
            self._rounds.setdefault(flow.path, deque(maxlen=WATCH_ROUNDS)).append(flow)
        if self._healing.is_set():
            return
        got = {(r[0].source, r[0].sink): fidelity.together(r) for r in self._rounds.values()}
        paths = self._plan.judge(self._target.bare, got, watch=True)
        for part in self._parts:
            _, found = self._signs_now(_watched(part), patience_s=0.0)
            mine = fidelity.undoubted([*found, *paths.of(part.aimed.subject)])
            if self._healing.is_set():
                return
            proof = fidelity.proof(mine)
            self._say(part, "watch", mine, proof, _sentence(proof, mine))

    def _flows(self, flows: Sequence[Mapping[str, Any]], tail_s: float, capture: Path | None = None) -> dict[Any, Flow]:
        if not flows:
            return {}
        more = {"capture": str(capture)} if capture else {}
        seconds = max(flow["packets"] / flow["per_s"] for flow in flows) + tail_s
        answer = self._target.client.ask("measure", seconds + REPLY_S, flows=list(flows), tail_s=tail_s, **more)
        return read_flows(answer)

    def _signs_now(self, part: Part, patience_s: float = SETTLE_S) -> tuple[int | None, tuple[Measurement, ...]]:
        """Look twice, and go on looking until the signs are as asked or patience ends."""
        until = time.monotonic() + patience_s
        while True:
            first: Mapping[str, Any] = self._look(part)
            self._healing.wait(_apart_s(part.action))
            second: Mapping[str, Any] = self._look(part)
            ports = self._ports(part)
            if part.death is not None and self._may_be_back():
                first, second, ports = part.death, part.death, []
            found = signs.in_force(part.action, part.undo, first, second, ports)
            if fidelity.proof(found) is Proof.CONFIRMED or time.monotonic() > until or self._healing.is_set():
                return signs.ended_ns(second), found
            self._healing.wait(0.1)

    def _may_be_back(self) -> bool:
        """Whether what was killed may run again by now: that it ended was seen before."""
        return self._healing.is_set() or not self._target.holds_down

    def _look(self, part: Part) -> dict[str, Any]:
        return self._target.client.ask("observe", REPLY_S, kind=part.kind, undo=part.undo)

    def _ports(self, part: Part) -> list[Mapping[str, Any]]:
        ports = list(part.undo.get("ports", ()))[:2]
        source = self._target.neighbour(part.aimed.subject)
        if not ports or source is None or isinstance(part.aimed.action, Power):
            return []
        sink = part.aimed.subject
        answer = self._target.client.ask("ports", REPLY_S, source=source, sink=sink, ports=ports)
        return list(answer["ports"])

    # ------------------------------------------------------------ bad news

    def undone(self, event: Mapping[str, Any]) -> None:
        """Say that the agent undid an action by itself."""
        for part in self._parts:
            if part.name == event["name"] and not self._healing.is_set():
                why = f"the agent undid it by itself: {event['why']}"
                self._say(part, "watch", (fidelity.check("in force", holds=False, why=why),), Proof.MISMATCH, why)

    def alarm(self, why: str) -> None:
        """Say that what holds the fault, or measures it, is gone."""
        if self._healing.is_set():
            return
        for part in self._parts:
            self._say(part, "watch", (fidelity.check("in force", holds=False, why=why),), Proof.MISMATCH, why)

    # ------------------------------------------------------------ healed

    def heal(self) -> Future[Evidence]:
        """Undo it; returns at once, always the same future. It raises DirtyError if the effect stays."""
        with self._lock:
            if self._healed is None:
                self._healed = Future()
                self._healing.set()
                threading.Thread(target=self._heal, args=(self._healed,), name=f"heal-{self.name}").start()
            return self._healed

    def _heal(self, future: Future[Evidence]) -> None:
        try:
            self._look_again()
            future.set_result(self._healed_by_a_living_agent())
        except Exception as error:  # noqa: BLE001 - the future carries it: a heal that failed makes the target dirty
            future.set_exception(error if isinstance(error, DirtyError) else DirtyError(f"{self.name}: {error}"))
        finally:
            self._target.leave(self)

    def _healed_by_a_living_agent(self) -> Evidence:
        """Undo and prove; of an agent that dies meanwhile, in replaying the journal too, the next one does it."""
        for _ in range(ATTEMPTS - 1):
            try:
                return self._undo_and_prove()
            except (AgentError, TargetError):
                if self._target.client.alive:
                    raise
        return self._undo_and_prove()

    def _look_again(self) -> None:
        """Look before the undo: a fault that ended by itself since the last look was not in force to its end."""
        for part in self._parts:
            if part.death is not None and not self._target.holds_down:
                continue
            try:
                look = self._look(_watched(part))
                other = self._look(_watched(part)) if isinstance(part.action, DiskFault) else look  # trials count once
            except AgentError:  # a dead agent is undone by its successor, and has been told of if it died before
                return
            found = signs.in_force(part.action, part.undo, look, other, ())
            if (proof := fidelity.proof(found)) is Proof.MISMATCH:
                self._say(part, "watch", found, proof, _sentence(proof, found))

    def _undo_and_prove(self) -> Evidence:
        self._target.revive_agent()
        undone_ns = self._undo()
        self._watched.wait(REPLY_S)
        return self._prove_gone(undone_ns)

    def _undo(self) -> int:
        asked = [self._target.client.send("heal", name=part.name) for part in self._parts]
        return max(int(self._target.client.wait("heal", one, REPLY_S)["undone_ns"]) for one in asked)

    def _prove_gone(self, undone_ns: int) -> Evidence:
        killed = any(part.death is not None for part in self._parts)
        gone_s = self._target.back_s if killed else self._target.gone_s
        until = time.monotonic() + gone_s
        while True:
            began_ns = time.monotonic_ns()
            found = self._gone_now()
            if all(fidelity.proof(mine) is Proof.CONFIRMED for _, mine in found) or time.monotonic() > until:
                break
            undone_ns = began_ns  # it was not gone then: it is gone since a later moment
            time.sleep(0.2)
        told = [self._say_healed(part, seen, mine, undone_ns) for (part, seen), mine in found]
        worst = min(told, key=lambda one: _WORST_FIRST.index(one.proof))
        if worst.proof is Proof.MISMATCH:
            late = f"still there {gone_s:.0f} s after its undo"
            raise DirtyError(f"{worst.subject}: {worst.action}: {late}: {worst.detail}")
        return replace(worst, subject=", ".join(one.subject for one in told))

    def _gone_now(self) -> list[tuple[tuple[Part, Mapping[str, Any]], list[Measurement]]]:
        plan = self._plan.without(self._target.absent())
        flows, tail_s = flows_of(plan, healed=True)
        paths = plan.judge_gone(self._target.bare, self._flows(flows, tail_s))
        restored = self._target.restored(self)
        found: list[tuple[tuple[Part, Mapping[str, Any]], list[Measurement]]] = []
        for part in self._parts:
            seen = self._look(part)
            mine = [*signs.gone(part.action, part.undo, seen), *paths.of(part.aimed.subject), *restored]
            found.append(((part, seen), mine))
        return found

    def _say_healed(self, part: Part, seen: Mapping[str, Any], mine: Sequence[Measurement], undone_ns: int) -> Evidence:
        proof = fidelity.proof(mine)
        effective_ns, detail = undone_ns, _sentence(proof, mine)
        action = part.aimed.action
        if isinstance(action, Power) or (isinstance(action, Signal) and action.signal == "KILL"):
            effective_ns = signs.started_ns(part.undo, seen) or undone_ns
            detail += f"; down for {(effective_ns - part.applied_ns) / NS:.3f} s"
        return self._say(part, "heal", mine, proof, detail, effective_ns)

    def _say(
        self,
        part: Part,
        phase: str,
        measurements: Sequence[Measurement],
        proof: Proof,
        detail: str,
        effective_ns: int | None = None,
        files: tuple[str, ...] = (),
    ) -> Evidence:
        evidence = Evidence(
            at_ns=time.monotonic_ns(),
            phase=phase,
            subject=part.aimed.subject,
            action=part.kind,
            proof=proof,
            detail=detail,
            measurements=tuple(measurements),
            effective_ns=effective_ns,
            files=files,
        )
        self.events.put(evidence)
        return evidence


def _watched(part: Part) -> Part:
    """Return a part as the watch looks at it: a disk is tried a few times only."""
    if not isinstance(part.action, DiskFault):
        return part
    return replace(part, undo={**part.undo, "trials": min(WATCH_TRIALS, part.action.trials)})


def _apart_s(action: NodeAction) -> float:
    """Return how far apart two looks are that tell what was used in between."""
    if isinstance(action, CpuQuota | ClockSkew):
        return CPU_S if isinstance(action, CpuQuota) else CLOCK_S
    return LOOK_APART_S if isinstance(action, Signal | Freeze) else 0.0


def _sentence(proof: Proof, measurements: Sequence[Measurement]) -> str:
    """Say what was found: the first measurement that stands in the way, or how many agree."""
    for one in measurements:
        if one.proof is proof and proof is not Proof.CONFIRMED:
            got = "nothing" if one.got is None else f"{one.got:.4g}{one.unit}"
            return f"{one.name} ({one.path}): asked {one.asked:.4g}{one.unit}, got {got}; {one.why}"
    return f"{len(measurements)} measurements as they should be" if measurements else "nothing could be measured"
