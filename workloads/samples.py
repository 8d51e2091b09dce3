"""Every operation of one generator, as an Arrow IPC stream that a kill cuts short but does not spoil.

    Row Row Row ─▶ columns ─▶ batch │ batch │ batch │ …  samples/<generator>.arrow
                                                         samples/<generator>.closed.json: ended as it should

Texts that repeat (endpoints, operations, errors) are dictionaries that grow; a batch carries what is new in them
(delta dictionaries, https://arrow.apache.org/docs/format/Columnar.html#dictionary-messages).
"""

from __future__ import annotations

import itertools
import json
import os
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from chaos.model import Outcome


class Row(NamedTuple):
    """One operation; a tuple because thousands are made a second. Times are ns of CLOCK_MONOTONIC."""

    intended_ns: int
    call_ns: int
    return_ns: int | None  # None: never returned
    client: int
    endpoint: str
    op: str  # put | get | cas
    consistency: str
    key: str
    value: str | None  # get: what was read; put, cas: what was written
    expect: str | None = None
    swapped: bool | None = None
    revision: int | None = None  # the store's, from the answer's header; of a put: its own
    outcome: Outcome | int = 0
    error: str = ""


_TEXTS = pa.dictionary(pa.int32(), pa.string())
SCHEMA = pa.schema(
    [
        pa.field("intended_ns", pa.int64()),
        pa.field("call_ns", pa.int64()),
        pa.field("return_ns", pa.int64()),
        pa.field("client", pa.int32()),
        pa.field("endpoint", _TEXTS),
        pa.field("op", _TEXTS),
        pa.field("consistency", _TEXTS),
        pa.field("key", pa.string()),
        pa.field("value", pa.string()),
        pa.field("expect", pa.string()),
        pa.field("swapped", pa.bool_()),
        pa.field("revision", pa.int64()),
        pa.field("outcome", pa.int8()),
        pa.field("error", _TEXTS),
    ]
)


class SampleWriter:
    """Appends rows to `<folder>/<name>.arrow`; `flush` writes what has gathered as one batch."""

    def __init__(self, folder: Path, name: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / f"{name}.arrow"
        self.written = 0
        self.last_flushed_ns = 0
        self._rows: list[Row] = []
        self._texts: dict[str, dict[str, int]] = {f.name: {} for f in SCHEMA if f.type == _TEXTS}
        self._file = self.path.open("wb", buffering=0)
        options = pa.ipc.IpcWriteOptions(emit_dictionary_deltas=True)
        self._stream = pa.ipc.new_stream(self._file, SCHEMA, options=options)
        self.add = self._rows.append
        self._write(())  # the schema is on disk before the first operation

    def flush(self, now_ns: int) -> None:
        """Write a batch; OSError where the disk is full."""
        if self._rows:
            self._write(self._rows)
            self.written += len(self._rows)
            self._rows.clear()
        self.last_flushed_ns = now_ns

    def _write(self, rows: Sequence[Row]) -> None:
        columns = zip(*rows, strict=True) if rows else itertools.repeat((), len(SCHEMA))
        arrays = [self._array(f, column) for f, column in zip(SCHEMA, columns, strict=True)]
        self._stream.write_batch(pa.record_batch(arrays, schema=SCHEMA))

    def _array(self, field: pa.Field, column: tuple[Any, ...]) -> pa.Array:
        if field.type != _TEXTS:
            return pa.array(column, field.type)
        texts = self._texts[field.name]
        codes = pa.array([texts.setdefault(text, len(texts)) for text in column], pa.int32())
        return pa.DictionaryArray.from_arrays(codes, pa.array(texts, pa.string()))

    def close(self, now_ns: int, **facts: Any) -> None:
        """Write the last batch, end the stream, and say in `<name>.closed.json` that nothing is missing."""
        self.flush(now_ns)
        self._stream.close()
        self._file.close()
        closed = {"samples": self.written, "last_flushed_ns": self.last_flushed_ns, **facts}
        draft = self.path.with_suffix(".closed.json.draft")
        draft.write_text(json.dumps(closed) + "\n")
        os.replace(draft, self.path.with_suffix(".closed.json"))  # noqa: PTH105  (atomic, and means it)
