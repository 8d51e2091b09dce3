"""A recording's samples (Arrow) as a History: dictionary-encoded by pyarrow, never row by row."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from chaos.errors import RecordingError
from chaos.model import Outcome
from gates.linearizability.history import CAS, NEVER, NULL, OPS, PUT, Bools, History, Ints

if TYPE_CHECKING:
    from collections.abc import Sequence


def history_from(table: pa.Table) -> History:
    """Return the history of a table of samples; see History.from_samples."""
    table = _without_stale_reads(table)
    keys, key = _factorised(table["key"])
    values, value, expect = _factorised_together(table["value"], table["expect"])
    clients, client = _factorised(table["client"])
    history = History(
        keys=keys,
        values=values,
        clients=clients,
        key=key,
        client=client,
        op=_ops(table["op"]),
        value=value,
        expect=expect,
        swapped=_numbers(table["swapped"], absent=0).astype(np.bool_),
        call_ns=_numbers(table["call_ns"], absent=0),
        return_ns=_numbers(table["return_ns"], absent=NEVER),
        outcome=_numbers(table["outcome"], absent=int(Outcome.UNKNOWN)),
        place=table["row"].to_numpy(),
    )
    _refuse_impossible(history, pc.is_null(table["swapped"]).to_numpy())
    return history


def _without_stale_reads(table: pa.Table) -> pa.Table:
    numbered = table.append_column("row", pa.array(np.arange(len(table), dtype=np.int64)))
    if "consistency" not in table.column_names:
        return numbered
    stale = pc.fill_null(pc.equal(pc.cast(table["consistency"], pa.string()), "serializable"), False)
    return numbered.filter(pc.invert(stale))


def _ops(column: pa.ChunkedArray) -> Ints:
    names, codes = _factorised(column)
    if strangers := sorted(set(names) - set(OPS)):
        raise RecordingError(f"samples: no such op {strangers[0]!r}; an op is one of {', '.join(OPS)}")
    return np.array([OPS.index(name) for name in names], dtype=np.int64)[codes]


def _refuse_impossible(history: History, swapped_unsaid: Bools) -> None:
    """Raise RecordingError for the first row that no honest writer of samples can have produced."""
    ok = history.outcome == Outcome.OK
    unfinished = ok & ((history.return_ns == NEVER) | (history.return_ns < history.call_ns))
    vague = ok & (history.op == CAS) & swapped_unsaid
    writes = (history.outcome != Outcome.FAILED) & (
        (history.op == PUT) | ((history.op == CAS) & (history.swapped | ~ok))
    )
    problems: tuple[tuple[Bools, str], ...] = (
        (unfinished, "is ok but returns before its call, or never; an operation without an answer is unknown"),
        (vague, "is an ok cas that does not say whether it swapped"),
        (writes & (history.value == NULL), "writes null; a write's sample carries the value that was written"),
    )
    for wrong, what in problems:
        if wrong.any():
            row = int(np.flatnonzero(wrong)[0])
            raise RecordingError(f"samples: row {history.place[row]} ({OPS[history.op[row]]}) {what}")


# ---------------------------------------------------------------- Arrow columns → codes


def _factorised(column: pa.ChunkedArray) -> tuple[Sequence[Any], Ints]:
    """Return the distinct values of a column and each row's index among them (NULL where it is null)."""
    plain = pc.cast(column, column.type.value_type) if pa.types.is_dictionary(column.type) else column
    if not len(plain):
        return [], np.empty(0, dtype=np.int64)
    encoded = plain.combine_chunks().dictionary_encode()
    encoded = encoded.combine_chunks() if isinstance(encoded, pa.ChunkedArray) else encoded
    codes = pc.fill_null(encoded.indices, NULL).to_numpy(zero_copy_only=False).astype(np.int64)
    return encoded.dictionary.to_pylist(), codes


def _factorised_together(first: pa.ChunkedArray, second: pa.ChunkedArray) -> tuple[Sequence[Any], Ints, Ints]:
    text = [pc.cast(column, pa.string()) for column in (first, second)]
    table, codes = _factorised(pa.chunked_array([*text[0].chunks, *text[1].chunks], type=pa.string()))
    return table, codes[: len(first)], codes[len(first) :]


def _numbers(column: pa.ChunkedArray, absent: int) -> Ints:
    return np.asarray(pc.fill_null(pc.cast(column, pa.int64()), absent).to_numpy(), dtype=np.int64)
