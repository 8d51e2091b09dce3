"""The threads that look while a run goes on: probes on their own schedule, and the stack's processes.

They only look. What they see is appended to the recording at once; the deciding thread reads a copy.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import TYPE_CHECKING

from chaos.clock import NS
from chaos.model import Event, EventKind, Reading, to_json
from chaos.ports import Reaches, RunsProcesses

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from chaos.model import ProcessState
    from chaos.ports import Probe
    from chaos.stage import Stage

QUORUM = "quorum"  # the reading that `abort-when: quorum-lost` goes by: 1 held, 0 lost; and any …-quorum
PROBE_TIMEOUT_S = 2.0
LAST_LOOK_S = 15.0  # a probe may be patient with members that are down, twice
QUICK_TIMEOUT_S = 0.5  # while a fault waits to be injected
PROCESSES_EVERY_S = 0.2


class Lookers:
    """Starts one thread a probe and one for processes; `stop` ends them."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._readings: list[Reading] = []
        self._lost_ns: dict[str, tuple[int, int]] = {}  # reading → its first and newest since that quorum was last held
        self._events: list[Event] = []
        self._asked: dict[str, int] = {}
        self._tellers: dict[str, Probe] = {}  # name of a reading → the probe that makes it
        self._known: dict[tuple[str, str], tuple[int, bool]] = {}
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Start looking."""
        self._look_at_processes()
        for name, (probe, every_s) in self._stage.probes.items():
            self._run(f"probe {name}", partial(self._look, probe), every_s)
        self._run("processes", self._look_at_processes, PROCESSES_EVERY_S)

    def stop(self) -> None:
        """End every thread; waits for the looks under way, and looks at the processes a last time. Idempotent.

        That last look says which processes lived to the end: one that fails is an error of the harness.
        """
        if self._stop.is_set():
            return
        self._stop.set()
        for thread in self._threads:
            thread.join(LAST_LOOK_S)
        if self._threads:
            with self._noting("processes, the last time", EventKind.ERROR):
                self._look_at_processes()

    def arrived(self) -> list[Event]:
        """Return the events since the last call."""
        with self._lock:
            events, self._events = self._events, []
        return events

    def fresh_readings(self, asker: str) -> Sequence[Reading] | None:
        """Return all readings, or None if none came since `asker` asked last."""
        with self._lock:
            if self._asked.get(asker) == len(self._readings):
                return None
            self._asked[asker] = len(self._readings)
            return list(self._readings)

    def look_again(self, name: str, about: str = "") -> Mapping[str, float | None]:
        """Ask the probe that knows `name` once more, now; node → value, empty if no probe has told of it.

        Of readings whose text lists what they are about (a partition; operators), only those about `about`.
        """
        with self._lock:
            probe = self._tellers.get(name)
        if probe is None:
            return {}
        with self._noting(f"a last look at {name}"):  # one that fails keeps no fault from being injected
            looked = self._look(probe, QUICK_TIMEOUT_S)
            return {r.node: r.value for r in looked if r.name == name and (not about or _tells_of(r, about))}
        return {}

    def quorum_lost_s(self) -> float:
        """Seconds for which the newest readings of a quorum have all been 0; 0.0 if each is held, or without probes."""
        with self._lock:
            return max((newest_ns - first_ns for first_ns, newest_ns in self._lost_ns.values()), default=0) / NS

    # ------------------------------------------------------------ threads

    def _run(self, name: str, look: Callable[[], object], every_s: float) -> None:
        thread = threading.Thread(target=self._repeat, args=(name, look, every_s), name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _repeat(self, name: str, look: Callable[[], object], every_s: float) -> None:
        target = self._stage.target
        with self._noting(name), target.entered() if isinstance(target, Reaches) else nullcontext():
            while not self._stop.wait(every_s):
                with self._noting(name):
                    look()

    @contextmanager
    def _noting(self, name: str, kind: EventKind = EventKind.NOTE) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # noqa: BLE001  # a probe is a plugin; its trouble is recorded, never silent
            said = f"{name}: the look failed: {error!r}"
            self._add(Event(at_ns=self._stage.clock.now_ns(), kind=kind, detail=said))

    def _look(self, probe: Probe, timeout_s: float = PROBE_TIMEOUT_S) -> Sequence[Reading]:
        readings = probe.read(timeout_s)
        for reading in readings:
            self._stage.recorder.reading(reading)
        with self._lock:
            self._readings.extend(readings)
            self._tellers |= {reading.name: probe for reading in readings}
            for reading in readings:
                if reading.name.endswith(QUORUM) and reading.value is not None:
                    self._note_quorum(reading)
        return readings

    def _note_quorum(self, reading: Reading) -> None:
        """Remember since when it is lost: however many readings come in between, none is forgotten."""
        first_ns, _ = self._lost_ns.get(reading.name, (reading.at_ns, 0))
        self._lost_ns.pop(reading.name, None)
        if not reading.value:
            self._lost_ns[reading.name] = (first_ns, reading.at_ns)

    def _look_at_processes(self) -> None:
        if isinstance(self._stage.target, RunsProcesses):
            for state in self._stage.target.processes():
                self._compare(state)

    def _compare(self, state: ProcessState) -> None:
        """Record what is new about a process: a start, an end, or an end and a new start between two looks."""
        key, now = (state.node, state.name), (state.starts, state.exit_code is None)
        before = self._known.get(key)
        if before == now:
            return
        self._known[key] = now
        if before is None or before[0] != state.starts:
            self._add(_process_event("started", state.started_ns, state))
        if state.exit_code is not None:
            self._add(_process_event("ended", state.ended_ns or self._stage.clock.now_ns(), state))

    def _add(self, event: Event) -> None:
        with self._lock:
            self._events.append(event)


def _tells_of(reading: Reading, about: str) -> bool:
    return not reading.text or about in reading.text.split(", ")


def _process_event(detail: str, at_ns: int, state: ProcessState) -> Event:
    return Event(at_ns=at_ns, kind=EventKind.PROCESS, detail=detail, node=state.node, data=to_json(state))
