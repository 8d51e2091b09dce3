"""The API server's port, from outside: a port of loopback here, and connections made inside the lab's network.

    kubectl ──▶ 127.0.0.1:port ──▶ a thread in the hub's network ──▶ control:6443

A socket belongs to the network of the thread that made it: who listens did so outside, who connects is inside. The
machine's own network gets no interface, no route and no address.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

_CONNECT_S = 5.0
_PART = 1 << 16


class Forward:
    """Listens until it is closed. `port` is of 127.0.0.1; connections outlive neither end."""

    def __init__(self, inside: AbstractContextManager[None], to: tuple[str, int]) -> None:
        self._to = to
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._serve, args=(inside,), name="forward", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening, and end every connection. Idempotent."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes who accepts
        self._thread.join()
        self._listener.close()
        with self._lock:
            still = list(self._open)
        for one in still:
            _shut(one, socket.SHUT_RDWR)

    def _serve(self, inside: AbstractContextManager[None]) -> None:
        with inside:
            while True:
                try:
                    outer, _ = self._listener.accept()
                except OSError:
                    return
                try:
                    inner = socket.create_connection(self._to, _CONNECT_S)
                except OSError:  # the server is down: who asked is told by the end of the connection
                    outer.close()
                    continue
                inner.settimeout(None)
                with self._lock:  # before its thread begins: an end that comes now has to find it
                    self._open |= {outer, inner}
                threading.Thread(target=self._join, args=(outer, inner), name="forwarded", daemon=True).start()

    def _join(self, outer: socket.socket, inner: socket.socket) -> None:
        back = threading.Thread(target=_copy, args=(inner, outer), name="forwarded-back", daemon=True)
        back.start()
        _copy(outer, inner)
        back.join()
        with self._lock:
            self._open -= {outer, inner}
        outer.close()
        inner.close()


def _copy(source: socket.socket, sink: socket.socket) -> None:
    """Copy until the end, and pass the end on."""
    with contextlib.suppress(OSError):
        while part := source.recv(_PART):
            sink.sendall(part)
    _shut(sink, socket.SHUT_WR)
    _shut(source, socket.SHUT_RD)


def _shut(one: socket.socket, how: int) -> None:
    with contextlib.suppress(OSError):
        one.shutdown(how)
