"""The files of a recording: their columns, and how they are read when they were cut short.

samples/<generator>.arrow  +  <generator>.closed.json      ended cleanly: counts must agree
samples/<generator>.arrow                                  cut short: read up to the torn batch
samples/final*.arrow                                       reads after the drain, kept apart
topics/<name>.arrow        +  <name>.closed.json           a log as it was read back after the drain, with its offsets
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from chaos.errors import RecordingError
from chaos.model import Event, EventKind

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

NEVER_NS = int(np.iinfo(np.int64).max)  # stands for a null time in numpy columns
MAPPED_BYTES = 64 << 20
OFFSETS = ("end", "last_stable", "high")
UNREADABLE = int(np.iinfo(np.int32).min)  # stands for a null key: a record that could not be read
END_OF_STREAM = b"\xff\xff\xff\xff\x00\x00\x00\x00"  # Arrow columnar format, IPC streaming format

_WORD = pa.dictionary(pa.int32(), pa.string())
SAMPLES = pa.schema(
    [
        ("intended_ns", pa.int64()),
        ("call_ns", pa.int64()),
        ("return_ns", pa.int64()),
        ("client", pa.int32()),
        ("endpoint", _WORD),
        ("op", _WORD),
        ("consistency", _WORD),
        ("key", pa.string()),
        ("value", pa.string()),
        ("expect", pa.string()),
        ("swapped", pa.bool_()),
        ("revision", pa.int64()),
        ("outcome", pa.int8()),
        ("error", _WORD),
    ]
)
ALL_SAMPLES = SAMPLES.append(pa.field("generator", _WORD))
READINGS = pa.schema(
    [
        ("name", pa.string()),
        ("node", pa.string()),
        ("at_ns", pa.int64()),
        ("value", pa.float64()),
        ("why", pa.string()),
        ("text", pa.string()),
    ]
)

# A record of a log. A null key: its value could not be read; a key below 0: an end marker, which is nobody's data.
TOPIC = pa.schema(
    [
        ("partition", pa.int16()),
        ("offset", pa.int64()),
        ("timestamp_ms", pa.int64()),  # since 1970, as the producer meant it
        ("key", pa.int32()),
        ("n", pa.int64()),  # the key's sequence number, from 0; null for windows
        ("count", pa.int64()),  # what a job counted up to here; null on its input
        ("window_ms", pa.int64()),  # the window's start; null where there is none
        ("worked_ms", pa.int64()),  # since 1970, by the operator's own clock when it had the record; null: not told
        ("seen_ns", pa.int64()),  # on the run's clock, by a reader that followed; null: it never saw it
    ]
)


@dataclass(frozen=True, slots=True, kw_only=True)
class GeneratorEnd:
    """What a generator that closed cleanly said of itself."""

    samples: int
    dropped: int = 0
    intended: int = 0
    last_flushed_ns: int = 0
    final_reads_complete: bool = False
    wall_ns: int = 0  # added to the run's clock it gives the time since 1970; 0: not told


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What lies behind a recording: read once, or handed over by a test."""

    samples: pa.Table
    final: pa.Table | None = None
    ends: Mapping[str, GeneratorEnd | None] = field(default_factory=dict)  # None: cut short
    notes: tuple[str, ...] = ()  # what was torn
    topics: Mapping[str, Topic] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicEnd:
    """What the reader of a topic said when it had read it: partition → offset of each kind of end.

    `end` is up to where it read, `high` the high watermark (all that is in the log), `last_stable` up to where
    transactions are settled (KIP-98); `complete`: it read as far as it was asked to;
    `late`: what it waited for in vain.
    """

    complete: bool
    records: int
    settled: bool = False
    why: str = ""
    isolation: str = "read_committed"
    late: str = ""
    end: Mapping[int, int] = field(default_factory=dict)
    last_stable: Mapping[int, int] = field(default_factory=dict)
    high: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Topic:
    """A log as it was read back: `table` has the columns of TOPIC; `end` None: its reader was cut short."""

    name: str
    table: pa.Table
    end: TopicEnd | None
    torn: str = ""

    def columns(self, *names: str) -> tuple[np.ndarray[Any, Any], ...]:
        """Return columns as numpy arrays; a null key is UNREADABLE, another null NEVER_NS."""
        return tuple(as_numpy(self.table[name]) for name in names)

    @property
    def note(self) -> str:
        """Say what is wrong with the files; empty if they are whole."""
        if self.torn:
            return f"topics/{self.torn}"
        if self.end is None:
            return f"the reader of topic {self.name} was cut short"
        rows = self.table.num_rows
        counts = f"topics/{self.name}.arrow has {rows} records, its reader counted {self.end.records}"
        return counts if rows != self.end.records else ""

    @property
    def why_unproven(self) -> str:
        """Say why this need not be every record of the log; empty if it is shown to be."""
        if self.note or self.end is None:
            return self.note
        if not self.end.complete:
            return f"{self.name} was not read to its end: {self.end.why or 'its reader stopped early'}"
        if not self.end.high:
            return f"nobody asked where {self.name} ends"
        if short := [p for p, high in self.end.high.items() if self.end.end.get(p, 0) < high and not self.open(p)]:
            part = short[0]
            return f"{self.name}/{part} was read up to {self.end.end.get(part, 0)} of {self.end.high[part]}"
        if unsettled := [p for p in self.end.high if self.open(p)]:
            stable = self.end.last_stable.get(unsettled[0], 0)
            return f"a transaction on {self.name}/{unsettled[0]} was still open at offset {stable}"
        return "" if self.end.settled else f"{self.name} was read while transactions were open"

    def open(self, partition: int) -> bool:
        """Say whether a transaction of a partition was still open when it was read."""
        if self.end is None:
            return False
        high = self.end.high.get(partition, 0)
        return self.end.last_stable.get(partition, high) < high


