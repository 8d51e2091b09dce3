"""Experiment + topology → timeline. Pure: whoever carries it out only waits and obeys.

    steps ──▶ occurrences ──▶ ticks, in order   ──●────────●────●───▶ t
                  │                               inject   heal inject      (a heal before an inject of its instant)
                  └─▶ how many are hit at once ──▶ blast radius, quorum

Who is hit is decided when a step fires, among the nodes that hold the role then: `choose`, seeded by the experiment's
seed, the step and the occurrence, so that a run can be repeated.
"""

from __future__ import annotations

import dataclasses
import enum
import random
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from chaos.blast import Hit, checked_hits, holders, wanted
from chaos.errors import CapabilityError
from chaos.faults import FAULTS
from chaos.model import Span
from chaos.occurrences import Occurrence, is_momentary, occurrences, timeout_s
from chaos.positions import Page
from chaos.room import size
from chaos.shapes import peak_at_s
from chaos.units import SHARE, counted, format_duration, format_share, split_name
from workloads import WORKLOADS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from chaos.model import Action, Experiment, Load, NamedGate, Node, Selector, Step, Topology
    from chaos.ports import Fault

__all__ = ["Tick", "TickKind", "Timeline", "chance", "choose", "describe", "holders", "plan", "rate_per_s", "wanted"]

GRACE_S = 5.0  # a node undoes a fault by itself this long after the heal that never came
HEAL_DEADLINE_S = 30.0  # until a heal must be proved: a killed server replays its log first
DRAIN_S = 5.0  # last answers and final reads
CALIBRATION_S = 4.0
RAMP_S = 30.0  # where a rate is found by how far a job falls behind, with the time in which it catches up
SAMPLE_BYTES = 160  # of one operation in an Arrow stream: ten numbers, key and value texts, dictionary indices
EVENT_BYTES = 2_000  # of all the events of one occurrence
ALWAYS = frozenset({"percentile"})  # settings of gates without which the others say little, told if by default too
ASSUMED_PER_S = 5_000.0  # operations, where the rate is found by calibration only


class TickKind(enum.StrEnum):
    """What a tick asks for."""

    INJECT = "inject"
    HEAL = "heal"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """One thing to do, `at_s` after t = 0.

    `deadline_s`: of an inject, how long after it the node undoes it by itself (of an operation: how long it may take a
    node); of a heal, how long its proof may take.
    """

    at_s: float
    kind: TickKind
    step: str
    occurrence: int
    deadline_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """A plan: what is done when, how long it takes in all, how much it may break, how large its recording gets."""

    experiment: Experiment
    topology: Topology
    ticks: tuple[Tick, ...]
    hits: tuple[Hit, ...]
    total_s: float
    recording_bytes: int


def plan(experiment: Experiment, topology: Topology) -> Timeline:
    """Return the timeline; SpecError, with places in the file, for what this topology or the blast radius forbids."""
    page = Page(experiment.path or experiment.name, experiment.text)
    root = page.compose() if experiment.text else None
    hits = checked_hits(experiment.steps, experiment.blast_radius, topology, page, root)
    page.raise_problems()
    ticks = tuple(tick for _, tick in sorted(_ticks(experiment), key=lambda pair: pair[0]))
    total_s = _lead_in_s(experiment) + experiment.duration_s + DRAIN_S
    return Timeline(
        experiment=experiment,
        topology=topology,
        ticks=ticks,
        hits=hits,
        total_s=total_s,
        recording_bytes=round(rate_per_s(experiment) * total_s * SAMPLE_BYTES + len(ticks) * EVENT_BYTES),
    )


def rate_per_s(experiment: Experiment) -> float:
    """Return the rate that was asked for, or an assumed one where only a calibration or the stack itself says it."""
    own = experiment.load.rate_per_s or ASSUMED_PER_S * (experiment.load.calibrated_share or 2.0)
    return own + (experiment.beside.rate_per_s or 0.0 if experiment.beside else 0.0)


def _lead_in_s(experiment: Experiment) -> float:
    """Return seconds from the start of calibration or load to t = 0."""
    kind = WORKLOADS.get(experiment.load.workload)
    found_s = RAMP_S if kind is not None and kind.paced else CALIBRATION_S
    before_s = found_s if experiment.load.calibrated_share else 0.0
    return before_s + peak_at_s(experiment.load.stages) + experiment.warm_up_s


# ---------------------------------------------------------------- ticks


