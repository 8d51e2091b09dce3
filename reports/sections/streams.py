"""What a job did, on the timeline's own axis: lanes of its state and its checkpoints, curves of how far it was behind.

job          ───────▒▒▒▒▒──────────      runs; hatched: it does not; ▲ its tasks were started again
checkpoints  ▬ ▬ ▬ ✕   ▬ ▬ ▬ ▬ ▬ ▬      each that completed, as long as it took; ✕ one failed

lag          records that its source has yet to fetch, a topic
backpressure share of time in which a vertex waits for the next one
latency      into the log, to the operator, to a reader: from the intended moment, medians of a second

All of it from readings and topics of the recording; what nobody answered is a gap. Pure.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from chaos.clock import NS
from chaos.streams import NEVER_NS
from gates.accounts import Sent, SparseError
from gates.visible import Ways
from reports.series import origin_ns

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from chaos.model import Reading
    from chaos.recording import Recording
    from chaos.streams import Topic

RUNS, RESTARTS = "flink-job-state", "flink-restarts"
COMPLETED, FAILED, TOOK = "checkpoints-completed", "checkpoints-failed", "checkpoint-duration"
GAP_S = 3.0  # a reading tells nothing for longer than this
BUCKET_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """One line: seconds from t = 0, and a value at each; null: nobody answered."""

    label: str
    t: Sequence[float]
    v: Sequence[float | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """Some curves with one axis; `unit`: count, share or ms."""

    name: str
    title: str
    note: str
    unit: str
    curves: Sequence[Curve]


def lanes(recording: Recording) -> list[dict[str, Any]]:
    """Return the lanes of the job and of its checkpoints; none if no job was looked at."""
    if not (states := _named(recording, RUNS)):
        return []
    origin = origin_ns(recording)
    return [
        {"name": "job", "states": list(_spans(states, origin)), "marks": _rises(recording, RESTARTS, "started")},
        {"name": "checkpoints", "states": list(_taken(recording)), "marks": _rises(recording, FAILED, "failed")},
    ]


def charts(recording: Recording) -> list[dict[str, Any]]:
    """Return the curves as plain JSON data; only charts that have a value somewhere."""
    found = (_lag(recording), _backpressure(recording), _latency(recording))
    return [asdict(chart) for chart in found if any(v is not None for curve in chart.curves for v in curve.v)]


# ---------------------------------------------------------------- lanes


def _named(recording: Recording, name: str) -> list[Reading]:
    return sorted((one for one in recording.readings if one.name == name), key=lambda one: one.at_ns)


def _s(at_ns: int, origin: int) -> float:
    return round((at_ns - origin) / NS, 4)


def _spans(states: Sequence[Reading], origin: int) -> Iterator[tuple[float, float, str]]:
    """Yield spans of one state each: "up" while the job runs, "silent" while it does not or nobody tells."""
    start, state = states[0].at_ns, _state(states[0])
    for before, after in pairwise(states):
        if _state(after) != state:
            yield _s(start, origin), _s(after.at_ns, origin), state
            start, state = after.at_ns, _state(after)
        elif after.at_ns - before.at_ns > GAP_S * NS:
            yield _s(start, origin), _s(before.at_ns + int(GAP_S * NS), origin), state
            start = after.at_ns
    yield _s(start, origin), _s(states[-1].at_ns + NS // 2, origin), state


def _state(reading: Reading) -> str:
    return "up" if reading.value == 1 else "silent"


def _rises(recording: Recording, name: str, mark: str) -> list[list[Any]]:
    """Return a mark for each reading in which a counter is greater than in the last one that told."""
    told = [one for one in _named(recording, name) if one.value is not None]
    origin = origin_ns(recording)
    return [[_s(after.at_ns, origin), mark] for before, after in pairwise(told) if _above(before, after)]


def _above(before: Reading, after: Reading) -> bool:
    return before.value is not None and after.value is not None and after.value > before.value


def _taken(recording: Recording) -> Iterator[tuple[float, float, str]]:
    """Yield a span for each newest checkpoint, ending when it was first seen to be complete."""
    newest, origin = "", origin_ns(recording)
    for reading in _named(recording, TOOK):
        if reading.value is not None and reading.text != newest:
            newest = reading.text
            yield _s(reading.at_ns - int(reading.value * NS), origin), _s(reading.at_ns, origin), "work"


# ---------------------------------------------------------------- curves


def _curves(recording: Recording, name: str, label: str) -> list[Curve]:
    """Return a curve for each `label` ("node" or "text") of the readings of a name."""
    origin, by_label = origin_ns(recording), dict[str, list["Reading"]]()
    for reading in _named(recording, name):
        by_label.setdefault(getattr(reading, label), []).append(reading)
    return [
        Curve(label=text, t=[_s(one.at_ns, origin) for one in told], v=[one.value for one in told])
        for text, told in sorted(by_label.items())
    ]


def _lag(recording: Recording) -> Chart:
    curves = _curves(recording, "lag", "text")
    return Chart(name="lag", title="Lag", note="records that the job has yet to fetch", unit="count", curves=curves)


def _backpressure(recording: Recording) -> Chart:
    curves = _curves(recording, "vertex-backpressure", "node")
    note = "share of time in which a vertex waits for the one behind it"
    return Chart(name="backpressure", title="Backpressure", note=note, unit="share", curves=curves)


def _latency(recording: Recording) -> Chart:
    note = "from the intended moment, medians of a second; by the operator's own clock in the middle"
    curves = [curve for name in _outputs(recording) for curve in _ways(recording, name)]
    return Chart(name="split", title="Latency, split", note=note, unit="ms", curves=curves)


def _outputs(recording: Recording) -> list[Topic]:
    """Return the topics that somebody followed and whose records have the numbers of what was sent."""
    found = []
    for topic in recording.parts.topics.values():
        seen, number = topic.columns("seen_ns", "n")
        if ((seen != NEVER_NS) & (number != NEVER_NS)).any():
            found.append(topic)
    return found


def _ways(recording: Recording, topic: Topic) -> list[Curve]:
    sent = Sent.of(recording)
    if not len(sent.key):
        return []
    try:
        ways = Ways.of(sent, topic)
    except SparseError:
        return []
    intended = sent.column("intended_ns")
    returned = np.where(sent.acknowledged, sent.column("return_ns"), NEVER_NS)
    told = {
        "acknowledged by the log": returned,
        f"at the operator of {topic.name}": ways.worked_ns,
        f"read from {topic.name}": ways.seen_ns,
    }
    came = {label: at_ns for label, at_ns in told.items() if (at_ns != NEVER_NS).any()}
    return [_median(recording, label, intended, at_ns) for label, at_ns in came.items()]


def _median(recording: Recording, label: str, intended: Any, at_ns: Any) -> Curve:
    """Return the medians, a second each, of those that came; a second in which none did is a gap."""
    origin = origin_ns(recording)
    bucket = (intended - origin) // int(BUCKET_S * NS)
    came = at_ns != NEVER_NS
    times, values = [], []
    for one in range(int(bucket.min()), int(bucket.max()) + 1):
        took = (at_ns - intended)[came & (bucket == one)]
        times.append((one + 0.5) * BUCKET_S)
        values.append(round(float(np.median(took)) / 1e6, 3) if len(took) else None)
    return Curve(label=label, t=times, v=values)
