"""The first violation, drawn: the operations that contradict each other, a lane a client.

    client 3   ├─ put "a" ─┤
    client 7                  ├─ get → "a" ─┤
    client 4                                    ├─ get → null ─┤      ← stale

Grey bars are other operations on the same key at the same time; an open end means that no answer ever came.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow.compute as pc

from chaos.clock import NS
from chaos.model import Outcome
from chaos.streams import NEVER_NS
from reports.series import origin_ns

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from chaos.model import Verdict
    from chaos.recording import Recording
    from gates.judge import Judgement

CONTEXT_MAX = 40  # grey bars; more would hide the witness
WIDTH, LANE, LEFT, TOP = 1000, 46, 96, 34
LABEL_CHARS = 7.3  # width of a character of a label, in the drawing's units
TICKS = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One operation in the drawing's coordinates; `label_x`, `anchor`: where its words go."""

    x: float
    y: float
    width: float
    label: str
    label_x: float
    anchor: str
    outcome: str
    open_end: bool
    context: bool
    title: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """The picture, and where on the timeline it is, in seconds from t = 0."""

    gate: str
    key: str
    reason: str
    bars: Sequence[Bar]
    lanes: Sequence[tuple[float, str]]  # y, client
    ticks: Sequence[tuple[float, str]]  # x, time
    bands: Sequence[tuple[float, float, str]]  # x, width, fault
    width: int
    height: int
    start_s: float
    end_s: float


def drawing(recording: Recording, judgement: Judgement) -> Drawing | None:
    """Return the first witness that a gate gave, drawn; None if there is none."""
    for verdict in judgement.verdicts:
        if verdict.numbers.get("witness"):
            return _drawn(recording, verdict, list(verdict.numbers["witness"]))
    return None


def lost_writes(judgement: Judgement) -> list[Mapping[str, Any]]:
    """Return the rows of writes that are not as clients were told."""
    return [dict(row) for verdict in judgement.verdicts for row in verdict.numbers.get("writes", ())]


def _drawn(recording: Recording, verdict: Verdict, witness: Sequence[Mapping[str, Any]]) -> Drawing:
    start, end = _extent(witness)
    context = _context(recording, witness, start, end)
    scale = _Scale(start_ns=start, end_ns=end)
    clients = list(dict.fromkeys(_client(one) for one in [*sorted(witness, key=lambda o: o["call_ns"]), *context]))
    lane = {client: TOP + LANE * place for place, client in enumerate(clients)}
    origin = origin_ns(recording)
    drawn = [(one, True) for one in context] + [(one, False) for one in witness]
    return Drawing(
        gate=verdict.gate,
        key=str(verdict.numbers.get("key", "")),
        reason=str(verdict.numbers.get("reason", verdict.summary)),
        bars=[_bar(one, lane[_client(one)], scale, origin, context=aside) for one, aside in drawn],
        lanes=[(y + LANE / 2, client) for client, y in lane.items()],
        ticks=[(scale.x(at), f"{(at - origin) / NS:.3f} s") for at in scale.ticks()],
        bands=_bands(recording, scale),
        width=WIDTH,
        height=TOP + LANE * len(clients) + 12,
        start_s=(start - origin) / NS,
        end_s=(end - origin) / NS,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scale:
    """From ns to the drawing's x."""

    start_ns: int
    end_ns: int

    def x(self, at_ns: int) -> float:
        share = (at_ns - self.start_ns) / (self.end_ns - self.start_ns)
        return round(LEFT + (WIDTH - LEFT - 18) * min(max(share, 0.0), 1.0), 1)

    def ticks(self) -> list[int]:
        step = (self.end_ns - self.start_ns) // TICKS
        return [self.start_ns + step * place for place in range(TICKS)]


def _extent(witness: Sequence[Mapping[str, Any]]) -> tuple[int, int]:
    """From the first call to the last return, with some air; operations without an answer end with the others."""
    calls = [int(one["call_ns"]) for one in witness]
    ends = [int(one["return_ns"]) for one in witness if one.get("return_ns") is not None]
    start, end = min(calls), max([*ends, *calls])
    air = max((end - start) // 25, 1000)
    return start - air, end + 2 * air


def _context(recording: Recording, witness: Sequence[Mapping[str, Any]], start: int, end: int) -> list[dict[str, Any]]:
    """Other operations on the witness' key in its time, the nearest to its end first to be kept."""
    samples, known = recording.samples, {(one["call_ns"], str(one.get("client"))) for one in witness}
    returned = pc.fill_null(samples["return_ns"], NEVER_NS)
    near = pc.and_(pc.less(samples["call_ns"], end), pc.greater(returned, start))
    here = pc.and_(pc.equal(samples["key"], str(witness[0].get("key"))), near)
    names = ["op", "key", "call_ns", "return_ns", "client", "value", "expect", "swapped", "outcome"]
    rows = [one for one in samples.filter(here).select(names).to_pylist() if _identity(one) not in known]
    return sorted(rows, key=lambda one: int(one["call_ns"]))[-CONTEXT_MAX:]


def _identity(one: Mapping[str, Any]) -> tuple[Any, str]:
    return one["call_ns"], str(one["client"])


def _client(one: Mapping[str, Any]) -> str:
    return f"client {one.get('client', '?')}"


def _bar(one: Mapping[str, Any], y: float, scale: _Scale, origin: int, *, context: bool) -> Bar:
    never = one.get("return_ns") is None
    left = scale.x(int(one["call_ns"]))
    right = scale.x(scale.end_ns if never else int(one["return_ns"]))
    label, width = words(one), max(right - left, 3.0)
    label_x, anchor = _label(label, left, width)
    ended = "no answer" if never else f"{(int(one['return_ns']) - origin) / NS:.6f} s"
    outcome = Outcome(int(one.get("outcome", 0))).name.lower()
    return Bar(
        x=left,
        y=y,
        width=width,
        label=label,
        label_x=label_x,
        anchor=anchor,
        outcome=outcome,
        open_end=never,
        context=context,
        title=f"{_client(one)}: {label}, {outcome}; {(int(one['call_ns']) - origin) / NS:.6f} s to {ended}",
    )


def _label(label: str, left: float, width: float) -> tuple[float, str]:
    """Put the words inside the bar if they fit, else beside it, where there is room."""
    needed = len(label) * LABEL_CHARS
    if needed + 12 <= width:
        return left + width / 2, "middle"
    if left + width + needed + 8 <= WIDTH:
        return left + width + 6, "start"
    return left - 6, "end"


def words(one: Mapping[str, Any]) -> str:
    """Say an operation: get → "a", put "a", cas "a" → "b"."""
    op, value = one.get("op"), _value(one.get("value"))
    if op == "get":
        return f"get → {value}" if int(one.get("outcome", 0)) == Outcome.OK else "get"
    if op == "cas":
        refused = ": not swapped" if one.get("swapped") is False else ""
        return f"cas {_value(one.get('expect'))} → {value}{refused}"
    return f"{op} {value}"


def _value(value: Any) -> str:
    text = "null" if value is None else str(value)
    return text if len(text) <= 18 else f"{text[:8]}…{text[-8:]}"


def _bands(recording: Recording, scale: _Scale) -> list[tuple[float, float, str]]:
    found = []
    for fault in recording.windows.faults:
        if fault.start_ns < scale.end_ns and fault.end_ns > scale.start_ns:
            left, right = scale.x(fault.start_ns), scale.x(fault.end_ns)
            found.append((left, max(right - left, 1.0), f"{fault.step} on {', '.join(fault.victims)}"))
    return found
