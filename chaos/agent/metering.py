"""The agent's side of the meter: a child process, many requests at once, one answer each.

ask ─▶ meter ─▶ answer          a meter that died fails what it was asked; the next question starts another
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import TYPE_CHECKING, Any

from chaos.errors import AgentError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from chaos.agent.ground import Place

SPARE_S = 20.0  # beyond the time that sending takes, before a silent meter is given up


class Metering:
    """A meter in service; AgentError from `ask` if it refuses or dies meanwhile."""

    def __init__(self, places: Mapping[str, Place]) -> None:
        self._places = places
        self._lock = threading.Lock()
        self._meter = Meter(places)

    @property
    def alive(self) -> bool:
        """Tell whether the process runs."""
        return self._meter.alive

    @property
    def realtime(self) -> bool:
        """Tell whether it has a real-time priority."""
        return self._meter.realtime

    def ask(self, request: Mapping[str, Any], seconds: float) -> dict[str, Any]:
        """Measure as `request` says (see meter.py), which takes about `seconds`; return its answer."""
        with self._lock:
            if not self._meter.alive:
                self._meter.close()
                self._meter = Meter(self._places)
            meter = self._meter
        return meter.ask(request, seconds)

    def close(self) -> None:
        """End it; idempotent."""
        with self._lock:
            self._meter.close()


class Meter:
    """One process; AgentError from `ask` if it refuses or has died."""

    def __init__(self, places: Mapping[str, Place]) -> None:
        fds = [place.netns for place in places.values()]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "chaos.agent.meter"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, pass_fds=fds
        )
        self._lock = threading.Lock()
        self._waiting: dict[int, Future[dict[str, Any]]] = {}
        self._count = 0
        self._say({"nodes": {name: [place.netns, place.address] for name, place in places.items()}})
        self.realtime = bool(self._hear().get("realtime"))
        self._listener = threading.Thread(target=self._listen, name="meter", daemon=True)
        self._listener.start()

    @property
    def alive(self) -> bool:
        """Tell whether the process runs."""
        return self._process.poll() is None

    def ask(self, request: Mapping[str, Any], seconds: float) -> dict[str, Any]:
        """Measure as `request` says (see meter.py), which takes about `seconds`; return its answer."""
        future: Future[dict[str, Any]] = Future()
        with self._lock:
            self._count += 1
            number = self._count
            self._waiting[number] = future
            self._say({**request, "id": number})
        try:
            answer = future.result(seconds + SPARE_S)
        except FutureTimeoutError:
            raise AgentError(f"the meter gave no answer for {seconds + SPARE_S:.0f} s") from None
        if "error" in answer:
            raise AgentError(str(answer["error"]))
        return {key: value for key, value in answer.items() if key != "id"}

    def close(self) -> None:
        """End it; idempotent."""
        if self._process.stdin and not self._process.stdin.closed:
            with contextlib.suppress(OSError):  # it is dead, and what is in the buffer has nobody to read it
                self._process.stdin.close()
        try:
            self._process.wait(2)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._listener.join(2)

    def _say(self, request: Mapping[str, Any]) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
        except OSError as error:
            raise AgentError(f"the meter is gone (exit {self._process.poll()})") from error

    def _hear(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise AgentError(f"the meter is gone (exit {self._process.wait()})")
        return dict(json.loads(line))

    def _listen(self) -> None:
        while True:
            try:
                answer = self._hear()
            except AgentError as error:
                answer = {"error": str(error)}
                with self._lock:
                    waiting, self._waiting = self._waiting, {}
                for future in waiting.values():
                    future.set_result(answer)
                if self._process.stdout is not None:
                    self._process.stdout.close()
                return
            with self._lock:
                future_or_none = self._waiting.pop(answer["id"], None)
            if future_or_none is not None:
                future_or_none.set_result(answer)
