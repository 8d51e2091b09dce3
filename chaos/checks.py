"""What is wrong with an experiment although each of its parts could be read.

Each check is a generator of (where in the file, what is wrong; what would do). They look at whatever could be read,
so that a mistake in one step doesn't hide one in the next.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import yaml

from chaos.fits import operations, stand_ins, unmade_topics
from chaos.guess import nearest, suggestion
from chaos.model import Load, Span, StackAction
from chaos.occurrences import OCCURRENCES_MAX, Occurrence, is_momentary, lulls, occurrences, starts
from chaos.positions import Page, entries, locate
from chaos.shapes import lasts_s, peak_at_s, peak_lasts_s
from chaos.tolerances import shortest_s
from chaos.units import counted, format_duration

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from chaos.model import NamedGate, Step

Where = tuple[str | int, ...]
Problem = tuple[Where, str]

# Roles that one node at a time can hold.
SINGULAR = frozenset({"leader", "etcd-leader", "controller", "owner-of", "leader-of"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """What could be read of an experiment; None where something couldn't. `promised` are the gates of its slo."""

    warm_up_s: float | None
    duration_s: float | None
    load: Load | None
    steps: Sequence[Step | None]
    gates: Sequence[NamedGate | None]
    promised: Sequence[tuple[Where, NamedGate]] = ()
    beside: Load | None = None  # a second load
    serves: Sequence[str] = ()  # workloads that the stack has servers for; none: it doesn't say
    keys: Sequence[str] = ()  # that a file may have
    operations: Sequence[str] | None = None  # that the stack has; None: it doesn't say
    operations_on: Mapping[str, Sequence[str]] = field(default_factory=dict)  # role → those that its holders know
    refuses: Callable[[StackAction], str] | None = None  # why the stack can't do it as it is set
    of_one: Sequence[str] = ()  # operations of which there is one to do, however many are aimed at
    topics: Mapping[str, int] | None = None  # that there will be, and their partitions; None: the stack doesn't say
    processes: Sequence[str] = ()  # that a fault can be aimed at; none: the stack doesn't say
    paced: bool = False  # the workload's users never wait for answers: no closed loop
    lags: bool = False  # the stack tells how far a job is behind, by which a rate for such a workload can be found

    @property
    def judged(self) -> Sequence[tuple[Where, NamedGate]]:
        """Each gate, with the place in the file of what decides on its window."""
        listed = [(("gates", place, *_path_of(gate)), gate) for place, gate in enumerate(self.gates) if gate]
        return [*listed, *self.promised]


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
        for message in operations(step, draft):
            yield ("steps", place, "fault"), message
        for message in _process(step, draft.processes):
            yield ("steps", place, "fault", *_first_key(root, ("steps", place, "fault")), "process"), message
    yield from _doubles("steps", [(place, step.name) for place, step in there])
    yield from _contradictions([pair for pair in there if starts(pair[1]) <= OCCURRENCES_MAX])
    yield from _no_gates(draft, root)
    yield from _repeated_values(root)
    gates = [(place, gate) for place, gate in enumerate(draft.gates) if gate is not None]
    yield from _doubles("gates", [(place, gate.name) for place, gate in gates])
    for where, gate in draft.judged:
        for message in _window(gate, draft):
            yield where, message
    for key, load in (("load", draft.load), ("beside", draft.beside)):
        if load is not None:
            problems = itertools.chain(_too_few_users(load), _unserved(load, draft))
            yield from (((key, *where), message) for where, message in problems)
    yield from _short_load(draft)
    yield from _unpaced(draft)
    yield from _beside(draft)
    yield from _of_no_load(draft)
    yield from _unread_topics(draft)
    yield from unmade_topics(draft)


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
            yield (
                "every",
                f"that is {starts(step):,} times, and at most {OCCURRENCES_MAX:,} are planned; repeat less often",
            )


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
    if is_momentary(step.fault) or not step.for_s:
        return
    try:
        aimed = step.fault.aim(*stand_ins(step))
    except ValueError:  # names nodes that only the real topology has; the plan asks again
        return
    needs_s = max((shortest_s(a.action) for a in aimed if not isinstance(a.action, StackAction)), default=0.0)
    if step.for_s < needs_s:
        enough = _text(math.ceil(needs_s * 10) / 10)
        key = "fault/kill/down-for" if getattr(step.fault, "down_for_s", None) is not None else "for"
        yield key, f"{_text(step.for_s)} is too short to measure that it really happened; write {enough} or more"


