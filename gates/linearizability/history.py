"""A history: what clients asked and were told, in columns, one row an operation.

    client 1   put x=a |-------|              row 0: op, key, value, expect, swapped, call, return, outcome
    client 2        get x |---------| → a     row 1
    client 3   put x=b |--------------- …     row 2: outcome unknown, returns at NEVER

Keys, values and clients are kept as small integers (codes) beside the tables that they index, so that a million
operations are a few numpy arrays. NULL is the code of "absent", which is also every key's first state.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from chaos.model import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    import pyarrow as pa

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

GET, PUT, CAS, APPEND = range(4)
OPS = ("get", "put", "cas", "append")
NULL = -1  # the code of a value that is absent
NEVER = int(np.iinfo(np.int64).max)  # the return of an operation that never returned
UNRECORDED = -1  # the place of a write that a cut-short recording may have lost


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One operation as a person reads it; `place` is its line in the file or its row in the samples."""

    op: str
    key: str | int
    call_ns: int
    return_ns: int | None
    outcome: Outcome = Outcome.OK
    client: int | str = 0
    value: Any = None
    expect: Any = None
    swapped: bool | None = None
    place: int = 0

    def __str__(self) -> str:
        """Say what was asked and what came back, in a few words."""
        return f"{_words(self)}{'' if self.outcome is Outcome.OK else f' ({self.outcome.name.lower()})'}"


def _words(operation: Operation) -> str:
    shown = short(operation.value)
    if operation.op == "get":
        return f"get → {shown}" if operation.outcome is Outcome.OK else "get"
    if operation.op == "cas":
        refused = operation.swapped is False and operation.outcome is Outcome.OK
        swap = f"cas {short(operation.expect)} → {shown}"
        return f"cas expecting {short(operation.expect)}: not swapped" if refused else swap
    return f"{operation.op} {shown}"


def short(value: Any, limit: int = 40) -> str:
    """Return a value as one short word: null, or JSON-like text cut in its middle."""
    text = "null" if value is None else f'"{value}"' if isinstance(value, str) else str(value)
    half = (limit - 1) // 2
    return text if len(text) <= limit else f"{text[:half]}…{text[-half:]}"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class History:
    """Operations in columns, all of one length; code columns index `keys`, `values` and `clients`.

    call_ns, return_ns: int64 ns of one clock (NEVER: it never returned). op: GET, PUT, CAS, APPEND. value, expect:
    codes, NULL for absent. swapped: meaningful for a cas that is ok. outcome: chaos.model.Outcome. place: line or row.
    """

    keys: Sequence[Any]
    values: Sequence[Any]
    clients: Sequence[Any]
    key: Ints
    client: Ints
    op: Ints
    value: Ints
    expect: Ints
    swapped: Bools
    call_ns: Ints
    return_ns: Ints
    outcome: Ints
    place: Ints

    def __len__(self) -> int:
        return len(self.key)

    def operation(self, row: int) -> Operation:
        """Return one row as an Operation."""
        op, outcome, returned = int(self.op[row]), Outcome(int(self.outcome[row])), int(self.return_ns[row])
        return Operation(
            op=OPS[op],
            key=self.keys[self.key[row]],
            client=self.clients[self.client[row]],
            value=self._text(self.value[row]),
            expect=self._text(self.expect[row]),
            swapped=bool(self.swapped[row]) if op == CAS and outcome is Outcome.OK else None,
            call_ns=int(self.call_ns[row]),
            return_ns=None if returned == NEVER else returned,
            outcome=outcome,
            place=int(self.place[row]),
        )

    def _text(self, code: np.int64) -> Any:
        return None if code == NULL else self.values[int(code)]

    def rows(self, chosen: Bools | Ints) -> History:
        """Return the history of the chosen rows (a mask or row numbers), with the same tables."""
        columns = {f.name: getattr(self, f.name)[chosen] for f in fields(self) if f.name not in _TABLES}
        return replace(self, **columns)

    @classmethod
    def of(cls, operations: Iterable[Operation]) -> History:
        """Build a history from operations; those with place 0 are numbered from 1 in the order given."""
        return columns([_row(operation, number) for number, operation in enumerate(operations, 1)])

    @classmethod
    def from_samples(cls, table: pa.Table) -> History:
        """Build a history from a recording's samples.

        `table` has the columns of samples/*.arrow: call_ns, return_ns (null: never), client, op, consistency, key,
        value, expect, swapped, outcome; others are ignored. Serializable reads are left out: they may be stale by
        their own promise. `place` is the row in `table`. Raises RecordingError for rows that can't be true.
        """
        from gates.linearizability.samples import history_from  # noqa: PLC0415 - JSON lines do without pyarrow

        return history_from(table)

    @classmethod
    def read(cls, path: Path) -> History:
        """Read a HISTORY.jsonl; chaos.errors.UsageError lists everything that is wrong in it."""
        from gates.linearizability.jsonl import history_from  # noqa: PLC0415 - it builds on this module

        return history_from(path)


_TABLES = ("keys", "values", "clients")


class Codes:
    """Values as codes, compared as typed JSON: 1, 1.0, true and "1" are four values (a dict would merge three)."""

    def __init__(self) -> None:
        self.table: list[Any] = []
        self._codes: dict[Any, int] = {}

    def code(self, value: Any) -> int:
        """Return the code of a JSON value, NULL for None."""
        if value is None:
            return NULL
        typed = value if type(value) is str else (canonical(value),)
        found = self._codes.get(typed)
        if found is None:
            found = self._codes[typed] = len(self.table)
            self.table.append(value)
        return found


def canonical(value: Any) -> str:
    """Return the canonical JSON text of a value that is not text: members sorted, no spaces."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


Row = tuple[Any, Any, int, Any, Any, bool, int, int, int, int]
"""key, client, op, value, expect, swapped, call_ns, return_ns, outcome, place."""


def _row(operation: Operation, number: int) -> Row:
    o, returned = operation, NEVER if operation.return_ns is None else operation.return_ns
    op, place = OPS.index(o.op), o.place or number
    return o.key, o.client, op, o.value, o.expect, bool(o.swapped), o.call_ns, returned, int(o.outcome), place


def columns(rows: Sequence[Row]) -> History:
    """Turn rows into columns, and their keys, clients and values into codes."""
    keys, clients, values = Codes(), Codes(), Codes()
    split = zip(*rows, strict=True) if rows else [()] * 10
    key, client, op, value, expect, swapped, call, returned, outcome, place = split
    return History(
        key=_ints(map(keys.code, key)),
        client=_ints(map(clients.code, client)),
        value=_ints(map(values.code, value)),
        expect=_ints(map(values.code, expect)),
        op=_ints(op),
        swapped=np.array(swapped, dtype=np.bool_),
        call_ns=_ints(call),
        return_ns=_ints(returned),
        outcome=_ints(outcome),
        place=_ints(place),
        keys=keys.table,
        values=values.table,
        clients=clients.table,
    )


def _ints(numbers: Iterable[int]) -> Ints:
    return np.fromiter(numbers, dtype=np.int64)
