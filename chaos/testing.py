"""Recordings in a few lines, a clock that never sleeps, and what every gate must do: for tests, ours and strangers'.

b = RecordingBuilder()
b.traffic(8)                                    # steady, t = 0 … 8 s
with b.fault("cut", "etcd1"):                   # asked, confirmed … healed, proved
    b.traffic(4, unknown_share=0.2)
b.traffic(10)
b.produce(3)                                    # a record of key 3, acknowledged and in the log "in"
b.topics.pipe()                                 # what a sound job makes of it, in "out": chaos/made.py
recording = b.build()                           # complete: drained, final reads, versions read again

check_gate(Latency(limit_s=0.4))                # says no where it must, raises nowhere
check_fault(…)  check_target(…)  check_stack(…)  # the same for whatever else can be added: chaos/conformance.py
"""

from __future__ import annotations

import json
from collections import Counter
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from chaos.clock import NS, ns
from chaos.conformance import assert_frozen, check_fault, check_stack, check_target
from chaos.made import MS, PROBED, WALL_NS, MadeTopics
from chaos.model import (
    Event,
    EventKind,
    Evidence,
    LoadStatus,
    Outcome,
    Proof,
    Reading,
    Signal,
    Status,
    Verdict,
    to_json,
)
from chaos.recording import Recorder, Recording
from chaos.streams import SAMPLES, GeneratorEnd

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from chaos.model import Action
    from chaos.ports import Gate

__all__ = [
    "NODES",
    "RUN_ID",
    "FakeClock",
    "RecordingBuilder",
    "check_fault",
    "check_gate",
    "check_stack",
    "check_target",
]

NODES = ("etcd1", "etcd2", "etcd3")
RUN_ID = "run"


class FakeClock:
    """A clock that goes only where it is told; `sleep_until` arrives at once."""

    def __init__(self, now_ns: int = 1_000 * NS) -> None:
        self._now_ns = now_ns
        self._woken = False

    def now_ns(self) -> int:
        """Return the time last arrived at."""
        return self._now_ns

    def advance(self, by_s: float) -> None:
        """Let time pass."""
        self._now_ns += ns(by_s)

    def sleep_until(self, at_ns: int) -> bool:
        """Arrive at `at_ns`; False, and no time passes, once `wake` was called."""
        if not self._woken:
            self._now_ns = max(self._now_ns, at_ns)
        return not self._woken

    def wake(self) -> None:
        """End all later sleeps early."""
        self._woken = True


