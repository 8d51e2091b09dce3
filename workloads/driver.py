"""Starts the load generator and listens to it: Locust runs in child processes, never in the controller.

    LocustWorkload.start ─spawn─▶ python -m workloads.child, one a process   (inside a client node)
                 │                python -m workloads.observer, one a load that has something to look at
                 │ orders, as JSON lines        │ status each second
                 ▼                              ▼
            LocustGenerator.status()  ◀── a thread a child reads

Importing Locust patches the interpreter, so the controller does not. A child ends with its driver: the end of its
standard input is its dead-man.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chaos.clock import ns
from chaos.environment import of_children
from chaos.errors import UsageError, WorkloadError
from chaos.jsonlines import JsonLines
from chaos.model import LoadStatus
from chaos.piped import PipedProcess
from chaos.stacks.etcd.access import OPEN, Access
from workloads import WORKLOADS
from workloads.assignment import Assignment
from workloads.tally import combined

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from chaos.jsonlines import Said
    from chaos.model import Load
    from chaos.ports import Spawn

READY_S = 30.0  # importing Locust on a busy machine takes seconds
READ_BACK_S = 30.0  # beside what a workload waits for first
SILENT_S = 5.0  # a child that runs says something each second
_STATUS_FIELDS = frozenset(f.name for f in fields(LoadStatus))
_ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True)
class LocustWorkload:
    """The ports.Workload of everything that Locust drives; `access` is what the stack wants its clients to show."""

    spawn: Spawn
    python: str = sys.executable
    access: Access = OPEN

    def start(
        self,
        load: Load,
        endpoints: Mapping[str, str],
        folder: Path,
        epoch_ns: int,
        seed: int,
        run_id: str = "run",
        *,
        duration_s: float | None = None,
    ) -> LocustGenerator:
        """Start `load.processes` generators; operations are scheduled from `epoch_ns`, or from when all are ready.

        `LocustGenerator.epoch_ns` says from when. Blocks until they are ready; WorkloadError if they are not.
        """
        generator = self.prepare(load, endpoints, folder, seed, run_id, duration_s=duration_s)
        generator.go(epoch_ns)
        return generator

    def prepare(
        self,
        load: Load,
        endpoints: Mapping[str, str],
        folder: Path,
        seed: int,
        run_id: str = "run",
        *,
        duration_s: float | None = None,
    ) -> LocustGenerator:
        """Start the processes and wait until their users are; `go` then begins the traffic."""
        _check(load, endpoints)
        generator = LocustGenerator(load)
        try:
            told = Assignment(
                load=load,
                endpoints=dict(endpoints),
                folder=str(folder),
                run_id=run_id,
                seed=seed,
                duration_s=duration_s,
                access=self.access,
            )
            for assignment in _parts(told):
                generator.children.append(_Child(self._start(assignment), assignment))
            generator.wait_for("ready", READY_S)
        except BaseException:  # also Ctrl-C: no process may be left behind
            generator.kill()
            raise
        return generator

    def _start(self, assignment: Assignment) -> subprocess.Popen[bytes]:
        log = log_path(assignment)
        log.parent.mkdir(parents=True, exist_ok=True)
        path = os.pathsep.join(p for p in (str(_ROOT), os.environ.get("PYTHONPATH", "")) if p)
        with log.open("ab") as stderr:
            return self.spawn(
                [self.python, "-m", "workloads.observer" if assignment.observer else "workloads.child"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                env=of_children(PYTHONPATH=path),
            )


def _parts(told: Assignment) -> Iterator[Assignment]:
    """Yield what each process is told: the generators, and the observer if the workload has one."""
    for index in range(told.load.processes):
        yield replace(told, index=index)
    if WORKLOADS[told.load.workload].observer:
        yield replace(told, observer=True)


def _check(load: Load, endpoints: Mapping[str, str]) -> None:
    kind = WORKLOADS[load.workload]
    kind.settings_type.of(load.settings)
    if kind.paced and load.closed_loop:
        raise UsageError(f"load: {load.workload} go at a stated rate, not in a closed loop; write e.g. rate: 2000/s")
    if not load.closed_loop and load.rate_per_s is None:
        raise UsageError("load: an open-loop load needs a rate; calibrate first, or write one")
    if not endpoints:
        raise UsageError("load: no endpoints; the stack has no member to talk to")
    if load.users < load.processes:
        raise UsageError(f"load: {load.users} users can't fill {load.processes} processes; write as many or more")


def log_path(assignment: Assignment) -> Path:
    """Return where a generator's standard error goes."""
    return Path(assignment.folder) / "logs" / f"generator-{assignment.name}.log"


