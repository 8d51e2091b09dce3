"""A program in a container as a jsonlines.Channel, by the API's `exec`: no Service, no open port.

    send ──▶ channel 0 of a websocket ──▶ its standard input     1 ──▶ lines     2 ──▶ last words     3 ──▶ its end

v5.channel.k8s.io, as kubernetes/apimachinery has it in pkg/util/remotecommand: 255 closes one of the channels.

Whatever ends the stream ends the program's standard input, which a serving agent takes for the end of its controller.
"""

from __future__ import annotations

import contextlib
import json
import select
import socket
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kubernetes.client import ApiClient

V4, V5 = "v4.channel.k8s.io", "v5.channel.k8s.io"
SILENT_S = 20.0  # a connection that takes or gives nothing for so long in mid-message is dead
STDIN, STDOUT, STDERR, STATUS, CLOSE = 0, 1, 2, 3, 255
LOOK_S = 0.5
WORDS = 2000  # bytes kept of what it says on its standard error
ENDED_S = 2.0


class ExecStream:
    """`argv` in a container, spoken to line by line. OSError from `send` when the stream is gone."""

    def __init__(self, api: ApiClient, namespace: str, pod: str, container: str, argv: Sequence[str]) -> None:
        """Start it. kubernetes.client.ApiException if that is refused, OSError if nobody answers."""
        self._socket = connected(api, namespace, pod, container, argv)
        self._closes = self._socket.subprotocol == V5  # only then can its input alone be ended
        self._io = threading.Lock()  # OpenSSL allows no reading beside writing
        self._words = b""
        self._status: dict[str, Any] = {}
        self._over = threading.Event()

    def send(self, line: bytes) -> None:
        """Write to its standard input; OSError if the stream is gone."""
        self._write(STDIN, line)

    def lines(self) -> Iterator[bytes]:
        """Yield the lines of its standard output until the stream ends."""
        pending = b""
        try:
            for channel, data in self._frames():
                if channel == STDOUT:
                    *whole, pending = (pending + data).split(b"\n")
                    yield from (line + b"\n" for line in whole)
                elif channel == STDERR:
                    self._words = (self._words + data)[-WORDS:]
                elif channel == STATUS:
                    with contextlib.suppress(ValueError):
                        self._status = json.loads(data)
        finally:
            self._over.set()

    def end(self, grace_s: float) -> None:
        """End its standard input, wait `grace_s` for its end, then end the stream. Idempotent."""
        if not self._over.is_set() and self._closes:
            with contextlib.suppress(OSError):
                self._write(CLOSE, bytes([STDIN]))
            self._over.wait(grace_s)
        with contextlib.suppress(Exception):  # whatever a socket has against being closed
            self._socket.sock.shutdown(socket.SHUT_RDWR)  # wakes who reads, and writes
        with self._io, contextlib.suppress(Exception):
            self._socket.shutdown()
        self._over.wait(ENDED_S)

    def fate(self, why: str = "") -> str:
        """Return how it ended and `why`, or else the last line that it said on its standard error."""
        if not self._over.wait(ENDED_S):
            return "still runs, but neither listens nor speaks"
        how = f"ended: {self._status['message']}" if self._status.get("message") else "ended with its stream"
        words = self._words.decode(errors="replace").strip().splitlines()
        why = why or (words[-1] if words else "")
        return f"{how}: {why}" if why else how

    # ------------------------------------------------------------ frames

    def _write(self, channel: int, data: bytes) -> None:
        try:
            with self._io:
                self._socket.send_binary(bytes([channel]) + data)
        except OSError:
            raise
        except Exception as error:  # websocket-client's own exceptions are no OSError
            raise OSError(f"the exec stream is gone: {error}") from error

    def _frames(self) -> Iterator[tuple[int, bytes]]:
        while True:
            try:
                frame = self._read()
            except Exception:  # noqa: BLE001 - however a stream breaks, it is its end
                return
            if frame is None:
                continue
            if not frame:
                return
            yield frame[0], frame[1:]

    def _read(self) -> bytes | None:
        """Return the next message; None if there is none yet, empty at the end."""
        raw = self._socket.sock
        if raw is None:
            return b""
        if not raw_pending(raw):
            ready, _, _ = select.select([raw], [], [], LOOK_S)
            if not ready:
                return None
        with self._io:
            opcode, data = self._socket.recv_data(control_frame=True)
        if opcode in (1, 2):
            return bytes(data) or None
        return b"" if opcode == 8 else None  # RFC 6455, section 5.2: 8 closes


def raw_pending(raw: Any) -> bool:
    """Tell whether a TLS socket has bytes that it has already read from its own."""
    return bool(getattr(raw, "pending", lambda: 0)())


def connected(api: ApiClient, namespace: str, pod: str, container: str, argv: Sequence[str]) -> Any:
    """Return the websocket of an exec. The client's own `stream` swaps methods of a client that other threads use."""
    import websocket  # noqa: PLC0415 - takes a while
    from kubernetes.client import ApiException  # noqa: PLC0415
    from kubernetes.stream import ws_client  # noqa: PLC0415

    asked = [("container", container), *(("command", one) for one in argv)]
    asked += [(stream, "true") for stream in ("stdin", "stdout", "stderr")]
    path = f"{api.configuration.host}/api/v1/namespaces/{namespace}/pods/{pod}/exec"
    headers = {"sec-websocket-protocol": f"{V5},{V4}"}
    if bearer := api.configuration.auth_settings().get("BearerToken"):
        headers["authorization"] = bearer["value"]
    websocket.setdefaulttimeout(SILENT_S)
    try:
        made = ws_client.create_websocket(api.configuration, ws_client.get_websocket_url(path, asked), headers)
    except websocket.WebSocketBadStatusException as error:
        refused = ApiException(status=error.status_code, reason=str(error))
        refused.body = (error.resp_body or b"").decode(errors="replace")
        raise refused from error
    except websocket.WebSocketException as error:
        raise OSError(f"no stream to {namespace}/{pod}: {error}") from error
    return made
