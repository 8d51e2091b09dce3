"""What a ledger gate found between two logs: how much of each there was, a row a kind of violation, the first records.

records in 40,000 · acknowledged 39,998 · records out 39,997
lost   3   key 17   n 5   in/1 offset 88   it never came out
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gates.ledger import KINDS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gates.judge import Judgement

COUNTS: Mapping[str, str] = {
    "n": "records in",
    "keys": "keys",
    "acknowledged": "acknowledged",
    "output": "records out",
    "windows": "windows out",
}
NONE = "–"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One record that is not as it should be; `alike`: how many of its kind there are, in the kind's first row."""

    kind: str
    alike: str
    key: str
    n: str
    place: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerTable:
    """The ledger of one gate."""

    gate: str
    counts: Sequence[tuple[str, str]]
    rows: Sequence[Row]


def ledgers(judgement: Judgement) -> list[LedgerTable]:
    """Return a table for each verdict of a ledger gate."""
    return [
        LedgerTable(
            gate=verdict.gate,
            counts=[(name, f"{verdict.numbers[key]:,}") for key, name in COUNTS.items() if verdict.numbers.get(key)],
            rows=_rows(verdict.numbers),
        )
        for verdict in judgement.verdicts
        if "kinds" in verdict.numbers
    ]


def _rows(numbers: Mapping[str, Any]) -> list[Row]:
    rows: list[Row] = []
    for record in numbers.get("records", ()):
        kind = str(record.get("what", ""))
        first = not rows or rows[-1].kind != kind
        rows.append(_row(kind, f"{numbers['kinds'].get(kind, 0):,}" if first else "", record))
    return rows


def _row(kind: str, alike: str, record: Mapping[str, Any]) -> Row:
    def said(name: str) -> str:
        value = record.get(name)
        return NONE if value is None else str(value)

    detail = KINDS.get(kind, "")
    if record.get("window_ms") is not None:
        detail = f"window {said('window_ms')} ms: {detail}"
    if "right" in record:
        detail = f"{detail}: {said('count')}, right is {said('right')}"
    offset = f"{said('topic')}/{said('partition')} offset {said('offset')}" if "offset" in record else NONE
    place = said("endpoint") if "endpoint" in record else offset
    return Row(kind=kind, alike=alike, key=said("key"), n=said("n"), place=place, detail=detail)