class LocustGenerator:
    """The ports.Generator: traffic under way in one or more processes."""

    def __init__(self, load: Load) -> None:
        self.children: list[_Child] = []
        self.epoch_ns = 0
        self.final_reads_complete = False
        self._load = load
        self._closed = False

    def go(self, epoch_ns: int) -> None:
        """Begin at `epoch_ns`, or now if that has passed."""
        self.epoch_ns = max(epoch_ns, time.monotonic_ns() + ns(0.02))
        self._order("go", epoch_ns=self.epoch_ns)

    def status(self) -> LoadStatus:
        """Return the newest; never blocks. `running` is False with a reason if a generator died or keeps silent."""
        now_ns = time.monotonic_ns()
        return combined([child.status_at(now_ns) for child in self.children])

    def stop(self) -> None:
        """Drain, read back, close; WorkloadError if a generator died before that."""
        if self._closed:
            return
        try:
            self.drain()
            self.read_back()
            self.close()
        finally:
            self.kill()

    def drain(self, timeout_s: float | None = None) -> None:
        """End the traffic; operations open after `timeout_s` (default: an operation's, and 1 s) are unknown."""
        timeout_s = self._load.timeout_s + 1.0 if timeout_s is None else timeout_s
        self._order("drain", timeout_s=timeout_s)
        self.wait_for("drained", timeout_s + 5.0)

    def read_back(self, timeout_s: float | None = None) -> bool:
        """Read every write-once key, or every topic; say whether all could be read.

        `timeout_s`: by default what the workload may wait for its output to settle, and READ_BACK_S.
        """
        if timeout_s is None:
            settings = WORKLOADS[self._load.workload].settings_type.of(self._load.settings)
            timeout_s = READ_BACK_S + float(getattr(settings, "settle_s", 0.0))
        self._order("read back", timeout_s=timeout_s)
        said = self.wait_for("read back", timeout_s + 5.0)
        self.final_reads_complete = all(facts["complete"] for facts in said)
        return self.final_reads_complete

    def close(self) -> None:
        """End the recordings and the processes."""
        self._order("close")
        self.wait_for("closed", 10.0)
        for child in self.children:
            child.end(grace_s=5.0)
        self._closed = True

    def kill(self) -> None:
        """End every process now; idempotent. Recordings not closed before stay cut short."""
        for child in self.children:
            child.end(grace_s=0.0)
        self._closed = True

    def _order(self, order: str, **facts: Any) -> None:
        for child in self.children:
            child.tell({"order": order, **facts})

    def wait_for(self, what: str, timeout_s: float) -> list[Mapping[str, Any]]:
        """Wait until every child has said `what`; return what each said. WorkloadError if one died or kept silent."""
        deadline = time.monotonic() + timeout_s
        return [child.wait_for(what, deadline) for child in self.children]


class _Child:
    """One process: what it said last of each kind, and when it last said anything."""

    def __init__(self, process: subprocess.Popen[bytes], assignment: Assignment) -> None:
        self._process = PipedProcess(process, log_path(assignment))
        self._assignment = assignment
        self._said: dict[str, Mapping[str, Any]] = {}
        self._news = threading.Condition()
        self._ended = False
        self._heard_ns = time.monotonic_ns()
        self.status = LoadStatus(at_ns=self._heard_ns, running=True)
        self._lines = JsonLines(self._process, name=f"load {assignment.name}", heard=self._heard, ended=self._end)
        self.tell(assignment.to_json())

    def tell(self, order: Mapping[str, Any]) -> None:
        """Send a line; one that is dead is noticed by whoever waits for its answer."""
        self._lines.say(order)

    def status_at(self, now_ns: int) -> LoadStatus:
        """Return what it said last; of one that should run and has said nothing for SILENT_S, that it does not."""
        with self._news:
            said, silent_ns = self.status, now_ns - self._heard_ns
        if self._ended or not said.running or silent_ns <= ns(SILENT_S):
            return said
        why = f"generator {self._assignment.name} has said nothing for {SILENT_S:g} s; see {log_path(self._assignment)}"
        return replace(said, running=False, why=why)

    def _heard(self, said: Said) -> None:
        with self._news:
            self._heard_ns = time.monotonic_ns()
            self._said[said.pop("say")] = said
            if "at_ns" in said:
                self.status = LoadStatus(**{k: v for k, v in said.items() if k in _STATUS_FIELDS})
            self._news.notify_all()

    def _end(self) -> None:
        dead = "closed" not in self._said
        fate = self._process.fate(self.status.why) if dead else ""
        with self._news:
            self._ended = True
            if dead:
                self.status = _dead(self.status, f"generator {self._assignment.name} {fate}")
            self._news.notify_all()

    def wait_for(self, what: str, deadline: float) -> Mapping[str, Any]:
        """Wait until it has said `what`."""
        with self._news:
            self._news.wait_for(lambda: what in self._said or self._ended, deadline - time.monotonic())
            if what in self._said:
                return self._said[what]
        why = self.status.why if self._ended else f"it keeps silent; see {log_path(self._assignment)}"
        raise WorkloadError(f"generator {self._assignment.name} did not get {what}: {why}")

    def end(self, grace_s: float) -> None:
        """Close its input, wait `grace_s`, then kill; idempotent."""
        self._lines.end(grace_s)


def _dead(status: LoadStatus, why: str) -> LoadStatus:
    values = {name: getattr(status, name) for name in _STATUS_FIELDS}
    return LoadStatus(**{**values, "at_ns": time.monotonic_ns(), "running": False, "why": why})