def _process(step: Step, there: Sequence[str]) -> Iterator[str]:
    """Yield a problem for a fault on a process that the stack hasn't."""
    name = getattr(step.fault, "process", "")
    if name and there and name not in there:
        yield f"the stack has no process '{name}'; {suggestion(name, there)}"


def _first_key(root: yaml.MappingNode, where: Where) -> Where:
    """Return the one key of a mapping, which is a fault's name."""
    node = locate(root, where)
    return tuple(entries(node))[:1] if isinstance(node, yaml.MappingNode) else ()


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


def _repeated_values(root: yaml.MappingNode) -> Iterator[Problem]:
    """Yield a problem for a value that a matrix has twice: two runs would have one name."""
    matrix = entries(root)["matrix"][1] if "matrix" in entries(root) else None
    for axis, (_, values) in entries(matrix).items() if isinstance(matrix, yaml.MappingNode) else ():
        seen: set[str] = set()
        for place, node in enumerate(values.value if isinstance(values, yaml.SequenceNode) else ()):
            value = str(node.value)
            if (meant := value.lstrip("0") if axis == "seed" else value) in seen:
                yield ("matrix", axis, place), f"{axis} {value} was listed before; list it once, or run with --repeat"
            seen.add(meant)


# ---------------------------------------------------------------- gates and load


def _no_gates(draft: Draft, root: yaml.MappingNode) -> Iterator[Problem]:
    there = entries(root)
    misspelt = any(key not in draft.keys and nearest(key, draft.keys) == "gates" for key in there)
    if draft.gates or "slo" in there or misspelt:  # a wrong slo has been told of
        return
    if "gates" not in there or not there["gates"][1].value:
        yield ("gates",), "no gates, so nothing would be judged; add e.g. gates: [linearizable]"


def _path_of(gate: NamedGate) -> Where:
    return (gate.name, "during") if gate.kind in ("", gate.name) else (gate.name, gate.kind, "during")


def _window(gate: NamedGate, draft: Draft) -> Iterator[str]:
    """Yield a problem for a gate whose windows can't be had."""
    during = getattr(gate.gate, "during", None)
    needs: Mapping[Span, float] = {**({during: 0.0} if during else {}), **getattr(gate.gate, "needs", {})}
    steps = [step for step in draft.steps if step is not None]
    if not draft.steps and during in (Span.FAULT, Span.RECOVERY):
        yield f"'{gate.name}' looks at the {during} window, and nothing breaks here; write during: run, or add steps"
    elif not draft.steps and not needs.keys().isdisjoint((Span.FAULT, Span.RECOVERY)):
        yield f"'{gate.name}' looks at what follows a fault, and nothing breaks here; add steps, or leave it out"
    if steps and Span.STEADY in needs:
        yield from _steady(gate.name, min(step.at_s for step in steps), needs[Span.STEADY])
    if Span.RECOVERY in needs and draft.duration_s is not None and len(steps) == len(draft.steps):
        yield from _recovery(gate.name, steps, draft.duration_s, needs[Span.RECOVERY])


def _steady(name: str, first_s: float, needed_s: float) -> Iterator[str]:
    if first_s <= 0 or first_s < needed_s:
        enough = f" of {_text(needed_s)}" if needed_s else ""
        yield f"'{name}' needs a steady window{enough}, and a step fires at {_text(first_s)}; let it fire later"


def _recovery(name: str, steps: Sequence[Step], duration_s: float, needed_s: float) -> Iterator[str]:
    """Yield a problem for the first fault after which there is too little traffic; for none, if any other will do."""
    if any(starts(step) > OCCURRENCES_MAX for step in steps):  # told of by itself, as is one that ends too late
        return
    found = [(one, at_s, at_s - since_s) for one, since_s, at_s in lulls(steps, duration_s) if since_s <= duration_s]
    short = [(one, at_s, left_s) for one, at_s, left_s in found if left_s <= 0 or left_s < needed_s]
    if short and (needed_s or len(short) == len(found)):
        one, at_s, left_s = short[0]
        enough = f"{_text(needed_s)} of " if needed_s else ""
        what = "the run does" if at_s >= duration_s else "the next fault begins"
        yield (
            f"'{name}' needs {enough}traffic after each fault, and '{one.step.name}' ends at {_text(one.end_s)},"
            f" {_text(left_s)} before {what}; end it earlier, repeat it less often, or raise duration"
        )


