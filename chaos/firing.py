"""A step fires: who holds the role, who of them is hit, what is done to them. Runs in an injector's thread.

tick ─▶ candidates ─▶ seeded choice ─▶ aimed actions ─▶ said ─▶ done by the target, or by the stack itself
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from chaos.agent.points import announce
from chaos.clock import ns
from chaos.errors import HarnessError
from chaos.inforce import InForce
from chaos.model import Aimed, EventKind, Evidence, Proof, Selector, StackAction, to_json
from chaos.ports import Backends

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from concurrent.futures import ThreadPoolExecutor

    from chaos.aiming import Aim
    from chaos.lookers import Lookers
    from chaos.model import Node, Step
    from chaos.plan import Tick
    from chaos.stage import Stage

FIND_TIMEOUT_S = 2.0


class Say(Protocol):
    """Records an event."""

    def __call__(
        self,
        kind: EventKind,
        detail: str = "",
        *,
        step: str = "",
        occurrence: int = 0,
        node: str = "",
        data: Mapping[str, object] | None = None,
    ) -> None:
        """Record it, now."""
        ...


@dataclass(slots=True, kw_only=True)
class Firing:
    """How the steps of one run are fired. `t0_ns` is set when the load has begun."""

    stage: Stage
    steps: Mapping[str, Step]
    aim: Aim
    lookers: Lookers
    workers: ThreadPoolExecutor
    say: Say
    t0_ns: int = 0
    closing: threading.Event = field(default_factory=threading.Event)  # set: from now on nothing more is injected
    aimed_at: dict[tuple[str, int], str] = field(default_factory=dict)  # subjects of what was asked of the target

    def inject(self, tick: Tick) -> InForce:
        """Pick the victims and do it. Runs in an injector thread."""
        step = self.steps[tick.step]
        began_ns = self.stage.clock.now_ns()
        candidates = self._candidates(step.on)
        victims = self.aim.choose(step, tick.occurrence, candidates)
        if not victims:
            raise HarnessError(f"nobody is {step.on.role} now; nothing was injected")
        aimed = tuple(step.fault.aim(victims, self.stage.target.topology()))
        operations = [a for a in aimed if isinstance(a.action, StackAction)]
        if operations and len(operations) < len(aimed):
            raise HarnessError("a fault is either operations of the stack or changes to nodes; split it into two steps")
        if self.closing.is_set():
            raise HarnessError("the run ended before it could begin")
        found = not self._is_static(step.on)
        seen = self.lookers.look_again(step.on.role, step.on.argument) if found else {}
        self._say_injected(tick, step, victims, candidates, aimed, began_ns, seen)
        announce("step.inject")
        if operations:
            running = self.workers.submit(self._operate, tick, operations)
            return InForce.operation(tick.step, tick.occurrence, running)
        injection = self.stage.target.inject(aimed, deadline_s=tick.deadline_s)
        return InForce.injection(tick.step, tick.occurrence, injection)

    def _candidates(self, selector: Selector) -> Sequence[Node]:
        if self._is_static(selector):
            return self.stage.target.topology().with_role(selector.role)
        return self.aim.find(self.stage.stack, selector, FIND_TIMEOUT_S)

    def _is_static(self, selector: Selector) -> bool:
        return bool(self.stage.target.topology().with_role(selector.role))

    def _backend(self, aimed: Aimed) -> str:
        target = self.stage.target
        if isinstance(aimed.action, StackAction) or not isinstance(target, Backends):
            return ""
        return target.backend(aimed.action)

    def _operate(self, tick: Tick, operations: Sequence[Aimed]) -> Evidence:
        said = []
        for aimed in operations:
            assert isinstance(aimed.action, StackAction)
            name = aimed.action.operation
            if self.closing.is_set():  # an abort never injects more
                raise HarnessError(f"the run ended before {name} of {aimed.subject}")
            announce(f"operate.{name}")
            self.say(  # whose process may end from now on, for the judge
                EventKind.NOTE,
                f"{name} of {aimed.subject} begins",
                step=tick.step,
                occurrence=tick.occurrence,
                node=aimed.subject,
                data={"operation": name},
            )
            said.append(self.stage.stack.operate(aimed.action, aimed.subject, tick.deadline_s))
        now = self.stage.clock.now_ns()
        return Evidence(
            at_ns=now,
            phase="confirm",
            subject=operations[0].subject,
            action="stack",
            proof=Proof.CONFIRMED,
            detail="; ".join(said),
            effective_ns=now,
        )

    def _say_injected(
        self,
        tick: Tick,
        step: Step,
        victims: Sequence[Node],
        candidates: Sequence[Node],
        aimed: Sequence[Aimed],
        began_ns: int,
        seen: Mapping[str, float | None],
    ) -> None:
        names = [v.name for v in victims]
        data = {
            "role": step.on.role,
            "role_found": not self._is_static(step.on),  # just now, so that somebody must be seen to hold it
            "role_seen": dict(seen),  # what each node said of the role just before, for the judge
            "victims": names,
            "candidates": [c.name for c in candidates],
            "actions": [to_json(a.action) for a in aimed],
            "backends": [self._backend(a) for a in aimed],
            "subjects": [a.subject for a in aimed],
            "planned_ns": self.t0_ns + ns(tick.at_s),
            "chosen_ns": began_ns,
            "for_s": step.for_s,
        }
        detail = f"{', '.join(dict.fromkeys(a.action.kind for a in aimed))} on {', '.join(names)}"
        self.say(EventKind.INJECT, detail, step=tick.step, occurrence=tick.occurrence, data=data)
        self.aimed_at[tick.step, tick.occurrence] = ", ".join(dict.fromkeys(a.subject for a in aimed))