def as_numpy(column: pa.ChunkedArray) -> np.ndarray[Any, Any]:
    """Return a column as an array: null int64 as NEVER_NS, null int32 as UNREADABLE, other nulls as None."""
    if pa.types.is_integer(column.type):
        missing = UNREADABLE if pa.types.is_int32(column.type) else NEVER_NS
        values: np.ndarray[Any, Any] = column.fill_null(missing).to_numpy() if column.null_count else column.to_numpy()
        return values
    if pa.types.is_dictionary(column.type):
        column = column.cast(pa.string())
    plain_values: np.ndarray[Any, Any] = column.to_numpy()
    return plain_values


def read_stream(path: Path) -> tuple[pa.Table | None, str]:
    """Read an Arrow IPC stream as far as it is whole; a large one stays on disk until its columns are touched.

    Returns its table (None: not even its schema is there) and what was torn ("": nothing).
    """
    if not path.exists():
        return None, f"{path.name} is missing"
    try:
        large = path.stat().st_size > MAPPED_BYTES
        reader = pa.ipc.open_stream(pa.memory_map(str(path)) if large else pa.BufferReader(path.read_bytes()))
    except (pa.ArrowInvalid, OSError):
        return None, f"{path.name} was torn before its first batch"
    batches: list[pa.RecordBatch] = []
    torn = ""
    while True:
        try:
            batches.append(reader.read_next_batch())
        except StopIteration:
            break
        except (pa.ArrowInvalid, OSError):
            torn = f"{path.name} was torn after batch {len(batches)}"
            break
    return pa.Table.from_batches(batches, schema=reader.schema), torn


def read_facts(path: Path) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Read run.json: its facts, and what is wrong with it."""
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}, ("run.json is missing",)
    except ValueError:
        return {}, ("run.json is not JSON",)
    return (facts, ()) if isinstance(facts, dict) else ({}, ("run.json is not an object",))


def read_events(path: Path) -> tuple[tuple[Event, ...], tuple[str, ...]]:
    """Read events.jsonl: what can be read, and which lines can't."""
    lines = path.read_bytes().split(b"\n") if path.exists() else []
    events: list[Event] = []
    bad: list[int] = []
    for number, line in enumerate(lines, start=1):
        if not line:
            continue
        try:
            data = json.loads(line)
            events.append(Event(**{**data, "kind": EventKind(data["kind"])}))
        except (ValueError, TypeError, KeyError):
            bad.append(number)
    if lines and lines[-1] and (not bad or bad[-1] != len(lines)):
        bad.append(len(lines))  # whole JSON without its newline: cut there all the same
    return tuple(events), tuple(f"events.jsonl:{number}: torn or not an event" for number in bad)


def read_parts(folder: Path) -> Parts:
    """Read a recording's samples/ and topics/; RecordingError if one has other columns."""
    samples, topics = read_samples(folder / "samples"), read_topics(folder / "topics")
    notes = (*samples.notes, *(topic.note for topic in topics.values() if topic.note))
    return replace(samples, notes=notes, topics=topics)


def read_topics(folder: Path) -> dict[str, Topic]:
    """Read every topic that was read back, by its name; RecordingError if one has other columns."""
    return {path.stem: _topic(path) for path in sorted(folder.glob("*.arrow"))}


