"""How long does the ledger take, and how much memory? A row a size: a run on disk, judged in a fresh process.

    python benchmarks/ledger.py [--most 10000000] [--keys 40]

As many records as the row says went in, were acknowledged and came out again, counted, and in windows of a second;
2,000 a second, four partitions. Times include reading the files; the greatest resident set those that are mapped.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from chaos.model import Outcome
from chaos.recording import Recording
from chaos.streams import SAMPLES, TOPIC
from gates.ledger import Ledger

SIZES = (1_000_000, 10_000_000)
PARTITIONS, PER_S, BATCH = 4, 2_000, 50_000
SOUND = Ledger(output="out", windows="win")
Column = np.ndarray[Any, Any]
Columns = dict[str, Column]


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--most", type=int, default=SIZES[-1], help="the greatest number of records")
    options.add_argument("--keys", type=int, default=40)
    options.add_argument("--judge", type=Path, help=argparse.SUPPRESS)
    asked = options.parse_args()
    if asked.judge:
        print(json.dumps(judged(asked.judge)))
        return
    print(f"{'records':>12} {'keys':>7} {'seconds':>9} {'records/s':>12} {'CPU s':>7} {'peak RSS':>10}  verdict")
    for records in (size for size in SIZES if size <= asked.most):
        with tempfile.TemporaryDirectory() as folder:
            make(Path(folder), records, asked.keys)
            row(Path(folder), records, asked.keys)


def row(folder: Path, records: int, keys: int) -> None:
    """Print what a fresh process says of a run."""
    done = subprocess.run([sys.executable, __file__, "--judge", folder], capture_output=True, text=True, check=True)
    said = json.loads(done.stdout)
    rate, gigabytes = records / said["seconds"], said["peak_bytes"] / 1e9
    spent = f"{said['seconds']:9.2f} {rate:12,.0f} {said['cpu_s']:7.2f} {gigabytes:7.2f} GB"
    print(f"{records:12,} {keys:7,} {spent}  {said['verdict']}", flush=True)


def judged(folder: Path) -> dict[str, Any]:
    """Open and judge a run."""
    begin = time.perf_counter()
    verdict = SOUND.judge(Recording.open(folder))
    seconds = time.perf_counter() - begin
    used = resource.getrusage(resource.RUSAGE_SELF)
    told = {"seconds": seconds, "cpu_s": used.ru_utime + used.ru_stime, "peak_bytes": used.ru_maxrss * 1024}
    return told | {"verdict": f"{verdict.status.name}: {verdict.summary}"}


# ---------------------------------------------------------------- a sound run


def make(folder: Path, records: int, keys: int) -> None:
    """Write a sound run, batch by batch."""
    for name in ("samples", "topics"):
        (folder / name).mkdir()
    (folder / "run.json").write_text("{}")
    (folder / "events.jsonl").write_text('{"at_ns": 1, "kind": "run", "detail": "complete"}\n')
    rng, sequence, offset = np.random.default_rng(1), np.zeros(keys, np.int64), np.zeros(PARTITIONS, np.int64)
    with Writer(folder, "in") as source, Writer(folder, "out") as output, samples(folder) as sent:
        for start in range(0, records, BATCH):
            batch = records_of(rng, sequence, offset, start, min(BATCH, records - start))
            source.write(batch)
            output.write(batch | {"count": batch["n"] + 1, "seen_ns": batch["timestamp_ms"] * 1_000_000})
            sent.write_batch(sample_batch(batch))
        source.write(markers(offset, records))
    closed = {"samples": records, "dropped": 0, "intended": records, "last_flushed_ns": 0, "final_reads_complete": True}
    (folder / "samples/records-0.closed.json").write_text(json.dumps(closed))
    windows(folder)


def records_of(rng: np.random.Generator, sequence: Column, offset: Column, start: int, count: int) -> Columns:
    """Return the next records, and go on counting in `sequence` and `offset`."""
    key = rng.integers(0, len(sequence), count).astype(np.int32)
    partition = (key % PARTITIONS).astype(np.int16)
    at_ms = (start + np.arange(count)) * 1000 // PER_S
    return {
        "partition": partition,
        "offset": nth(partition, offset),
        "timestamp_ms": at_ms,
        "key": key,
        "n": nth(key, sequence),
    }


def nth(of: Column, counters: Column) -> Column:
    """Return each one's number among its like, going on from `counters`, which are moved."""
    by = np.argsort(of, kind="stable")
    ordered = of[by]
    number = np.empty(len(of), np.int64)
    number[by] = np.arange(len(of)) - np.searchsorted(ordered, ordered) + counters[ordered]
    counters += np.bincount(of, minlength=len(counters))
    return number


