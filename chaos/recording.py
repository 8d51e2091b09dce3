"""A run on disk: appended while it happens, read back whole or cut short.

    events.jsonl      a line an event, one write(2) each      ┐ a SIGKILL of the writer costs
    readings.arrow    Arrow IPC stream, a batch ≤ 0.5 s       ┤ at most the torn last line or
    samples/*.arrow   the same, one writer a generator        ┤ batch; readers step over it
    topics/*.arrow    the same, one a log that was read back  ┘
    run.json          facts, replaced as a whole

A full disk is the harness's trouble, never the judged system's: writing raises RecordingError, what could not be
written whole is cut off again, and a reserve given back then lets the heals and the verdict be recorded still.
A recording says itself whether it is complete, and why not. Nothing here judges.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import threading
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pyarrow as pa

from chaos.errors import RecordingError
from chaos.loads import apart
from chaos.model import Event, Reading, to_json
from chaos.room import CAP_BYTES, FREE_BYTES_MIN
from chaos.streams import (
    END_OF_STREAM,
    READINGS,
    GeneratorEnd,
    Parts,
    Topic,
    as_numpy,
    last_return_ns,
    read_events,
    read_facts,
    read_parts,
    read_stream,
    table_of,
)
from chaos.windows import Windows, why_ended, windows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from chaos.model import Experiment

FLUSH_S = 0.4
RESERVE_BYTES = 1 << 20


# ---------------------------------------------------------------- writing


class _Appended:
    """A file that grows by whole pieces: one that can't be written whole leaves nothing behind."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        self._end = os.fstat(self._fd).st_size

    def append(self, piece: bytes) -> None:
        rest = memoryview(piece)
        try:
            while rest:
                rest = rest[os.write(self._fd, rest) :]
        except OSError:
            os.ftruncate(self._fd, self._end)
            raise
        self._end += len(piece)

    def close(self) -> None:
        os.close(self._fd)


class Recorder:
    """Writes a recording into `folder`, which it makes. Safe to call from any thread.

    `cap_bytes` bounds the folder, `free_bytes_min` is what stays free on its disk; `check_space` enforces both.
    """

    def __init__(self, folder: Path, *, cap_bytes: int = CAP_BYTES, free_bytes_min: int = FREE_BYTES_MIN) -> None:
        self.folder = folder
        self._cap_bytes = cap_bytes
        self._free_bytes_min = free_bytes_min
        self._facts: dict[str, Any] = {}
        self._waiting: list[Reading] = []
        self._trouble = ""
        self._told = False
        self._lock = threading.Lock()
        self._closing = threading.Event()
        try:
            for name in ("samples", "logs", "evidence"):
                (folder / name).mkdir(parents=True, exist_ok=True)
            self._set_aside()
            self._events = _Appended(folder / "events.jsonl")
            self._readings = _Appended(folder / "readings.arrow")
            self._readings.append(READINGS.serialize().to_pybytes())
        except OSError as error:
            raise RecordingError(
                f"{folder}: a recording can't be begun: {error.strerror}; give another --runs folder"
            ) from error
        self._flusher = threading.Thread(target=self._flush_on, name="readings", daemon=True)
        self._flusher.start()

    def event(self, event: Event) -> None:
        """Append one event; RecordingError if the disk is full or gone."""
        line = json.dumps(plain(event), ensure_ascii=False, separators=(",", ":")) + "\n"
        with self._lock:
            self._written(lambda: self._events.append(line.encode()))
            self._tell()

    def reading(self, reading: Reading) -> None:
        """Append one reading with the next batch; RecordingError if an earlier batch could not be written."""
        with self._lock:
            self._waiting.append(reading)
            self._tell()

    def run(self, **facts: Any) -> None:
        """Add facts to run.json, which is replaced as a whole."""
        with self._lock:
            self._facts |= plain(facts)
            text = json.dumps(self._facts, indent=1) + "\n"
            self._written(lambda: write_whole(self.folder / "run.json", text))
            self._tell()

    def check_space(self) -> None:
        """RecordingError if a write failed, the recording is over its cap, or too little of the disk is free."""
        if why := self.why_no_space():
            raise RecordingError(why)

    def why_no_space(self, free_bytes_min: int | None = None) -> str:
        """Say why the run can't go on being recorded; empty if it can."""
        if self._trouble:
            return self._trouble
        size = sum(path.lstat().st_size for path in self.folder.rglob("*") if path.is_file())
        if size > self._cap_bytes:
            return f"{self.folder}: the recording is {size:,} bytes, its cap is {self._cap_bytes:,}; shorten the run"
        disk = os.statvfs(self.folder)
        free, kept = disk.f_bavail * disk.f_frsize, self._free_bytes_min if free_bytes_min is None else free_bytes_min
        return f"{self.folder}: {free:,} bytes are free, {kept:,} must stay so; make room" if free < kept else ""

    def close(self) -> None:
        """Flush and close; idempotent. RecordingError if the last batch could not be written."""
        if self._closing.is_set():
            return
        self._closing.set()
        self._flusher.join()
        try:
            with self._lock:
                self._flush()
                self._written(lambda: self._readings.append(END_OF_STREAM))
        finally:
            self._events.close()
            self._readings.close()
            self._give_back()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _flush_on(self) -> None:
        while not self._closing.wait(FLUSH_S):
            with self._lock, contextlib.suppress(RecordingError):  # kept in _trouble: the next call raises it
                self._flush()

    def _flush(self) -> None:
        if not self._waiting:
            return
        batch = pa.RecordBatch.from_pylist([to_json(reading) for reading in self._waiting], schema=READINGS)
        self._written(lambda: self._readings.append(batch.serialize().to_pybytes()))
        self._waiting.clear()

    def _written(self, write: Callable[[], None]) -> None:
        """Write, on a full disk from the reserve; RecordingError if even that does not do."""
        try:
            write()
        except OSError as error:
            self._trouble = f"{self.folder}: can't be written: {error.strerror}; make room and run again"
            if error.errno not in {errno.ENOSPC, errno.EDQUOT} or not self._give_back():
                raise RecordingError(self._trouble) from error
            self._written(write)

    def _tell(self) -> None:
        """Raise what went wrong once; check_space goes on raising it."""
        if self._trouble and not self._told:
            self._told = True
            raise RecordingError(self._trouble)

    def _set_aside(self) -> None:
        with (self.folder / ".reserve").open("wb") as reserve, contextlib.suppress(OSError):
            os.posix_fallocate(reserve.fileno(), 0, RESERVE_BYTES)

    def _give_back(self) -> bool:
        with contextlib.suppress(FileNotFoundError):
            (self.folder / ".reserve").unlink()
            return True
        return False


