"""Who is hit: candidates by role, then a seeded choice; or the victims of a recorded run, for a replay."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from chaos.errors import HarnessError
from chaos.plan import chance, choose
from chaos.ports import FindsRole

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from chaos.model import Event, Node, Selector, Step
    from chaos.ports import Stack


@dataclass(frozen=True, slots=True, kw_only=True)
class Aim:
    """Chooses victims by `seed`; `recorded` (step, occurrence) → names repeats a run's own choices."""

    seed: int
    recorded: Mapping[tuple[str, int], tuple[str, ...]] = field(default_factory=dict)

    def choose(self, step: Step, occurrence: int, candidates: Sequence[Node]) -> Sequence[Node]:
        """Return the victims; empty if there is no candidate. HarnessError if a recorded victim is no candidate."""
        names = self.recorded.get((step.name, occurrence))
        if names is None:
            return choose(step.on, candidates, chance(self.seed, step.name, occurrence))
        by_name = {node.name: node for node in candidates}
        if missing := [name for name in names if name not in by_name]:
            raise HarnessError(f"{', '.join(missing)}: recorded victim of {step.name}, but not {step.on.role} now")
        return [by_name[name] for name in names]

    def first_holders(self, steps: Sequence[Step]) -> Mapping[str, tuple[str, ...]]:
        """Return role → who held it when it was first hit in the recorded run; empty for a run that is no replay."""
        hit = [step for step in sorted(steps, key=lambda step: step.at_s) if (step.name, 0) in self.recorded]
        return {step.on.role: self.recorded[step.name, 0] for step in reversed(hit) if not step.on.argument}

    def find(self, stack: Stack, selector: Selector, timeout_s: float) -> Sequence[Node]:
        """Ask the stack who holds a role now; empty if nobody does or it can't tell."""
        if not isinstance(stack, FindsRole):
            return ()
        return stack.find(selector.role, selector.argument, timeout_s)


def recorded_victims(events: Sequence[Event]) -> Mapping[tuple[str, int], tuple[str, ...]]:
    """Return the victims that a run's INJECT events name."""
    return {
        (event.step, event.occurrence): tuple(event.data["victims"])
        for event in events
        if event.kind == "inject" and "victims" in event.data
    }