def markers(offset: Column, records: int) -> Columns:
    """Return an end marker for each partition, an hour later."""
    part = np.arange(PARTITIONS)
    late = np.full(PARTITIONS, records * 1000 // PER_S + 3_600_000)
    told = {"partition": part.astype(np.int16), "offset": offset.copy(), "timestamp_ms": late}
    offset += 1
    return told | {"key": (-1 - part).astype(np.int32), "n": np.zeros(PARTITIONS, np.int64)}


class Writer:
    """A topic's files."""

    def __init__(self, folder: Path, name: str) -> None:
        self.path = folder / "topics" / f"{name}.arrow"
        self.stream = pa.ipc.new_stream(self.path, TOPIC)
        self.rows, self.ends = 0, np.zeros(PARTITIONS, np.int64)

    def write(self, columns: Columns) -> None:
        count = len(columns["partition"])
        arrays = [
            pa.array(columns[one.name], one.type) if one.name in columns else pa.nulls(count, one.type) for one in TOPIC
        ]
        self.stream.write_batch(pa.RecordBatch.from_arrays(arrays, schema=TOPIC))
        np.maximum.at(self.ends, columns["partition"], columns["offset"] + 1)
        self.rows += count

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stream.close()
        ends = {str(part): int(end) for part, end in enumerate(self.ends)}
        told = {"complete": True, "why": "", "isolation": "read_committed", "settled": True, "records": self.rows}
        told |= dict.fromkeys(("end", "last_stable", "high"), ends)
        self.path.with_suffix(".closed.json").write_text(json.dumps(told))


def samples(folder: Path) -> Any:
    return pa.ipc.new_stream(folder / "samples/records-0.arrow", SAMPLES)


def sample_batch(batch: Columns) -> pa.RecordBatch:
    """Return what the producer keeps of a batch, each acknowledged after 2 ms."""
    count, call_ns = len(batch["n"]), batch["timestamp_ms"] * 1_000_000
    words = {
        "endpoint": [f"in/{part}" for part in range(PARTITIONS)],
        "op": ["produce"],
        "consistency": [""],
        "error": [""],
    }
    index = {"endpoint": batch["partition"].astype(np.int32)}
    made: dict[str, Any] = {
        name: pa.DictionaryArray.from_arrays(index.get(name, np.zeros(count, np.int32)), pa.array(kinds))
        for name, kinds in words.items()
    }
    made |= {"intended_ns": call_ns, "call_ns": call_ns, "return_ns": call_ns + 2_000_000, "revision": batch["offset"]}
    made |= {"client": np.zeros(count, np.int32), "outcome": np.full(count, int(Outcome.OK), np.int8)}
    made |= {"key": pa.array(batch["key"]).cast(pa.string()), "value": pa.array(batch["n"]).cast(pa.string())}
    arrays = [_column(made.get(one.name), one.type, count) for one in SAMPLES]
    return pa.RecordBatch.from_arrays(arrays, schema=SAMPLES)


def _column(values: Any, kind: pa.DataType, count: int) -> pa.Array:
    if values is None:
        return pa.nulls(count, kind)
    return pa.array(values, kind) if isinstance(values, np.ndarray) else values


def windows(folder: Path) -> None:
    """Write the windows of a second that the input makes."""
    topic = Recording.open(folder).topic("in")
    assert topic is not None
    key, at_ms = topic.columns("key", "timestamp_ms")
    cell, count = np.unique(at_ms[key >= 0] // 1000 * 100_000 + key[key >= 0], return_counts=True)
    key, offset = (cell % 100_000).astype(np.int32), np.zeros(PARTITIONS, np.int64)
    partition = (key % PARTITIONS).astype(np.int16)
    told = {"partition": partition, "offset": nth(partition, offset), "timestamp_ms": cell // 100_000 * 1000 + 999}
    with Writer(folder, "win") as stream:
        stream.write(told | {"key": key, "window_ms": cell // 100_000 * 1000, "count": count})


if __name__ == "__main__":
    main()