def write_whole(path: Path, text: str) -> None:
    """Replace a file by a new content; readers see the old one or the new one, never half."""
    draft = path.with_name(f".{path.name}.draft")
    try:
        draft.write_text(text, encoding="utf-8")
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def plain(value: Any) -> Any:
    """Return JSON data that every reader takes: numpy scalars as Python's, what is not finite as null, else as text."""
    value = to_json(value)
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return value if np.isfinite(value) else None
    return value if value is None or isinstance(value, bool | int | str) else str(value)


# ---------------------------------------------------------------- reading


@dataclass(frozen=True, kw_only=True)  # no slots: what is read lazily is kept in the instance
class Recording:
    """A run as arrays and events. `open` reads a folder, `of` makes one from values.

    `samples` has the columns of SAMPLES and `generator`; `final` the reads after the drain, None if there are none.
    """

    folder: Path | None
    run: Mapping[str, Any]
    events: tuple[Event, ...]
    notes: tuple[str, ...] = ()
    _given: Parts | None = None
    _readings: tuple[Reading, ...] | None = None
    _logs: Mapping[str, str] | None = None
    _experiment: Experiment | None = None
    _complete: bool | None = None

    @classmethod
    def open(cls, folder: Path) -> Recording:
        """Read a run's folder; RecordingError if it is none."""
        if not (folder / "events.jsonl").exists() and not (folder / "run.json").exists():
            raise RecordingError(
                f"{folder}: no recording: neither events.jsonl nor run.json is there; give a run's folder"
            )
        run, run_notes = read_facts(folder / "run.json")
        events, event_notes = read_events(folder / "events.jsonl")
        return cls(folder=folder, run=run, events=events, notes=run_notes + event_notes)

    @classmethod
    def of(
        cls,
        *,
        events: Iterable[Event] = (),
        samples: pa.Table | Sequence[Mapping[str, Any]] = (),
        readings: Iterable[Reading] = (),
        run: Mapping[str, Any] | None = None,
        complete: bool = True,
        final: pa.Table | Sequence[Mapping[str, Any]] | None = None,
        ends: Mapping[str, GeneratorEnd | None] | None = None,
        logs: Mapping[str, str] | None = None,
        experiment: Experiment | None = None,
        topics: Iterable[Topic] = (),
    ) -> Recording:
        """Make a recording in memory; `samples` and `final` are tables, or rows with the columns that matter."""
        looked_back = None if final is None else table_of(final)
        logs_read = {topic.name: topic for topic in topics}
        parts = Parts(samples=table_of(samples), final=looked_back, ends={} if ends is None else ends, topics=logs_read)
        return cls(
            folder=None,
            run={} if run is None else run,
            events=tuple(events),
            _given=parts,
            _readings=tuple(readings),
            _logs={} if logs is None else logs,
            _experiment=experiment,
            _complete=complete,
        )

    @cached_property
    def parts(self) -> Parts:
        """Every sample stream and every topic, read once."""
        return self._given if self._given is not None else read_parts(self._place)

    @property
    def samples(self) -> pa.Table:
        """Every operation of every generator, final reads apart."""
        return self.parts.samples

    @property
    def final(self) -> pa.Table | None:
        """The reads after the drain; None if there are none."""
        return self.parts.final

    def topic(self, name: str) -> Topic | None:
        """Return a log as it was read back after the drain; None if it was not."""
        return self.parts.topics.get(name)

    @property
    def ends(self) -> Mapping[str, GeneratorEnd | None]:
        """Generator → what it said when it closed, None if it was cut short."""
        return self.parts.ends

    @property
    def final_complete(self) -> bool:
        """Every generator says that it read all of its write-once keys, and these reads are here."""
        ends = self.ends.values()
        return self.final is not None and bool(ends) and all(e is not None and e.final_reads_complete for e in ends)

    @cached_property
    def readings(self) -> tuple[Reading, ...]:
        """Every probe's answer, in the order written."""
        if self._readings is not None:
            return self._readings
        table, _ = self._probed
        return () if table is None else tuple(Reading(**row) for row in table.to_pylist())

    @cached_property
    def _probed(self) -> tuple[pa.Table | None, str]:
        """The stream of readings as far as it is whole, and what was torn."""
        return read_stream(self._place / "readings.arrow")

    @cached_property
    def logs(self) -> Mapping[str, str]:
        """File name under logs/ → its text."""
        if self._logs is not None:
            return self._logs
        files = sorted((self._place / "logs").glob("*.log"))
        return {path.name: path.read_text(encoding="utf-8", errors="replace") for path in files}

    @cached_property
    def windows(self) -> Windows:
        """Steady, fault and recovery spans."""
        return windows(self.events)

    @cached_property
    def experiment(self) -> Experiment:
        """The experiment as it was run; RecordingError if it is not in the recording."""
        if self._experiment is not None:
            return self._experiment
        path = self._place / "experiment.yaml"
        if self.folder is None or not path.exists():
            raise RecordingError(f"{path}: the recording has no experiment; judge it with --gates FILE")
        from chaos.spec import load_text  # noqa: PLC0415  # reading YAML costs, and most readers don't ask

        return load_text(path.read_text(encoding="utf-8"), str(path))

    @property
    def complete(self) -> bool:
        """The run came to its planned end and everything that it recorded can be read."""
        return not self.why_incomplete

    @cached_property
    def why_incomplete(self) -> tuple[str, ...]:
        """Return a sentence for each reason; empty if the recording is complete."""
        if self._complete is not None:
            return () if self._complete else ("the recording was cut short",)
        cut = tuple(f"generator {name} was cut short" for name in self.cut_short)
        standing = ("the harness died before its target was gone",) if self.run.get("torn_down") is False else ()
        torn = tuple(note for note in (*self.notes, *self.parts.notes, self._probed[1]) if note)
        return why_ended(self.events) + standing + torn + cut

    @cached_property
    def cut_short(self) -> Mapping[str, int]:
        """Generator that never closed → the time up to which its operations are known to be recorded, in ns."""
        return {name: last_return_ns(self.samples, name) for name, end in self.ends.items() if end is None}

    @cached_property
    def loads(self) -> Mapping[str, Recording]:
        """Workload → what that load of the run saw, the experiment's own first; the whole, if there was one load."""
        return apart(self)

    def columns(self, *names: str) -> tuple[np.ndarray[Any, Any], ...]:
        """Return columns of `samples` as numpy arrays; a null time is NEVER_NS, a null text None."""
        return tuple(as_numpy(self.samples[name]) for name in names)

    @property
    def _place(self) -> Path:
        return self.folder if self.folder is not None else Path("a recording in memory")