def _ticks(experiment: Experiment) -> Iterator[tuple[tuple[float, bool, int, int], Tick]]:
    """Yield ticks, each after the key that it is sorted by."""
    for place, step in enumerate(experiment.steps):
        momentary = is_momentary(step.fault)
        deadline_s = timeout_s(step.fault) if momentary else step.for_s + GRACE_S
        for one in occurrences(step):
            inject = Tick(
                at_s=one.start_s,
                kind=TickKind.INJECT,
                step=step.name,
                occurrence=one.number,
                deadline_s=deadline_s,
            )
            yield (one.start_s, True, place, one.number), inject
            if not momentary:
                heal = replace(inject, at_s=one.end_s, kind=TickKind.HEAL, deadline_s=HEAL_DEADLINE_S)
                yield (one.end_s, False, place, one.number), heal


# ---------------------------------------------------------------- who is hit


def chance(seed: int, step: str, occurrence: int) -> random.Random:
    """Return the random numbers of one occurrence: the same in every run with this seed, on every machine."""
    return random.Random(f"{seed}/{step}/{occurrence}")


def choose(selector: Selector, candidates: Sequence[Node], rng: random.Random) -> tuple[Node, ...]:
    """Return the victims among the nodes that hold the role now; none if there are fewer than asked for."""
    there = sorted((n for n in candidates if selector.zone in ("", n.zone)), key=lambda node: node.name)
    number = wanted(selector, len(there))
    return tuple(rng.sample(there, number)) if 0 < number <= len(there) else ()


# ---------------------------------------------------------------- the plan as text


def describe(
    timeline: Timeline,
    backend: Callable[[Action], str] | None = None,
    *,
    versions: Sequence[str] = (),
    recording: str = "",
    doubts: Sequence[str] = (),
    voters: Sequence[str] = (),
) -> str:
    """Return what would happen, for people: when, to whom, by which mechanism, how much at once, judged how.

    `backend` names the mechanism that carries out an action, as ports.Backends does; what it can't do is said there.
    `versions`, `recording` and `doubts` say more than can be known here: where programs come from, if a disk has room,
    and why the run may end without an answer. `voters` are the roles of which a majority must be left.
    """
    experiment = timeline.experiment
    head = [experiment.name + (f"  ({experiment.path})" if experiment.path else ""), *_about(experiment.about)]
    parts: Mapping[str, list[str]] = {
        "": _setting(timeline, versions, recording),
        "timeline, from t = 0, when the load is at its peak": _agenda(timeline),
        "mechanisms": _mechanisms(timeline, backend) if backend else [],
        "hit at once, at worst": [_hit_text(hit, experiment, voters) for hit in timeline.hits],
        "gates": [_gate_text(gate) for gate in experiment.gates],
        "WARNING: this run can't tell": list(doubts),
    }
    blocks = [
        (f"{title}\n" if title else "") + "\n".join(f"  {line}" for line in lines)
        for title, lines in parts.items()
        if lines
    ]
    return "\n".join(head) + "\n\n" + "\n\n".join(blocks) + "\n"


def _about(text: str) -> list[str]:
    return text.strip().splitlines()


def _setting(timeline: Timeline, versions: Sequence[str], recording: str) -> list[str]:
    experiment, load = timeline.experiment, timeline.experiment.load
    asked = [f"{name} {version}" for name, version in experiment.stack.versions.items()]
    run = list(versions) or asked or [f"the default of {experiment.stack.name}"]
    roles = dict.fromkeys(node.role for node in timeline.topology.nodes)
    nodes = ", ".join(counted(len(timeline.topology.with_role(role)), role) for role in roles)
    return [
        f"stack      {experiment.stack.name}: {nodes}",
        *(f"{'' if number else 'version':<11}{one}" for number, one in enumerate(run)),
        *_load_text("load", load),
        *(_load_text("beside", experiment.beside) if experiment.beside else ()),
        f"takes      {_text(experiment.duration_s)} after ramp and warm-up, {_text(round(timeline.total_s))} in all",
        f"recording  {recording or f'about {size(timeline.recording_bytes)}'}",
        f"seed       {experiment.seed}",
    ]


def _agenda(timeline: Timeline) -> list[str]:
    if not timeline.experiment.steps:
        return ["nothing is broken"]
    return [line for step in timeline.experiment.steps for line in _agenda_of(step, timeline.topology)]


def _name_of(fault: Fault) -> str:
    """Return what a file calls a fault; of a stranger's that no table has, the name of its class."""
    return next((name for name, cls in FAULTS.items() if type(fault) is cls), type(fault).__name__.lower())


def _agenda_of(step: Step, topology: Topology) -> list[str]:
    every = list(occurrences(step))
    kind = _name_of(step.fault)
    settings = _settings(step.fault)
    what = f"{kind} ({settings})" if settings else kind
    lines = [f"{_text(every[0].start_s):>8}  inject  {step.name}: {what} on {_who(step, topology)}"]
    if is_momentary(step.fault):
        lines.append(f"{'':>8}          ends by itself, within {_text(timeout_s(step.fault))} a node")
    else:
        lines.append(
            f"{_text(every[0].end_s):>8}  heal    {step.name}; else the node heals itself at {_itself(every[0])}"
        )
    if len(every) > 1:
        lines.append(
            f"{'':>8}          {len(every)} times, every {_text(step.every_s or 0)},"
            f" the last at {_text(every[-1].start_s)}"
        )
    return lines


