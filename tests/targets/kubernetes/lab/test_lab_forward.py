"""A port of loopback that leads elsewhere: both ways, each end passed on, and nothing once it is closed."""

from __future__ import annotations

import contextlib
import socket
import threading

import pytest

from chaos.targets.kubernetes.lab.forward import Forward

PATIENCE_S = 30


class Upper:
    """A server that answers in capitals when its client has said all, and keeps who came."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.place = self.listener.getsockname()
        self.came = []
        threading.Thread(target=self._serve, daemon=True).start()

    def end(self):
        with contextlib.suppress(OSError):  # a close alone does not wake who accepts, and so does not end it
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    def _serve(self):
        with contextlib.suppress(OSError):
            while True:
                one, _ = self.listener.accept()
                self.came.append(one)
                threading.Thread(target=self._answer, args=(one,), daemon=True).start()

    @staticmethod
    def _answer(one):
        with contextlib.suppress(OSError):
            said = b""
            while part := one.recv(1000):
                said += part
            one.sendall(said.upper())
            one.close()


@pytest.fixture
def server():
    upper = Upper()
    yield upper
    upper.end()


@pytest.fixture
def forward(server):
    made = Forward(contextlib.nullcontext(), server.place)
    yield made
    made.close()


def said(port, text):
    with socket.create_connection(("127.0.0.1", port), PATIENCE_S) as one:
        one.sendall(text)
        one.shutdown(socket.SHUT_WR)
        answer = b""
        while part := one.recv(1 << 16):
            answer += part
    return answer


def test_what_is_said_arrives_and_the_answer_comes_back(forward):
    assert said(forward.port, b"hello") == b"HELLO"


def test_much_is_passed_on_whole(forward):
    assert said(forward.port, b"x" * 3_000_000) == b"X" * 3_000_000


def test_several_at_once_are_kept_apart(forward):
    answers = {}
    threads = [
        threading.Thread(target=lambda i=i: answers.update({i: said(forward.port, b"a%d" % i)})) for i in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert answers == {i: b"A%d" % i for i in range(20)}


def test_a_server_that_is_down_is_told_by_the_end_and_the_next_is_served(server):
    server.end()
    gone = Forward(contextlib.nullcontext(), server.place)
    try:
        for _ in range(2):
            with socket.create_connection(("127.0.0.1", gone.port), PATIENCE_S) as one:
                assert one.recv(10) == b""
    finally:
        gone.close()


def test_after_the_end_nobody_listens_and_open_connections_have_ended(server):
    forward = Forward(contextlib.nullcontext(), server.place)
    with socket.create_connection(("127.0.0.1", forward.port), PATIENCE_S) as one:
        one.sendall(b"x")
        forward.close()
        forward.close()
        one.settimeout(PATIENCE_S)
        with contextlib.suppress(ConnectionResetError):  # what was sent and never read makes the end a reset
            assert one.recv(10) == b""
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", forward.port), PATIENCE_S)
