"""What is kept of a topic: topics/<name>.arrow, a row a record, and topics/<name>.closed.json, whether that is all.

{"k":"17","n":5,"t":…}                        partition offset timestamp 17 5 ∅ ∅ ∅        what was produced
{"k":"17","n":5,"count":6,"worked_ms":…}   ─▶ partition offset timestamp 17 5 6 ∅ worked   a job's running count
{"k":"17","window_ms":…,"count":48}           partition offset timestamp 17 ∅ 48 window ∅  its count of a window
anything else                                 partition offset timestamp ∅ ∅ ∅ ∅ ∅        corrupt: told, not dropped
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa

from chaos.recording import write_whole
from chaos.streams import TOPIC

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from workloads.records.proof import Closed

_BATCH = 1 << 16  # rows
_INT32, _INT64 = 1 << 31, 1 << 63
_KEPT = tuple(name for name in TOPIC.names if name != "seen_ns")


class Content(NamedTuple):
    """What a record's value says; all None where it can't be read."""

    key: int | None
    n: int | None
    counted: int | None
    window_ms: int | None
    worked_ms: int | None = None


CORRUPT = Content(None, None, None, None)


def content(value: bytes | None) -> Content:
    """Read a record's value. Pure; it never raises, because a record that can't be read is a finding."""
    try:
        data = json.loads(value or b"")
        read = Content(int(data["k"]), *(data.get(name) for name in ("n", "count", "window_ms", "worked_ms")))
    except (ValueError, TypeError, KeyError, AttributeError):
        return CORRUPT
    return read if _sound(read) else CORRUPT


def _sound(read: Content) -> bool:
    """Say whether it names a record or a window, in numbers that there can be."""
    key, numbers = read.key, [number for number in read[1:] if number is not None]
    whole = all(type(number) is int and -_INT64 <= number < _INT64 for number in numbers)
    named = read.n is not None or (read.window_ms is not None and read.counted is not None)
    return whole and named and key is not None and -_INT32 < key < _INT32


@dataclass(slots=True)
class Records:
    """The records of a topic as columns, in the order in which they were read."""

    columns: dict[str, list[Any]] = field(default_factory=lambda: {name: [] for name in _KEPT})

    def add(self, partition: int, offset: int, timestamp_ms: int, value: bytes | None) -> None:
        """Append one."""
        row = (partition, offset, timestamp_ms, *content(value))
        for column, item in zip(self.columns.values(), row, strict=True):
            column.append(item)

    def cut(self, count: int) -> None:
        """Forget all but the first `count`."""
        for column in self.columns.values():
            del column[count:]

    def reached(self) -> dict[int, int]:
        """Return, by partition, the offset after the last one."""
        places = zip(self.columns["partition"], self.columns["offset"], strict=True)
        return {partition: offset + 1 for partition, offset in places}

    def __len__(self) -> int:
        return len(self.columns["offset"])


@dataclass(frozen=True, slots=True)
class Seen:
    """When the records of one partition were first seen: ascending offsets, and a time for each, in ns."""

    offsets: NDArray[np.int64]
    at_ns: NDArray[np.int64]


def table(records: Records, seen: Mapping[int, Seen]) -> pa.Table:
    """Return a topic's records with the time at which each was seen live; null for those that never were. Pure."""
    arrays = {name: pa.array(column, TOPIC.field(name).type) for name, column in records.columns.items()}
    partitions, offsets = (np.asarray(records.columns[name], dtype=np.int64) for name in ("partition", "offset"))
    arrays["seen_ns"] = _seen_ns(partitions, offsets, seen)
    return pa.table(arrays, schema=TOPIC)


def _seen_ns(partitions: NDArray[np.int64], offsets: NDArray[np.int64], seen: Mapping[int, Seen]) -> pa.Array:
    at_ns, never = np.zeros(len(offsets), np.int64), np.ones(len(offsets), bool)
    for partition, live in seen.items():
        rows = np.flatnonzero(partitions == partition)
        places = np.searchsorted(live.offsets, offsets[rows])
        there = places < len(live.offsets)
        there[there] = live.offsets[places[there]] == offsets[rows[there]]
        at_ns[rows[there]], never[rows[there]] = live.at_ns[places[there]], False
    return pa.array(at_ns, pa.int64(), mask=never)


def write(folder: Path, name: str, records: pa.Table, closed: Closed) -> None:
    """Write both files, the second one last and as a whole; OSError where the disk is full."""
    folder.mkdir(parents=True, exist_ok=True)
    with pa.OSFile(str(folder / f"{name}.arrow"), "wb") as file, pa.ipc.new_stream(file, TOPIC) as stream:
        stream.write_table(records, max_chunksize=_BATCH)
    write_whole(folder / f"{name}.closed.json", json.dumps(closed.to_json()) + "\n")
