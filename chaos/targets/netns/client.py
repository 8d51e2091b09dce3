"""The controller's side of the agent: requests as futures, a heartbeat, and no silence when it dies.

    any thread ── ask ──▶ stdin of the agent        stdout ──▶ reader ──▶ the future that waits
                            ▲ beat, each third of the lease              └▶ events ──▶ `on_event`

The end of the agent answers every waiting future with an AgentError and is itself an event: {"event": "gone"}.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import subprocess
import threading
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import IO, TYPE_CHECKING, Any

from chaos.agent.points import effect
from chaos.errors import AgentError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Answer = dict[str, Any]
END_S = 10.0  # for undoing everything and ending


class AgentClient:
    """A running agent; `on_event` is called from the reader's thread."""

    def __init__(self, process: subprocess.Popen[bytes], *, lease_s: float, on_event: Callable[[Answer], None]) -> None:
        self._process = process
        self._stdin, self._stdout = _pipes(process)
        self._on_event = on_event
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._waiting: dict[int, Future[Answer]] = {}
        self._ended = threading.Event()
        self._leaving = False
        self._beat_s = lease_s / 3
        threading.Thread(target=self._read, name="agent-reader", daemon=True).start()

    @property
    def alive(self) -> bool:
        """Tell whether its stdout is still open."""
        return not self._ended.is_set()

    @property
    def pid(self) -> int:
        """Its pid, as this process knows it."""
        return self._process.pid

    def hello(self, request: Mapping[str, Any], timeout_s: float) -> Answer:
        """Introduce ourselves and begin to beat; AgentError if it can't serve."""
        answer = self.ask("hello", timeout_s, **request)
        threading.Thread(target=self._beat, name="agent-beat", daemon=True).start()
        return answer

    def ask(self, op: str, timeout_s: float, **arguments: Any) -> Answer:
        """Ask and wait; AgentError if refused, late or gone."""
        return self.wait(op, self.send(op, **arguments), timeout_s)

    def send(self, op: str, **arguments: Any) -> Future[Answer]:
        """Ask without waiting."""
        number = next(self._numbers)
        future: Future[Answer] = Future()
        line = json.dumps({"id": number, "op": op, **arguments}).encode() + b"\n"
        with self._lock:
            if self._ended.is_set():
                future.set_result({"error": self._epitaph()})
                return future
            self._waiting[number] = future
            try:
                self._stdin.write(line)
                self._stdin.flush()
            except (OSError, ValueError):  # ValueError: closed on our side
                del self._waiting[number]
                future.set_result({"error": self._epitaph()})
        return future

    def wait(self, op: str, future: Future[Answer], timeout_s: float) -> Answer:
        """Return the answer; AgentError if refused, late or gone."""
        try:
            answer = future.result(timeout_s)
        except FutureTimeoutError:
            raise AgentError(f"agent: {op}: no answer within {timeout_s:.0f} s") from None
        if "error" in answer:
            raise AgentError(f"agent: {op}: {answer['error']}")
        return answer

    def close(self) -> None:
        """Let it undo everything and end; SIGKILL if it does not. Idempotent."""
        self._leaving = True
        if self.alive:
            effect("agent.bye", lambda: self.send("bye"))
        try:
            self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._ended.wait(END_S)
        for pipe in (self._stdin, self._stdout):
            with contextlib.suppress(OSError):  # what is still in the buffer has nobody to read it
                pipe.close()

    def _read(self) -> None:
        for line in self._stdout:
            answer = json.loads(line)
            if "event" in answer:
                self._heard(answer)
                continue
            with self._lock:
                future = self._waiting.pop(answer["id"], None)
            if future is not None:
                future.set_result(answer)
        self._end()

    def _heard(self, event: Answer) -> None:
        if event["event"] == "stop-at":
            os.kill(os.getpid(), signal.SIGKILL)
        self._on_event(event)

    def _end(self) -> None:
        with self._lock:
            self._ended.set()
            waiting, self._waiting = self._waiting, {}
        for future in waiting.values():
            future.set_result({"error": self._epitaph()})
        if not self._leaving:
            self._on_event({"event": "gone", "why": self._epitaph()})

    def _epitaph(self) -> str:
        return f"the agent (pid {self._process.pid}) is gone; a new one replays its journal at the next heal"

    def _beat(self) -> None:
        while not self._ended.wait(self._beat_s):
            self.send("beat")


def _pipes(process: subprocess.Popen[bytes]) -> tuple[IO[bytes], IO[bytes]]:
    assert process.stdin is not None
    assert process.stdout is not None
    return process.stdin, process.stdout
