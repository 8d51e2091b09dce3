"""A target for tests: every node is an address of 127/8 of its own, its processes are ours, and nothing is isolated.

It offers what EtcdStack asks of a lab (RunsProcesses, Reaches) and lets a test kill, stop and continue by node.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from chaos.errors import CapabilityError
from chaos.model import Node, Process, ProcessState, Topology

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_DIES_WITH_US = ("setpriv", "--pdeathsig", "KILL", "--")


class Loopback:
    """A context manager; leaving it kills what runs and removes every folder."""

    name = "loopback"

    def __init__(self, nodes: Sequence[Node]) -> None:
        net = f"127.{random.randrange(1, 255)}.{random.randrange(256)}"
        placed = (Node(name=n.name, role=n.role, address=f"{net}.{i + 1}") for i, n in enumerate(nodes))
        self._topology = Topology(nodes=tuple(placed))
        self.base = Path(tempfile.mkdtemp(prefix="chaosgate-loopback-"))
        self._running: dict[tuple[str, str], tuple[subprocess.Popen[bytes], int, Process]] = {}
        self._starts: dict[tuple[str, str], int] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for popen, _, _ in self._running.values():
            popen.kill()
            popen.wait()
        shutil.rmtree(self.base)

    def topology(self) -> Topology:
        return self._topology

    def describe(self) -> Mapping[str, Any]:
        return {"name": self.name}

    def inject(self, aimed: object, *, deadline_s: float) -> Any:
        raise CapabilityError("loopback has no faults")

    def folder(self, node: str) -> Path:
        folder = self.base / "nodes" / node
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def start(self, node: str, process: Process) -> ProcessState:
        with Path(process.log).open("ab") as log:
            popen = subprocess.Popen(
                [*_DIES_WITH_US, *process.argv],
                cwd=process.cwd,
                env={**os.environ, **process.env},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        key = (node, process.name)
        self._starts[key] = self._starts.get(key, 0) + 1
        self._running[key] = (popen, time.monotonic_ns(), process)
        return self._state(key)

    def stop(self, node: str, name: str, *, grace_s: float) -> ProcessState:
        popen = self._running[node, name][0]
        popen.terminate()
        try:
            popen.wait(grace_s)
        except subprocess.TimeoutExpired:
            popen.kill()
            popen.wait()
        return self._state((node, name))

    def processes(self) -> Sequence[ProcessState]:
        return [self._state(key) for key in self._running]

    @contextlib.contextmanager
    def entered(self, node: str = "") -> Iterator[None]:
        yield

    def spawn(self, node: str, argv: Sequence[str], **popen: Any) -> subprocess.Popen[bytes]:
        return subprocess.Popen([*_DIES_WITH_US, *argv], **popen)

    # ------------------------------------------------------------ for tests

    def kill(self, node: str) -> None:
        for (where, _), (popen, _, _) in self._running.items():
            if where == node:
                popen.kill()
                popen.wait()

    def revive(self, node: str) -> None:
        for (where, _), (_, _, process) in list(self._running.items()):
            if where == node:
                self.start(node, process)

    @contextlib.contextmanager
    def stopped(self, node: str) -> Iterator[None]:
        popen = self._running[node, "etcd"][0]
        popen.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            popen.send_signal(signal.SIGCONT)

    def _state(self, key: tuple[str, str]) -> ProcessState:
        popen, started_ns, _ = self._running[key]
        code = popen.poll()
        ended_ns = None if code is None else time.monotonic_ns()
        return ProcessState(
            node=key[0],
            name=key[1],
            pid=popen.pid,
            started_ns=started_ns,
            starts=self._starts[key],
            exit_code=code,
            ended_ns=ended_ns,
        )


def until(true: Any, *, within_s: float = 10.0) -> Any:
    """Return the first true answer; fails after `within_s`."""
    deadline = time.monotonic() + within_s
    while not (answer := true()):
        assert time.monotonic() < deadline, "it did not become true in time"
        time.sleep(0.02)
    return answer
