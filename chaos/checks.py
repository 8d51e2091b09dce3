"""What is wrong with an experiment although each of its parts could be read.

Each check is a generator of (where in the file, what is wrong; what would do). They look at whatever could be read,
so that a mistake in one step doesn't hide one in the next.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from chaos.model import Node, Span, StackAction, Topology
from chaos.occurrences import OCCURRENCES_MAX, Occurrence, is_momentary, occurrences, starts
from chaos.positions import Page, entries, locate, suggestion
from chaos.units import format_duration

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import yaml

    from chaos.model import Load, NamedGate, Step

Where = tuple[str | int, ...]
Problem = tuple[Where, str]

SINGULAR = frozenset({"leader", "controller", "owner-of"})  # roles that one node at a time can hold


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """What could be read of an experiment; None where something couldn't."""

    warm_up_s: float | None
    duration_s: float | None
    load: Load | None
    steps: Sequence[Step | None]
    gates: Sequence[NamedGate | None]
    operations: Sequence[str] | None = None  # that the stack has; None: it doesn't say


def check(draft: Draft, root: yaml.MappingNode, page: Page) -> None:
    """Note every problem on the page, at its place."""
    for where, message in _problems(draft, root):
        page.problem(locate(root, where, key=bool(where) and where[-1] in ("for", "every", "until")), message)


def _problems(draft: Draft, root: yaml.MappingNode) -> Iterator[Problem]:
    there = [(place, step) for place, step in enumerate(draft.steps) if step is not None]
    for place, step in there:
        for key, message in itertools.chain(
            _repeats(step), _times(step, draft.duration_s), _aim(step), _shortness(step)
        ):
            yield ("steps", place, *key.split("/")), message
        for message in _operations(step, draft.operations):
            yield ("steps", place, "fault"), message
    yield from _doubles("steps", [(place, step.name) for place, step in there])
    yield from _contradictions([pair for pair in there if starts(pair[1]) <= OCCURRENCES_MAX])
    yield from _no_gates(draft, root)
    gates = [(place, gate) for place, gate in enumerate(draft.gates) if gate is not None]
    yield from _doubles("gates", [(place, gate.name) for place, gate in gates])
    for place, gate in gates:
        for message in _window(gate, draft):
            yield ("gates", place, *_path_of(gate)), message
    yield from _short_load(draft)


# ---------------------------------------------------------------- one step


def _repeats(step: Step) -> Iterator[tuple[str, str]]:
    if step.every_s is not None and step.until_s is None:
        yield "every", "repeats without an end; add until: …"
    if step.until_s is not None and step.every_s is None:
        yield "until", "the end of repeats that don't begin; add every: …, or leave it out"
    if step.every_s is not None and step.until_s is not None:
        if step.until_s <= step.at_s:
            yield "until", f"ends before the first one begins at {_text(step.at_s)}; write a later time"
        if step.every_s < step.for_s:
            yield (
                "every",
                f"the next begins before this one's {_text(step.for_s)} are over; write every: {_text(step.for_s)}",
            )
        if starts(step) > OCCURRENCES_MAX:
            yield "every", f"that is {starts(step)} times, and at most {OCCURRENCES_MAX} are planned; repeat less often"


def _times(step: Step, duration_s: float | None) -> Iterator[tuple[str, str]]:
    if duration_s is None:
        return
    if step.at_s >= duration_s:
        yield "at", f"{_text(step.at_s)} is not before the end at {_text(duration_s)}; fire earlier or raise duration"
        return
    count = min(starts(step), OCCURRENCES_MAX)
    end_s = round(step.at_s + (count - 1) * (step.every_s or 0.0) + step.for_s, 9)
    if end_s > duration_s:
        key = "until" if step.every_s else "for"
        yield key, f"lasts until {_text(end_s)}, and the run ends at {_text(duration_s)}; end earlier or raise duration"


def _aim(step: Step) -> Iterator[tuple[str, str]]:
    if step.on.role in SINGULAR and (step.on.share is not None or (step.on.count or 1) > 1):
        yield "on", f"there is one {step.on.role} at a time; leave out count and share"


def _shortness(step: Step) -> Iterator[tuple[str, str]]:
    """Yield a problem for a fault that ends before its effect could be measured."""
    from chaos.tolerances import shortest_s  # noqa: PLC0415 it brings scipy, which most commands do without

    if is_momentary(step.fault) or not step.for_s:
        return
    try:
        aimed = step.fault.aim(*_stand_ins(step))
    except ValueError:  # names nodes that only the real topology has; the plan asks again
        return
    needs_s = max((shortest_s(a.action) for a in aimed if not isinstance(a.action, StackAction)), default=0.0)
    if step.for_s < needs_s:
        enough = _text(math.ceil(needs_s * 10) / 10)
        key = "fault/kill/down-for" if getattr(step.fault, "down_for_s", None) is not None else "for"
        yield key, f"{_text(step.for_s)} is too short to measure that it really happened; write {enough} or more"


