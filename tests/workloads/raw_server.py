"""A raw HTTP/2 server that counts what arrives and does as the test says: it never answers unless told to."""

from __future__ import annotations

import contextlib
import socket
import threading

from workloads import http2

GRPC_OK = http2.literals([(":status", "200"), ("content-type", "application/grpc")])
TRAILERS_OK = http2.literals([("grpc-status", "0")])


class Server:
    """`act(send, stream, body)` is called for each whole request; `requests` keeps their bodies."""

    def __init__(self, act=None, *, greeting: bytes = b"") -> None:
        self.requests: list[bytes] = []
        self.frames: list[http2.Frame] = []
        self.connections = 0
        self._act = act
        self._greeting = greeting
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for sock in self._open:
            with contextlib.suppress(OSError):  # the client closed it first
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)
        for sock in self._open:
            sock.close()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._open.append(sock)
            thread = threading.Thread(target=self._serve, args=(sock,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, sock: socket.socket) -> None:
        try:
            self._talk(sock)
        except OSError:
            return

    def _talk(self, sock: socket.socket) -> None:
        sock.sendall(self._greeting or http2.pack_settings({}))
        reader, bodies = http2.FrameReader(), {}
        left = len(http2.PREFACE)  # bytes of the preface still to come
        while data := sock.recv(65536):
            skipped, left = data[left:], max(0, left - len(data))
            reader.feed(skipped)
            while frame := reader.next():
                self.frames.append(frame)
                if frame.kind == http2.DATA:
                    bodies[frame.stream] = bodies.get(frame.stream, b"") + frame.payload
                    if frame.flags & http2.END_STREAM:
                        self.requests.append(bodies[frame.stream])
                        if self._act is not None:
                            self._act(sock, frame.stream, bodies[frame.stream])


def answer(message: bytes, stream: int) -> bytes:
    data = b"\x00" + len(message).to_bytes(4, "big") + message
    return (
        http2.pack(http2.HEADERS, http2.END_HEADERS, stream, GRPC_OK)
        + http2.pack(http2.DATA, 0, stream, data)
        + http2.pack(http2.HEADERS, http2.END_HEADERS | http2.END_STREAM, stream, TRAILERS_OK)
    )


def echo(sock, stream, body):
    sock.sendall(answer(body[5:], stream))


def close(sock, _stream, _body):
    sock.shutdown(socket.SHUT_RDWR)


def reset(code: int):
    def act(sock, stream, _body):
        sock.sendall(http2.pack(http2.RST_STREAM, 0, stream, code.to_bytes(4, "big")))

    return act


def go_away(last: int):
    def act(sock, _stream, _body):
        sock.sendall(http2.pack(http2.GOAWAY, 0, 0, last.to_bytes(4, "big") + bytes(4)))

    return act
