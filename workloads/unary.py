"""Unary gRPC calls over one HTTP/2 connection, one at a time, and never twice.

    Unary.call(method, message) ─▶ HEADERS DATA ─▶ server ─▶ HEADERS DATA HEADERS ─▶ reply
                      └ CallError(code, message, sent): sent says whether the request may have been executed

grpcio is not used because under gevent it costs four times the time a call, and because its transparent retry
(grpc proposal A6) can't be told apart from a first attempt. Here nothing is repeated: a call that fails has put its
bytes on the wire at most once. A connection that is found closed *before* a call is opened anew, which repeats
nothing. Sockets are the standard library's; under gevent they are the patched ones.

Protocol: https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md, RFC 9113.
"""

from __future__ import annotations

import socket
import ssl
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import unquote

from hpack import HPACKError

from workloads import http2

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from chaos.stacks.etcd.access import Tls

# gRPC status codes, https://grpc.github.io/grpc/core/md_doc_statuscodes.html
OK = 0
UNKNOWN = 2
DEADLINE_EXCEEDED = 4
INTERNAL = 13
UNAVAILABLE = 14
UNAUTHENTICATED = 16

_WINDOW = 1 << 24  # bytes that a server may send unacknowledged; no answer of ours comes near it
_LAST_STREAM = 1 << 30  # a new connection before stream numbers (31 bits) end
_READ = 1 << 16
_PREFIX = 5  # gRPC's length-prefixed message: one byte "compressed", four bytes length


class CallError(Exception):
    """A call without an answer, or with an error for one.

    `code` is a gRPC status code, the server's or, for trouble of the connection, UNAVAILABLE or DEADLINE_EXCEEDED.
    `sent` is False only if no byte of the request left, or the server certified that it did not process it
    (REFUSED_STREAM, or a GOAWAY below its stream: RFC 9113 §6.8, §8.7).
    """

    def __init__(self, code: int, message: str, *, sent: bool) -> None:
        self.code = code
        self.message = message
        self.sent = sent
        super().__init__(f"{message} (code {code}, {'sent' if sent else 'not sent'})")


@dataclass(slots=True)
class _Reply:
    """What came back so far on one stream."""

    stream: int
    data: list[bytes] = field(default_factory=list)
    block: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    closes: bool = False  # its last header block has begun
    ended: bool = False
    window: int = http2.DEFAULT_WINDOW  # what we may still send on it


