"""A child process of the agent that ends when the agent does: started, spoken to over a socket, put to rest."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chaos.agent.shaper.values import ShaperError
from chaos.environment import of_children
from chaos.piped import ended

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

ANSWER_TIMEOUT_S = 30.0  # of which most is a Python's start on an overloaded machine; a death is seen at once
MESSAGE_MAX = 1 << 20
ROOT = Path(__file__).resolve().parents[3]  # the folder that holds the package `chaos`


def environment() -> dict[str, str]:
    """Return our environment, with the folder of this package on the child's path."""
    return of_children(PYTHONPATH=str(ROOT), PYTHONDONTWRITEBYTECODE="1")


class Child:
    """`python -m <module> FD`; thread-safe. It sees the end of this process as the end of its socket."""

    def __init__(self, module: str, descriptors: Iterable[int]) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            # -S and -P: nothing but the standard library and ROOT, as on a node
            argv = [sys.executable, "-S", "-P", "-m", module, str(theirs.fileno())]
            self._process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env=environment(),
                pass_fds=sorted({theirs.fileno(), *descriptors}),
                start_new_session=True,
            )
        self._module = module
        self._socket = ours
        self._socket.settimeout(ANSWER_TIMEOUT_S)
        self._buffer = bytearray(MESSAGE_MAX)
        self._lock = threading.Lock()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._process.poll() is None

    def ask(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """Send a message and return the answer; ShaperError if it says no, or nothing."""
        data = json.dumps(message).encode()
        try:
            with self._lock:
                self._socket.send(data)
                size = self._socket.recv_into(self._buffer)
                answer = bytes(self._buffer[:size])
        except OSError as error:
            self._socket.close()  # a late answer must not be taken for the next one's; the child sees our end
            raise ShaperError(f"{self._module} (pid {self.pid}) does not answer: {error}; {self._fate()}") from error
        if not answer:
            raise ShaperError(f"{self._module} (pid {self.pid}) is gone: {self._fate()}")
        reply: dict[str, Any] = json.loads(answer)
        if "error" in reply:
            raise ShaperError(reply["error"])
        return reply

    def end(self, timeout_s: float) -> bool:
        """Close its socket and wait for its end; False if it had to be killed after `timeout_s`. Idempotent."""
        with self._lock:
            self._socket.close()
        return ended(self._process, timeout_s)

    def _fate(self) -> str:
        with contextlib.suppress(subprocess.TimeoutExpired):
            return f"it ended with {self._process.wait(0.5)}"
        return "it still runs"
