"""The agent's side of the meter: a child process, many requests at once, one answer each.

ask ─▶ meter ─▶ answer          a meter that died fails what it was asked; the next question starts another
"""

from __future__ import annotations

import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

from chaos.jsonlines import Questions, answered
from chaos.piped import PipedProcess

if TYPE_CHECKING:
    from collections.abc import Mapping

    from chaos.agent.ground import Place

START_S = 30.0  # of which most is a Python's start on an overloaded machine
SPARE_S = 20.0  # beyond the time that sending takes, before a silent meter is given up
END_S = 2.0


class Metering:
    """A meter in service; AgentError from `ask` if it refuses or dies meanwhile."""

    def __init__(self, places: Mapping[str, Place]) -> None:
        self._places = places
        self._lock = threading.Lock()
        self._start()

    def move(self, places: Mapping[str, Place]) -> None:
        """Measure between other places from now on."""
        with self._lock:
            self._meter.end(END_S)
            self._places = places
            self._start()

    @property
    def alive(self) -> bool:
        """Tell whether the process runs."""
        return not self._meter.over.is_set()

    def ask(self, request: Mapping[str, Any], seconds: float) -> dict[str, Any]:
        """Measure as `request` says (see meter.py), which takes about `seconds`; return its answer."""
        with self._lock:
            if not self.alive:
                self._meter.end(END_S)
                self._start()
            future = self._meter.send(request)
        return answered("meter", future, seconds + SPARE_S)

    def close(self) -> None:
        """End it; idempotent."""
        with self._lock:
            self._meter.end(END_S)

    def _start(self) -> None:
        argv = [sys.executable, "-m", "chaos.agent.meter"]
        fds = [place.netns for place in self._places.values()]
        self._process = PipedProcess(
            subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, pass_fds=fds)
        )
        self._meter = Questions(self._process, name="meter")
        nodes = {name: [place.netns, place.address] for name, place in self._places.items()}
        try:
            told = answered("meter", self._meter.send({"nodes": nodes}), START_S)
            self.realtime: bool = told["realtime"]
            self.ports: Mapping[str, list[int]] = told["ports"]  # plain and unchecked, of each place
        except BaseException:  # a meter that did not start right is of no use to anybody
            self._meter.end(0.0)
            raise