def _operations(step: Step, there: Sequence[str] | None) -> Iterator[str]:
    """Yield a problem for an operation that the stack hasn't."""
    if there is None or not is_momentary(step.fault):
        return
    for aimed in step.fault.aim(*_stand_ins(step)):
        if isinstance(aimed.action, StackAction) and aimed.action.operation not in there:
            name = aimed.action.operation
            yield f"the stack has no operation '{name}'; {suggestion(name, there)}"


def _stand_ins(step: Step) -> tuple[tuple[Node, ...], Topology]:
    """Return a victim and its peers before there is a topology: what an action needs doesn't depend on who they are."""
    nodes = tuple(Node(name=f"{step.on.role}-{n}", role=step.on.role, address="") for n in range(3))
    return nodes[:1], Topology(nodes=nodes)


# ---------------------------------------------------------------- steps together


def _doubles(part: str, names: Iterable[tuple[int, str]]) -> Iterator[Problem]:
    seen: set[str] = set()
    for place, name in names:
        if name in seen:
            key: Where = ("name",) if part == "steps" else ()
            yield (part, place, *key), f"the name '{name}' was given before; give each of the {part} its own name"
        seen.add(name)


def _contradictions(there: Sequence[tuple[int, Step]]) -> Iterator[Problem]:
    for (_, one), (place, other) in itertools.combinations(there, 2):
        both = _touched(one) & _touched(other)
        if one.on == other.on and both and (met := _meeting(one, other)) is not None:
            what = " and ".join(sorted(both))
            message = (
                f"contradicts '{one.name}': at {_text(met)} both are in force on {one.on.role} and touch the same"
                f" {what}; fire it later, or aim it elsewhere"
            )
            yield ("steps", place, "at"), message


def _touched(step: Step) -> frozenset[str]:
    return getattr(step.fault, "touches", frozenset())


def _meeting(one: Step, other: Step) -> float | None:
    """Return the first instant at which both steps are in force, walking through both in order of time."""
    ones, others = list(occurrences(one)), list(occurrences(other))
    while ones and others:
        a, b = ones[0], others[0]
        if _meet(a, b):
            return max(a.start_s, b.start_s)
        (ones if a.end_s <= b.end_s else others).pop(0)
    return None


def _meet(a: Occurrence, b: Occurrence) -> bool:
    return a.start_s == b.start_s or (a.start_s < b.end_s and b.start_s < a.end_s)


# ---------------------------------------------------------------- gates and load


def _no_gates(draft: Draft, root: yaml.MappingNode) -> Iterator[Problem]:
    if not draft.gates and ("gates" not in entries(root) or not entries(root)["gates"][1].value):
        yield ("gates",), "no gates, so nothing would be judged; add e.g. gates: [linearizable]"


def _path_of(gate: NamedGate) -> Where:
    return (gate.name, "during") if gate.kind in ("", gate.name) else (gate.name, gate.kind, "during")


def _window(gate: NamedGate, draft: Draft) -> Iterator[str]:
    """Yield a problem for a gate whose window will be empty."""
    during = getattr(gate.gate, "during", None)
    if during in (Span.FAULT, Span.RECOVERY) and not draft.steps:
        yield f"'{gate.name}' looks at the {during} window, and nothing breaks here; write during: run, or add steps"
    steady = during is Span.STEADY or getattr(gate.gate, "floor_share", None) is not None
    if steady and any(step is not None and step.at_s == 0 for step in draft.steps):
        yield f"'{gate.name}' needs a steady window, and a step fires at 0s; let the first step fire later"


def _short_load(draft: Draft) -> Iterator[Problem]:
    """Yield a problem for a shape that ends before the run does."""
    if draft.load is None or draft.duration_s is None or draft.warm_up_s is None:
        return
    last = draft.load.stages[-1]
    lasting_s = draft.warm_up_s + draft.duration_s
    if last.hold_s is not None and last.hold_s < lasting_s:
        message = (
            f"the last stage holds for {_text(last.hold_s)}, and warm-up and duration are {_text(lasting_s)};"
            f" leave out its hold, then it holds to the end"
        )
        yield ("load", "shape"), message


def _text(seconds: float) -> str:
    return format_duration(round(seconds, 9))
