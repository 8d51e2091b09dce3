"""Logs of records in a few lines, as a reader would have read them back: for tests, ours and strangers'.

t = MadeTopics(partitions=2)
t.append("in", key=3, n=0)                      # at the next offset of partition 3 % 2
t.pipe("in", "out", windows="win")              # what a sound job makes of all of it
t.ends["out"] = {"complete": False}             # its reader stopped early; None: it was cut short
t.build()                                       # topics, each read to its end unless `ends` says otherwise
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from chaos.clock import NS
from chaos.streams import TOPIC, Topic, TopicEnd

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

PROBED = ("lag", "last-stable-lag", "flink-job-state", "flink-restarts", "checkpoints-completed", "checkpoints-failed")
MS = NS // 1000
WALL_NS = 1_700_000_000 * NS  # what a made run's clock lacks to the time since 1970, as its generators say


class MadeTopics:
    """Topics record by record; `rows` may be altered in place, to lose, double or spoil one."""

    def __init__(self, partitions: int = 2) -> None:
        self.partitions = partitions
        self.rows: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self.ends: dict[str, Mapping[str, Any] | None] = {}
        self._next: Counter[tuple[str, int]] = Counter()

    def append(self, topic: str, *, key: int | None, **columns: Any) -> dict[str, Any]:
        """Append a record and return it; what is left out is null, the partition is `key` modulo their number."""
        partition = columns.pop("partition", (key or 0) % self.partitions)
        row = {"partition": partition, "offset": self._next[topic, partition], "timestamp_ms": 0, "key": key}
        self._next[topic, partition] += 1
        self.rows[topic].append(row | columns)
        return self.rows[topic][-1]

    def mark(self, topic: str, timestamp_ms: int) -> None:
        """Append an end marker to each partition."""
        for partition in range(self.partitions):
            self.append(topic, key=-1 - partition, n=0, partition=partition, timestamp_ms=timestamp_ms)

    def pipe(
        self, source: str = "in", output: str = "out", windows: str = "", *, window_ms: int = 1000, delay_ms: int = 500
    ) -> None:
        """Let a sound job count per key, and by windows of time; each record is seen `delay_ms` after its own time.

        A fifth of that it waits until the job has it.
        """
        counts: Counter[int] = Counter()
        cells: Counter[tuple[int, int]] = Counter()
        for row in self.rows[source]:
            key, at_ms = row["key"], row["timestamp_ms"]
            counts[key] += 1
            cells[key, at_ms // window_ms * window_ms] += 1
            seen_ns = (at_ms + delay_ms) * MS
            told = {"n": row.get("n"), "count": counts[key], "timestamp_ms": at_ms, "seen_ns": seen_ns}
            told["worked_ms"] = at_ms + delay_ms // 5 + WALL_NS // MS
            self.append(output, key=key, partition=row["partition"], **told)
        for (key, start_ms), count in cells.items() if windows else ():
            self.append(windows, key=key, window_ms=start_ms, count=count, timestamp_ms=start_ms + window_ms - 1)

    def build(self) -> tuple[Topic, ...]:
        """Return the topics."""
        return tuple(self._topic(name) for name in sorted({*self.rows, *self.ends}))

    def write(self, folder: Path) -> None:
        """Write them as a reader does, below a recording's folder."""
        for topic in self.build():
            (folder / "topics").mkdir(exist_ok=True)
            path = folder / "topics" / f"{topic.name}.arrow"
            with pa.ipc.new_stream(path, TOPIC) as stream:
                stream.write_table(topic.table)
            if topic.end is not None:
                path.with_suffix(".closed.json").write_text(json.dumps(asdict(topic.end)))

    def _topic(self, name: str) -> Topic:
        rows = [{**dict.fromkeys(TOPIC.names), **row} for row in self.rows[name]]
        told = self.ends.get(name, {})
        ends = {partition: self._next[name, partition] for partition in range(self.partitions)}
        sound = {
            "complete": True,
            "settled": True,
            "records": len(rows),
            "end": ends,
            "last_stable": ends,
            "high": ends,
        }
        end = None if told is None else TopicEnd(**{**sound, **told})
        return Topic(name=name, table=pa.Table.from_pylist(rows, schema=TOPIC), end=end)