class Unary:
    """One connection to `address` ("host:port"); calls are made one after the other."""

    _stream: int  # the next call's
    _peer_window: int  # with which each stream begins

    def __init__(self, address: str, *, timeout_s: float, tls: Tls | None = None) -> None:
        self.address = address
        self._timeout_s = timeout_s
        self._tls = tls
        self._token = ""
        self._blocks: dict[str, bytes] = {}  # method → its header block
        self._socket: socket.socket | None = None
        self._sent = False  # whether a byte of the call under way has left
        self._renew()

    # ------------------------------------------------------------ calls

    def call(self, method: str, message: bytes) -> bytes:
        """Return the answer's message; CallError otherwise. Connects first where there is no connection."""
        deadline = time.monotonic() + self._timeout_s
        if not self._usable():
            self.connect(deadline)
        self._sent = False
        stream = self._stream
        self._stream = stream + 2
        reply = _Reply(stream, window=self._peer_window)
        try:
            self._request(method, message, reply, deadline)
            while not reply.ended:
                self._take(self._frame(deadline), reply)
        except (OSError, http2.ProtocolError, HPACKError) as error:
            raise self._lost(error) from error
        return _message(reply)

    def authorize(self, token: str) -> None:
        """Send `token` with every later call; empty: none."""
        self._token = token
        self._blocks.clear()

    def connect(self, deadline: float | None = None) -> None:
        """Connect by `deadline` (of time.monotonic); CallError, not sent, if that fails."""
        self.close()
        deadline = time.monotonic() + self._timeout_s if deadline is None else deadline
        self._sent = False
        try:
            self._socket = self._dial(deadline)
            self._greet(deadline)
        except OSError as error:
            self._sent = False  # a greeting is no request
            raise self._lost(error) from error

    def close(self) -> None:
        """Close the connection; idempotent."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _lost(self, error: Exception) -> CallError:
        """Close, and say what broke; a connection after a half-read answer can't be used again."""
        self.close()
        if isinstance(error, TimeoutError):
            return CallError(DEADLINE_EXCEEDED, f"no answer within {self._timeout_s:g} s", sent=self._sent)
        code = UNAVAILABLE if isinstance(error, OSError) else INTERNAL
        said = getattr(error, "strerror", None) or str(error) or type(error).__name__
        return CallError(code, said.lower(), sent=self._sent)

    # ------------------------------------------------------------ connection

    def _dial(self, deadline: float) -> socket.socket:
        host, _, port = self.address.rpartition(":")
        plain = socket.create_connection((host.strip("[]"), int(port)), timeout=_left(deadline))
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._tls is None:
            return plain
        try:
            plain.settimeout(_left(deadline))
            return self._tls.context(["h2"]).wrap_socket(
                plain, server_hostname=self._tls.server_name or host.strip("[]")
            )
        except BaseException:  # whatever ends the handshake, the descriptor goes
            plain.close()
            raise

    def _renew(self) -> None:
        """Begin with the state that RFC 9113 gives a new connection."""
        self._frames = http2.FrameReader()
        self._headers = http2.HeaderBlocks()
        self._stream = 1
        self._consumed = 0
        self._owed = b""  # acknowledgements not sent yet
        self._window = http2.DEFAULT_WINDOW  # of the connection, for what we send
        self._peer_window = http2.DEFAULT_WINDOW
        self._peer_frame = http2.DEFAULT_FRAME
        self._going_away = False

    def _greet(self, deadline: float) -> None:
        self._renew()
        ours = {http2.ENABLE_PUSH: 0, http2.INITIAL_WINDOW_SIZE: _WINDOW}
        window = http2.pack_window(0, _WINDOW - http2.DEFAULT_WINDOW)
        self._write(http2.PREFACE + http2.pack_settings(ours) + window, deadline)

    def _usable(self) -> bool:
        """Look, without waiting, whether the server closed the connection or said good-bye since the last call."""
        if self._socket is None or self._stream > _LAST_STREAM:
            return False
        try:
            self._socket.settimeout(0)
            while data := self._socket.recv(_READ):
                self._frames.feed(data)
        except (BlockingIOError, ssl.SSLWantReadError):
            pass
        except OSError:
            return False
        else:
            return False  # end of file
        return self._idle_frames()

    def _idle_frames(self) -> bool:
        nobody = _Reply(stream=0)
        try:
            while frame := self._frames.next():
                self._take(frame, nobody)
        except (OSError, http2.ProtocolError, HPACKError, CallError):
            return False
        return not self._going_away

    # ------------------------------------------------------------ sending

    def _request(self, method: str, message: bytes, reply: _Reply, deadline: float) -> None:
        block = self._blocks.get(method) or self._block(method)
        head = self._owed + http2.pack(http2.HEADERS, http2.END_HEADERS, reply.stream, block)
        self._owed = b""
        body = b"\x00" + len(message).to_bytes(4, "big") + message
        if len(body) <= min(self._window, reply.window, self._peer_frame):
            self._window -= len(body)
            self._write(head + http2.pack(http2.DATA, http2.END_STREAM, reply.stream, body), deadline)
        else:
            self._write(head, deadline)
            self._write_pieces(body, reply, deadline)

    def _write_pieces(self, body: bytes, reply: _Reply, deadline: float) -> None:
        """Send as the server's windows allow, RFC 9113 §5.2, until all is sent or it answers early."""
        while body and not reply.ended:
            room = min(self._window, reply.window, self._peer_frame)
            if room <= 0:
                self._take(self._frame(deadline), reply)
                continue
            piece, body = body[:room], body[room:]
            self._window -= len(piece)
            reply.window -= len(piece)
            self._write(http2.pack(http2.DATA, 0 if body else http2.END_STREAM, reply.stream, piece), deadline)

    def _block(self, method: str) -> bytes:
        headers = [
            (":method", "POST"),
            (":scheme", "http" if self._tls is None else "https"),
            (":path", method),
            (":authority", self.address),
            ("te", "trailers"),
            ("content-type", "application/grpc"),
            ("grpc-timeout", f"{max(1, round(self._timeout_s * 1000))}m"),
        ]
        if self._token:
            headers.append(("token", self._token))
        self._blocks[method] = http2.literals(headers)
        return self._blocks[method]

    def _write(self, data: bytes, deadline: float) -> None:
        sock = self._open()
        view = memoryview(data)
        while view:
            sock.settimeout(_left(deadline))
            written = sock.send(view)
            self._sent = True  # from here on the server may have it
            view = view[written:]

    def _open(self) -> socket.socket:
        if self._socket is None:
            raise ConnectionResetError("connection closed")
        return self._socket

    # ------------------------------------------------------------ receiving

    def _frame(self, deadline: float) -> http2.Frame:
        sock = self._open()
        while (frame := self._frames.next()) is None:
            if self._owed:
                self._pay(deadline)
            sock.settimeout(_left(deadline))
            data = sock.recv(_READ)
            if not data:
                raise ConnectionResetError("connection closed by the server")
            self._frames.feed(data)
        return frame

    def _pay(self, deadline: float) -> None:
        """Send acknowledgements before we wait; else they travel with the next request, at no cost of their own.

        A Go server pings with every answer (its bandwidth estimator): sent singly, they would double our writes.
        """
        owed, self._owed = self._owed, b""
        self._write(owed, deadline)

    def _take(self, frame: http2.Frame, reply: _Reply) -> None:
        if taking := _TAKING.get(frame.kind):
            taking(self, frame, reply)

    def _take_data(self, frame: http2.Frame, reply: _Reply) -> None:
        self._consumed += len(frame.payload)
        if self._consumed > _WINDOW // 2:
            self._refill(frame.stream)
        if frame.stream == reply.stream:
            reply.data.append(http2.unpadded(frame))
            reply.ended = bool(frame.flags & http2.END_STREAM)

    def _refill(self, stream: int) -> None:
        self._owed += http2.pack_window(0, self._consumed) + http2.pack_window(stream, self._consumed)
        self._consumed = 0

    def _take_headers(self, frame: http2.Frame, reply: _Reply) -> None:
        reply.block += http2.unpadded(frame) if frame.kind == http2.HEADERS else frame.payload
        reply.closes |= frame.kind == http2.HEADERS and bool(frame.flags & http2.END_STREAM)
        if frame.flags & http2.END_HEADERS:
            headers = self._headers.decode(reply.block)  # whoever it is for: the decoder's state moves
            reply.block = b""
            if frame.stream == reply.stream:
                reply.headers = {**reply.headers, **headers}
                reply.ended = reply.closes

    def _take_reset(self, frame: http2.Frame, reply: _Reply) -> None:
        if frame.stream == reply.stream:
            code = int.from_bytes(frame.payload[:4], "big")
            self.close()
            raise CallError(UNAVAILABLE, f"stream reset, error {code}", sent=code != http2.REFUSED_STREAM)

    def _take_settings(self, frame: http2.Frame, reply: _Reply) -> None:
        if frame.flags & http2.ACK:
            return
        settings = http2.unpack_settings(frame.payload)
        window = settings.get(http2.INITIAL_WINDOW_SIZE, self._peer_window)
        reply.window += window - self._peer_window  # RFC 9113 §6.9.2: open streams move along
        self._peer_window = window
        self._peer_frame = settings.get(http2.MAX_FRAME_SIZE, self._peer_frame)
        self._owed += http2.pack(http2.SETTINGS, http2.ACK, 0)

    def _take_ping(self, frame: http2.Frame, _: _Reply) -> None:
        if not frame.flags & http2.ACK:
            self._owed += http2.pack(http2.PING, http2.ACK, 0, frame.payload)

    def _take_goaway(self, frame: http2.Frame, reply: _Reply) -> None:
        self._going_away = True
        last = int.from_bytes(frame.payload[:4], "big") & 0x7FFFFFFF
        if reply.stream > last:
            self.close()
            raise CallError(UNAVAILABLE, "the server is going away and did not process this call", sent=False)

    def _take_window(self, frame: http2.Frame, reply: _Reply) -> None:
        increment = int.from_bytes(frame.payload[:4], "big") & 0x7FFFFFFF
        if frame.stream == 0:
            self._window += increment
        elif frame.stream == reply.stream:
            reply.window += increment