def _topic(path: Path) -> Topic:
    table, torn = read_stream(path)
    table = TOPIC.empty_table() if table is None else table
    if missing := [name for name in TOPIC.names if name not in table.column_names]:
        raise RecordingError(f"topics/{path.name} lacks the columns {', '.join(missing)}; it is of another version")
    end = read_topic_end(path.with_name(f"{path.stem}.closed.json"))
    return Topic(name=path.stem, table=table.select(TOPIC.names).cast(TOPIC), end=end, torn=torn)


def read_topic_end(path: Path) -> TopicEnd | None:
    """Read what a topic's reader said at its end; None if it did not come to it."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        offsets = {name: {int(part): int(at) for part, at in data[name].items()} for name in OFFSETS if name in data}
        return TopicEnd(**{name: data[name] for name in TopicEnd.__slots__ if name in data} | offsets)
    except (FileNotFoundError, ValueError, TypeError, KeyError, AttributeError):
        return None


def read_samples(folder: Path) -> Parts:
    """Read every stream of a recording's samples/ folder; RecordingError if one has other columns."""
    tables: list[pa.Table] = []
    finals: list[pa.Table] = []
    notes: list[str] = []
    ends: dict[str, GeneratorEnd | None] = {}
    for path in sorted(folder.glob("*.arrow")):
        table, torn = read_stream(path)
        final = path.stem.startswith("final")
        end = _read_end(path.with_name(f"{path.stem}.closed.json"))
        if torn:
            notes.append(f"samples/{torn}")
        if table is not None:
            (finals if final else tables).append(_named(table, path.stem))
        if path.stem.startswith("ramp"):
            notes.extend([] if end is not None else [f"samples/{path.name} was not closed"])
        elif not final:
            ends[path.stem] = end
        if not final:
            rows = 0 if table is None else table.num_rows
            if end is not None and end.samples != rows:
                notes.append(f"samples/{path.name} has {rows} samples, its writer counted {end.samples}")
    whole = [note for note in notes if "final" in note]
    return Parts(
        samples=_joined(tables),
        final=_joined(finals) if finals and not whole else None,
        ends=ends,
        notes=tuple(notes),
    )


def _read_end(path: Path) -> GeneratorEnd | None:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        return GeneratorEnd(**{name: data[name] for name in GeneratorEnd.__slots__ if name in data})
    except (FileNotFoundError, ValueError, TypeError, KeyError):
        return None


def _named(table: pa.Table, generator: str) -> pa.Table:
    """Bring a generator's table to the columns and types of ALL_SAMPLES."""
    missing = [name for name in SAMPLES.names if name not in table.column_names]
    if missing:
        raise RecordingError(
            f"samples/{generator}.arrow lacks the columns {', '.join(missing)}; it is of another version"
        )
    name = pa.DictionaryArray.from_arrays(np.zeros(table.num_rows, np.int32), pa.array([generator]))
    return table.select(SAMPLES.names).cast(SAMPLES).append_column(ALL_SAMPLES.field("generator"), name)


def _joined(tables: Sequence[pa.Table]) -> pa.Table:
    return pa.concat_tables(tables).unify_dictionaries() if tables else ALL_SAMPLES.empty_table()


def table_of(rows: pa.Table | Sequence[Mapping[str, Any]]) -> pa.Table:
    """Return rows as a table; what they leave out is null, or "" where a recording never has null."""
    if isinstance(rows, pa.Table):
        return rows if "generator" in rows.column_names else _named(rows, "kv-0")
    usual: dict[str, Any] = dict.fromkeys(ALL_SAMPLES.names)
    usual |= {"client": 0, "endpoint": "", "op": "get", "consistency": "", "key": "", "outcome": 0, "error": ""}
    usual["generator"] = "kv-0"
    whole = [{**usual, "intended_ns": row.get("call_ns"), **row} for row in rows]
    columns = {name: [row[name] for row in whole] for name in ALL_SAMPLES.names}
    arrays = [pa.array(columns[f.name], pa.string() if f.type == _WORD else f.type) for f in ALL_SAMPLES]
    return pa.table(dict(zip(ALL_SAMPLES.names, arrays, strict=True))).cast(ALL_SAMPLES)


def last_return_ns(samples: pa.Table, generator: str) -> int:
    """When the newest recorded operation returned: one that returned later may have been lost with the last batch."""
    own = as_numpy(samples["generator"]) == generator
    returned = as_numpy(samples["return_ns"])[own]
    return int(max(returned[returned != NEVER_NS], default=0))