def _itself(one: Occurrence) -> str:
    return _text(one.end_s + GRACE_S)


def _who(step: Step, topology: Topology) -> str:
    """Say which nodes may be hit and how one is picked."""
    there = holders(step.on, topology)
    names = ", ".join(node.name for node in there)
    number = wanted(step.on, len(there))
    role = "the owner of" if step.on.role == "owner-of" else step.on.role.replace("-", " ")
    who = f"{role} {step.on.argument}" if step.on.argument else counted(number, step.on.role)
    if not topology.with_role(step.on.role):
        return f"{who}, asked of the stack when it fires; it can be {names}"
    if number == len(there):
        return f"every {step.on.role}: {names}"
    return f"{who}, drawn by the seed from {names}"


def _mechanisms(timeline: Timeline, backend: Callable[[Action], str]) -> list[str]:
    lines: dict[str, None] = {}
    for step in timeline.experiment.steps:
        there = holders(step.on, timeline.topology)
        for aimed in step.fault.aim(there[: wanted(step.on, len(there))], timeline.topology):
            lines[f"{step.name}: {aimed.action.kind} by {_mechanism(aimed.action, backend)}"] = None
    return list(lines)


def _mechanism(action: Action, backend: Callable[[Action], str]) -> str:
    if action.kind == "stack":
        return "the stack itself"
    try:
        return backend(action)
    except CapabilityError as missing:
        return f"nothing here: {missing}"


def _hit_text(hit: Hit, experiment: Experiment, voters: Sequence[str]) -> str:
    limit = experiment.blast_radius.get(hit.role)
    said = f"{hit.count} of {counted(hit.of, hit.role)} ({hit.share:.0%}), at {_text(hit.at_s)}"
    said += f"; limit {format_share(limit)}" if limit is not None else "; no limit given"
    if not hit.away:
        return f"{said}; all stay reachable"
    if hit.role not in voters:
        return f"{said}; {hit.of - hit.away} left"
    left = f"{hit.of - hit.away} left of the {hit.quorum} that make a majority"
    return f"{said}; {left}" + ("" if hit.quorum_holds else f": NO QUORUM from {_text(hit.away_at_s)}")


def _load_text(what: str, load: Load) -> Iterator[str]:
    rate = "closed loop" if load.closed_loop else f"{load.rate_per_s:g}/s" if load.rate_per_s else "calibrated"
    if load.calibrated_share:
        rate = f"{format_share(load.calibrated_share)} of what a calibration finds"
    yield f"{what:<11}{load.workload}, {rate}, {counted(load.users, 'user')}, timeout {_text(load.timeout_s)}"
    if lies := load.settings.get("sabotage"):
        yield f"{'':<11}SABOTAGED: {lies}; such a run promotes nothing"


def _gate_text(named: NamedGate) -> str:
    during = getattr(
        named.gate, "during", Span.RECOVERY if Span.RECOVERY in getattr(named.gate, "needs", ()) else "run"
    )
    settings = _settings(named.gate)
    kind = "" if named.kind in ("", named.name) else named.kind
    said = ": ".join(part for part in (kind, settings) if part)
    marks = [f"of {named.of}"] * bool(named.of)
    marks += ["ends the run at the first certain no"] * named.stops_run
    marks += [f"known to fail: {named.expect_fail}"] * bool(named.expect_fail)
    return "; ".join([f"{named.name}{f' ({said})' if said else ''}, during {during}", *marks])


def _settings(part: Any) -> str:
    """Return what was set on a fault or a gate, as it would be written: "limit 5s"; "" if all is as by default."""
    if not dataclasses.is_dataclass(part):
        return ""
    rates = hasattr(part, "floor_per_s")  # else a share of something of its own
    said = [
        _setting_text(one.name, getattr(part, one.name)) + (" of steady" if one.name == "floor_share" and rates else "")
        for one in dataclasses.fields(part)
        if one.name != "during" and (one.name in ALWAYS or getattr(part, one.name) not in (one.default, None, "", ()))
    ]
    return ", ".join(said)


def _setting_text(name: str, value: Any) -> str:
    key, unit = split_name(name)
    unit = SHARE if name == "share" else unit
    if unit is not None and isinstance(value, int | float):
        return f"{key} {unit.format(value / unit.factor)}"
    if isinstance(value, float):
        return f"{key} {value:g}"
    return f"{key} {value.value if isinstance(value, enum.Enum) else value}"


def _text(seconds: float) -> str:
    return format_duration(round(seconds, 3))