_TAKING: dict[int, Callable[[Unary, http2.Frame, _Reply], None]] = {
    http2.DATA: Unary._take_data,  # noqa: SLF001  (its own table of methods)
    http2.HEADERS: Unary._take_headers,  # noqa: SLF001
    http2.CONTINUATION: Unary._take_headers,  # noqa: SLF001
    http2.RST_STREAM: Unary._take_reset,  # noqa: SLF001
    http2.SETTINGS: Unary._take_settings,  # noqa: SLF001
    http2.PING: Unary._take_ping,  # noqa: SLF001
    http2.GOAWAY: Unary._take_goaway,  # noqa: SLF001
    http2.WINDOW_UPDATE: Unary._take_window,  # noqa: SLF001
}


def _left(deadline: float) -> float:
    """Seconds until `deadline`; TimeoutError once it has passed."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _message(reply: _Reply) -> bytes:
    """Return the message of a whole answer, or raise the error that it is."""
    status = reply.headers.get("grpc-status")
    if status is None:
        said = reply.headers.get(":status", "no status")
        raise CallError(UNAVAILABLE, f"HTTP {said} without a gRPC status", sent=True)
    if status != "0":
        code = int(status) if status.isdecimal() else UNKNOWN
        raise CallError(code, unquote(reply.headers.get("grpc-message", "")), sent=True)
    data = b"".join(reply.data)
    if len(data) < _PREFIX or data[0] or int.from_bytes(data[1:_PREFIX], "big") != len(data) - _PREFIX:
        raise CallError(INTERNAL, f"an answer of {len(data)} bytes is not one uncompressed message", sent=True)
    return data[_PREFIX:]
