"""What page and charts share: faults as bands, nodes as lanes, phases, the gates' limits where they hold.

kill      ░░▓▓▓▓▓▓▓▓                 asked, in force, gone
etcd1     ★★★★      ────────────     ★ leads, ─ answers, blank: silent
etcd2     ─────★★★★★★★★★★★★★★★★★
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import asdict
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

from chaos.clock import NS
from chaos.errors import ChaosgateError
from chaos.loads import of_load
from chaos.model import EventKind, Span
from reports.sections import beside, streams
from reports.series import origin_ns, series

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from chaos.model import NamedGate, Reading
    from chaos.recording import Recording
    from gates.judge import Judgement
    from reports.sections.faults import StepRows

LEADS = ("leader", "etcd-leader")  # readings of 1 or 0
GAP_S = 5.0  # a node's last answer tells nothing of it for longer than this


def chart_data(recording: Recording, judgement: Judgement, steps: Sequence[StepRows]) -> dict[str, Any]:
    """Return plain JSON data for report.js. All times in seconds from t = 0."""
    own = of_load(recording, "")
    found, run = series(own), recording.windows.run
    return {
        "series": None if found is None else asdict(found),
        "asked_per_s": _asked(recording),
        "steps": [step.name for step in steps],
        "faults": _faults(recording, steps),
        "lanes": [*_lanes(recording), *streams.lanes(recording)],
        "charts": [*streams.charts(own), *beside.charts(recording)],
        "phases": [[_s(recording, e.at_ns), e.detail] for e in recording.events if e.kind is EventKind.PHASE],
        "run": None if run is None else [0.0, _s(recording, run[1])],
        "limits": _limits(recording, judgement),
        "backs": _backs(recording, judgement),
    }


def _s(recording: Recording, at_ns: int) -> float:
    return round((at_ns - origin_ns(recording)) / NS, 4)


def _asked(recording: Recording) -> float | None:
    load = recording.run.get("load")
    rate = load.get("rate_per_s") if isinstance(load, dict) and not load.get("closed_loop") else None
    return float(rate) if rate else None


def _faults(recording: Recording, steps: Sequence[StepRows]) -> list[dict[str, Any]]:
    place = {step.name: number for number, step in enumerate(steps)}
    proofs = {(step.name, row.number): row for step in steps for row in step.rows}
    return [
        {
            "step": place[fault.step],
            "number": fault.occurrence,
            "victims": list(fault.victims),
            "asked": _s(recording, fault.asked_ns),
            "start": _s(recording, fault.start_ns),
            "end": _s(recording, fault.end_ns),
            "healed": fault.healed,
            "sound": proofs[fault.step, fault.occurrence].sound,
        }
        for fault in recording.windows.faults
        if fault.step in place
    ]


# ---------------------------------------------------------------- lanes


def _lanes(recording: Recording) -> list[dict[str, Any]]:
    """Each node's states by the stack's probes, and the starts and ends of its processes."""
    answers: dict[str, list[Reading]] = defaultdict(list)
    leads: set[tuple[str, int]] = set()
    for reading in recording.readings:
        if reading.name == "up":
            answers[reading.node].append(reading)
        elif reading.name in LEADS and reading.value == 1:
            leads.add((reading.node, reading.at_ns))
    marks: dict[str, list[list[Any]]] = defaultdict(list)
    for event in recording.events:
        if event.kind is EventKind.PROCESS:
            marks[event.node].append([_s(recording, event.at_ns), event.detail])
    return [
        {"name": node, "states": _states(recording, answers[node], leads), "marks": marks[node]}
        for node in sorted({*answers, *marks} - {""})
    ]


def _states(
    recording: Recording, answers: Iterable[Reading], leads: set[tuple[str, int]]
) -> list[tuple[float, float, str]]:
    """Merge a node's answers into spans of "leads", "up" and "silent"."""
    ordered = sorted(answers, key=lambda reading: reading.at_ns)
    spans: list[tuple[float, float, str]] = []
    for reading, following in zip_longest(ordered, ordered[1:]):
        start = _s(recording, reading.at_ns)
        end = start + GAP_S if following is None else min(_s(recording, following.at_ns), start + GAP_S)
        end = start + 0.5 if following is None else end
        state = "leads" if (reading.node, reading.at_ns) in leads else "up" if reading.value else "silent"
        if spans and spans[-1][2] == state and spans[-1][1] >= start:
            spans[-1] = (spans[-1][0], end, state)
        else:
            spans.append((start, end, state))
    return spans


# ---------------------------------------------------------------- what the gates look at


def _limits(recording: Recording, judgement: Judgement) -> list[dict[str, Any]]:
    """Return the limits that can be drawn as lines, in the windows in which they hold."""
    numbers = {verdict.gate: verdict.numbers for verdict in judgement.verdicts}
    charts = {"latency": ("latency", "limit_s", 1000.0), "throughput": ("throughput", "limit_per_s", 1.0)}
    found = []
    for named in _gates(recording):
        chart, key, factor = charts.get(named.kind or named.name, ("", "", 1.0))
        limit = numbers.get(named.name, {}).get(key)
        if chart and limit is not None and not named.of:
            spans = recording.windows.select(Span(getattr(named.gate, "during", Span.RUN)))
            drawn = [[_s(recording, start), _s(recording, end)] for start, end in spans]
            found.append({"chart": chart, "name": named.name, "value": limit * factor, "spans": drawn})
    return found


def _gates(recording: Recording) -> Sequence[NamedGate]:
    try:
        return recording.experiment.gates
    except ChaosgateError:  # without its experiment a recording has no limits to draw
        return ()


def _backs(recording: Recording, judgement: Judgement) -> list[float]:
    """Return when traffic was back after each fault, as the recovery gate saw it."""
    ends = {(fault.step, fault.occurrence): fault.end_ns for fault in recording.windows.faults}
    others = {named.name for named in _gates(recording) if named.of}  # gates of a second load
    verdicts = [verdict for verdict in judgement.verdicts if verdict.gate not in others]
    found = [one for verdict in verdicts for one in verdict.numbers.get("occurrences", ())]
    seen = [one for one in found if isinstance(one, dict) and one.get("recovery_s") is not None]
    keys = [((one.get("step"), one.get("occurrence")), one["recovery_s"]) for one in seen]
    return [round(_s(recording, ends[key]) + back_s, 4) for key, back_s in keys if key in ends]