def _short_load(draft: Draft) -> Iterator[Problem]:
    """Yield a problem for a shape that ends before the run does, or whose peak does before t = 0."""
    if draft.load is None or draft.duration_s is None or draft.warm_up_s is None:
        return
    stages, lasting_s = draft.load.stages, draft.warm_up_s + draft.duration_s
    if peak_lasts_s(stages) < draft.warm_up_s:
        message = (
            f"its peak is held for {_text(peak_lasts_s(stages))}, and t = 0 comes after a warm-up of"
            f" {_text(draft.warm_up_s)} at the peak; hold it for longer"
        )
        yield ("load", "shape"), message
    elif (left_s := lasts_s(stages) - peak_at_s(stages)) < lasting_s:
        message = (
            f"it ends {_text(left_s)} after its peak is reached, and warm-up and duration are {_text(lasting_s)};"
            f" leave out its hold, then it holds to the end"
        )
        yield ("load", "shape"), message


def _too_few_users(load: Load) -> Iterator[Problem]:
    """Yield a problem for generator processes without a user."""
    if load.processes > load.users:
        sharing = f"{load.processes} processes share {counted(load.users, 'user')}, and each needs one"
        yield ("processes",), f"{sharing}; write {load.users} or less, or raise users"


def _unserved(load: Load, draft: Draft) -> Iterator[Problem]:
    """Yield a problem for a load that nothing in the stack would answer."""
    if draft.serves and load.workload not in draft.serves:
        yield (load.workload,), f"nothing in this stack answers {load.workload}; it serves {' and '.join(draft.serves)}"


def _beside(draft: Draft) -> Iterator[Problem]:
    """Yield a problem for a second load that nobody judges, or tells from the first; and for rates not known before."""
    load, beside = draft.load, draft.beside
    if beside is None:
        return
    if not draft.serves:
        yield ("beside",), "the servers of this stack take one load; streaming with an etcd takes two"
    if not any(gate.of == beside.workload for _, gate in draft.judged):
        yield ("beside",), f"no gate judges what it sees; write e.g. errors: {{of: {beside.workload}, limit: 1%}}"
    if load is not None and beside.workload == load.workload:
        why = f"load has {load.workload} already, and the two could not be told apart; raise its rate instead"
        yield ("beside", beside.workload), why
    if beside.rate_per_s is None:
        yield ("beside", "rate"), "a second load goes at a stated rate; write e.g. rate: 200/s"
    if load is not None and load.rate_per_s is None:
        why = (
            "with a load beside it, it goes at a stated rate: what a calibration finds would be found without the other"
        )
        yield ("load", "rate"), f"{why}; write e.g. rate: 200/s"
    if beside.stages != Load(workload=beside.workload).stages:
        yield ("beside", "shape"), "a second load is at its peak all the time; leave its shape out"


def _unread_topics(draft: Draft) -> Iterator[Problem]:
    """Yield a problem for a gate that judges topics which no load reads back after the run."""
    loads = [load for load in (draft.load, draft.beside) if load is not None and "read" in load.settings]
    read = {topic for load in loads for topic in (load.settings.get("topic"), *load.settings["read"])}
    for where, gate in draft.judged if loads else ():
        if missing := [topic for topic in getattr(gate.gate, "topics", ()) if topic not in read]:
            names = ", ".join(missing)
            yield where, f"{gate.name} judges {names}, which nobody reads back; write read: [{names}, …] in the load"


def _of_no_load(draft: Draft) -> Iterator[Problem]:
    """Yield a problem for a gate that judges a load which there is not."""
    there = [load.workload for load in (draft.load, draft.beside) if load is not None]
    for where, gate in draft.judged:
        if gate.of and draft.load is not None and gate.of not in there:
            yield where, f"of: no load here is of {gate.of}; there is {' and '.join(there)}"


def _unpaced(draft: Draft) -> Iterator[Problem]:
    """Yield a problem for a workload that waits for nobody, at a rate that nothing here would tell."""
    load = draft.load
    if load is None or not draft.paced or load.rate_per_s is not None:
        return
    if load.closed_loop or not draft.lags:
        yield ("load", "rate"), f"{load.workload} go at a stated rate; write e.g. rate: 2000/s"


def _text(seconds: float) -> str:
    return format_duration(round(seconds, 9))