class RecordingBuilder:
    """Makes a recording step by step, time passing with `traffic`. Times are exact; chance is seeded."""

    def __init__(self, *, rate_per_s: float = 200, version: str = "3.5.35", seed: int = 1, begin: bool = True) -> None:
        self.clock = FakeClock()
        self.rate_per_s = rate_per_s
        self.version = version
        self.events: list[Event] = []
        self.samples: list[dict[str, Any]] = []
        self.final: list[dict[str, Any]] = []
        self.readings: list[Reading] = []
        self.logs: dict[str, str] = {}
        self.topics = MadeTopics()
        load = {"rate_per_s": rate_per_s, "closed_loop": False}
        self.run: dict[str, Any] = {"load": load, "experiment": "made", "stack": "etcd"}
        self._rng = np.random.default_rng(seed)
        self._counts = {"ok": 0, "failed": 0, "unknown": 0, "dropped": 0}
        self._keys = 0
        self._sequence: Counter[int] = Counter()
        self._ended = False
        if begin:
            self.begin()

    def begin(self) -> None:
        """Set up, read the versions, ramp, and arrive at t = 0."""
        self.event(EventKind.RUN, "begin")
        self.phase("set-up")
        self.versions("start")
        for node in NODES:
            self.process(node, "started")
        self.phase("load")
        self.phase("warm-up")
        self.load()
        self.phase("steady")

    # ------------------------------------------------------------ events

    def event(self, kind: EventKind, detail: str = "", **rest: Any) -> None:
        """Add an event, now unless `at_ns` says otherwise."""
        at_ns = rest.pop("at_ns", self.clock.now_ns())
        self.events.append(Event(at_ns=at_ns, kind=kind, detail=detail, **rest))

    def phase(self, name: str) -> None:
        """Enter a phase."""
        self.event(EventKind.PHASE, name)

    def versions(self, when: str, *, version: str = "", sha256: str = "aa", nodes: Sequence[str] = NODES) -> None:
        """Let each node say which version it is."""
        for node in nodes:
            data = {"version": version or self.version, "sha256": sha256, "asked": self.version, "when": when}
            self.event(EventKind.VERSION, node=node, data=data)

    def process(self, node: str, detail: str, *, starts: int = 1, exit_code: int | None = None, pid: int = 100) -> None:
        """Let a process start or end now; as in a lab, it has a log."""
        self.logs.setdefault(f"{node}-etcd.log", "")
        data = {"node": node, "name": "etcd", "pid": pid + starts, "starts": starts, "exit_code": exit_code}
        times = {"started_ns": self.clock.now_ns(), "ended_ns": None if exit_code is None else self.clock.now_ns()}
        self.event(EventKind.PROCESS, detail, node=node, data=data | times)

    def load(self, **rest: Any) -> None:
        """Let the generator tell its counts."""
        offered = rest.pop("offered_per_s", self.rate_per_s)
        status = LoadStatus(at_ns=self.clock.now_ns(), running=True, offered_per_s=offered, **rest)
        self.event(EventKind.LOAD, data=to_json(status) | self._counts)

    def reading(self, name: str, node: str, value: float | None, **rest: Any) -> None:
        """Add a probe's answer."""
        self.readings.append(Reading(name=name, node=node, at_ns=self.clock.now_ns(), value=value, **rest))

    def replicas(
        self, number: int, hashes: Mapping[str, float | None], *, quiet: bool = False, revision: int = 0
    ) -> None:
        """Add one comparison of the replicas; a hash of None did not answer."""
        said = {"round": number, "at_revision": revision or 1000 + number, "compact_revision": 1, "quiet": quiet}
        for node, value in hashes.items():
            self.reading("replica", node, value, why="" if value is not None else "timeout", text=json.dumps(said))

    # ------------------------------------------------------------ faults

    @contextmanager
    def fault(
        self,
        step: str,
        *victims: str,
        occurrence: int = 0,
        action: Action | None = None,
        confirmed: Proof | None = Proof.CONFIRMED,
        healed: Proof | None = Proof.CONFIRMED,
    ) -> Iterator[None]:
        """Inject now and heal at the block's end; None: no evidence at all."""
        action = Signal() if action is None else action
        place: dict[str, Any] = {"step": step, "occurrence": occurrence}
        data = {"victims": list(victims), "candidates": list(NODES), "actions": [to_json(action)]}
        told = {"action": action.kind, **place}
        self.event(EventKind.INJECT, f"{action.kind} on {', '.join(victims)}", data=data, **place)
        self._evidence(EventKind.CONFIRM, victims, confirmed, **told)
        yield
        self.event(EventKind.HEAL, "asked", **place)
        self._evidence(EventKind.HEAL, victims, healed, **told)

    def _evidence(self, kind: EventKind, victims: Sequence[str], proof: Proof | None, **told: Any) -> None:
        for victim in victims:
            if proof is not None:
                self.evidence(kind, kind.value, victim, proof, **told)

    def evidence(
        self, kind: EventKind, phase: str, victim: str, proof: Proof, *, action: str = "signal", **place: Any
    ) -> None:
        """Add one piece of evidence, effective now."""
        now = self.clock.now_ns()
        told = Evidence(
            at_ns=now,
            phase=phase,
            subject=victim,
            action=action,
            proof=proof,
            detail=f"{phase}: {proof}",
            effective_ns=now,
        )
        self.event(kind, told.detail, node=victim, data=to_json(told), **place)

    # ------------------------------------------------------------ traffic

    def traffic(
        self,
        for_s: float,
        *,
        rate_per_s: float | None = None,
        latency_s: float = 0.005,
        failed_share: float = 0.0,
        unknown_share: float = 0.0,
        dropped_share: float = 0.0,
        **load: Any,
    ) -> None:
        """Let clients read for a while; `load` are further fields of the generator's statuses, one a second."""
        rate = self.rate_per_s if rate_per_s is None else rate_per_s
        end_ns = self.clock.now_ns() + ns(for_s)
        while self.clock.now_ns() < end_ns:
            span_s = min(1.0, (end_ns - self.clock.now_ns()) / NS)
            self._second(span_s, rate, latency_s, (failed_share, unknown_share, dropped_share))
            self.clock.advance(span_s)
            self.load(**load)

    def _second(self, span_s: float, rate: float, latency_s: float, shares: tuple[float, float, float]) -> None:
        failed, unknown, dropped = np.cumsum(shares)
        arrivals = round(span_s * rate)
        for place, chance in enumerate(self._rng.random(arrivals)):
            at_ns = self.clock.now_ns() + place * ns(span_s) // arrivals
            if unknown <= chance < dropped:
                self._counts["dropped"] += 1
                continue
            outcome = Outcome.FAILED if chance < failed else Outcome.UNKNOWN if chance < unknown else Outcome.OK
            self.sample(outcome=outcome, call_ns=at_ns, return_ns=at_ns + ns(latency_s))

    def sample(self, *, outcome: Outcome = Outcome.OK, **columns: Any) -> None:
        """Add one operation, by default a read of an absent register that takes 1 ms from now."""
        now = self.clock.now_ns()
        usual = {"op": "get", "consistency": "linearizable", "key": f"{RUN_ID}/r/0", "endpoint": "etcd1:2379"}
        times = {"call_ns": now, "return_ns": now + ns(0.001)}
        row = {**usual, **times, **columns, "outcome": int(outcome)}
        row["return_ns"] = None if outcome is Outcome.UNKNOWN else row["return_ns"]
        self.samples.append(row)
        self._counts[outcome.name.lower()] += 1

    def put_once(
        self, *, outcome: Outcome = Outcome.OK, read: str | None = "", revision: int | None = 7, look: bool = True
    ) -> str:
        """Put a write-once key and look at it after the drain; `read` "": what was put. Return the key."""
        key, value = f"{RUN_ID}/o/{self._keys}", f"v{self._keys}"
        self._keys += 1
        self.sample(outcome=outcome, op="put", consistency="", key=key, value=value, revision=revision)
        if look:
            found = value if read == "" else read
            self.final.append({"op": "get", "consistency": "linearizable", "key": key, "value": found, "call_ns": 0})
        return key

    def produce(self, key: int, *, outcome: Outcome = Outcome.OK, topic: str = "in", logged: bool = True) -> int:
        """Send the key's next record, which is in the log if `logged`; return its sequence number."""
        now, number = self.clock.now_ns(), self._sequence[key]
        self._sequence[key] += 1
        row = self.topics.append(topic, key=key, n=number, timestamp_ms=now // MS) if logged else {}
        place = {"endpoint": f"{topic}/{key % self.topics.partitions}", "revision": row.get("offset")}
        self.sample(outcome=outcome, op="produce", consistency="", key=str(key), value=str(number), **place)
        return number

    # ------------------------------------------------------------ the end

    def end(self, how: str = "complete") -> None:
        """Drain, read again, tear down."""
        self._ended = True
        for phase in ("drain", "final reads"):
            self.phase(phase)
        self.versions("end")
        self.phase("tear-down")
        self.event(EventKind.RUN, how)

    def build(self, *, complete: bool = True, final_complete: bool = True, end: bool = True) -> Recording:
        """Return the recording; `complete` False: the generator was cut short and the harness died."""
        if end and complete and not self._ended:
            self.end()
        count, dropped = len(self.samples), self._counts["dropped"]
        closed = GeneratorEnd(samples=count, dropped=dropped, final_reads_complete=final_complete, wall_ns=WALL_NS)
        return Recording.of(
            events=self.events,
            samples=self.samples,
            readings=self.readings,
            run=self.run,
            complete=complete,
            final=self.final,
            ends={"kv-0": closed if complete else None},
            logs=self.logs,
            topics=self.topics.build(),
        )

    def write(self, folder: Path, experiment: str = "", **build: bool) -> Path:
        """Write it to disk as a run does, with the text of its experiment file; `build` as for `build`."""
        recording = self.build(**build)
        with Recorder(folder, free_bytes_min=0) as recorder:
            recorder.run(**recording.run)
            for event in recording.events:
                recorder.event(event)
            for reading in recording.readings:
                recorder.reading(reading)
        if experiment:
            (folder / "experiment.yaml").write_text(experiment, encoding="utf-8")
        for name, end in recording.ends.items():
            _write_samples(folder / f"samples/{name}.arrow", recording.samples, end)
        if recording.final is not None:
            _write_samples(folder / "samples/final-0.arrow", recording.final)
        self.topics.write(folder)
        for name, text in recording.logs.items():
            (folder / "logs" / name).write_text(text, encoding="utf-8")
        return folder


def _write_samples(path: Path, samples: pa.Table, end: GeneratorEnd | None = None) -> None:
    with pa.ipc.new_stream(path, SAMPLES) as stream:
        stream.write_table(samples.select(SAMPLES.names).cast(SAMPLES))
    if end is not None:
        path.with_suffix(".closed.json").write_text(json.dumps(asdict(end)))


# ---------------------------------------------------------------- what every gate must do


def check_gate(gate: Gate) -> None:
    """Assert what judge.py, the YAML reader and the report rely on; AssertionError says what is wrong.

    A gate is a frozen dataclass; it says INCONCLUSIVE of a recording with nothing in it, never raises on one that was
    cut short anywhere, gives the same answer twice, and puts only numbers into it that JSON knows.
    """
    name = type(gate).__name__
    assert_frozen(gate)
    empty = gate.judge(Recording.of())
    assert empty.status is Status.INCONCLUSIVE, (
        f"{name} says {empty.status.name} of an empty recording: {empty.summary}"
    )
    for what, recording in _pieces().items():
        verdict = _judged(gate, recording, what)
        assert verdict.summary, f"{name}, {what}: a verdict needs a sentence"
        json.dumps(to_json(verdict), allow_nan=False)
        assert to_json(gate.judge(recording)) == to_json(verdict), f"{name}, {what}: a second look sees something else"


def _judged(gate: Gate, recording: Recording, what: str) -> Verdict:
    try:
        return gate.judge(recording)
    except Exception as error:  # a stranger's gate may raise anything; it is named
        raise AssertionError(f"{type(gate).__name__} raises {error!r} on a recording: {what}") from error


def _pieces() -> dict[str, Recording]:
    """Return recordings that ended anywhere."""
    builder = RecordingBuilder(rate_per_s=50)
    made = {"ended before any traffic": builder.build(complete=False)}
    builder.traffic(2)
    builder.put_once()
    made["ended in the steady window"] = builder.build(complete=False)
    with builder.fault("kill", "etcd1"):
        builder.traffic(0.5, unknown_share=1.0)
        made["ended in a fault"] = builder.build(complete=False)
    made["ended as the fault did"] = builder.build(complete=False)
    builder.traffic(1)
    made["ended in recovery"] = builder.build(complete=False)
    made["complete"] = builder.build()
    return made | _logged()


def _logged() -> dict[str, Recording]:
    """Return recordings of a job between two logs, with its probes' answers, that ended anywhere."""
    builder, made = RecordingBuilder(), {}
    for place in ("the steady window", "a fault", "recovery"):
        with builder.fault("kill", "etcd1") if place == "a fault" else nullcontext():
            for key in range(3):
                builder.produce(key)
            for name in PROBED:
                builder.reading(name, "", 1.0, text="in")
                builder.reading(name, "", None, why="timeout")
            builder.clock.advance(1)
            made[f"of logs, ended in {place}"] = builder.build(complete=False)
    builder.topics.pipe(windows="win")
    builder.topics.ends["out"] = None
    made["ended while a log was read back"] = builder.build(complete=False)
    builder.topics.ends["out"] = {}
    made["of logs, complete"] = builder.build()
    return made
