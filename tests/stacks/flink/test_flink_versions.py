from __future__ import annotations

import contextlib
import socket
import threading

import pytest

from chaos.errors import UsageError
from chaos.model import StackSpec
from chaos.stacks.flink import versions, zookeeper
from chaos.stacks.flink.stack import FlinkStack
from chaos.stacks.flink.versions import DEFAULT_VERSION, VERSIONS, origin, provide
from chaos.stacks.flink.zookeeper import ZooKeeperError


@pytest.fixture
def empty(monkeypatch, tmp_path):
    monkeypatch.setenv("CHAOSGATE_CACHE", str(tmp_path))
    return tmp_path


@contextlib.contextmanager
def saying(answer):
    """Serve one connection: read a word, answer, close."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve():
            connection, _ = server.accept()
            with connection:
                connection.recv(4)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        thread.join()


# ---------------------------------------------------------------- where it is from


def test_an_unknown_version_is_refused_and_a_near_one_named(empty):
    for ask in (origin, provide):
        with pytest.raises(UsageError, match=r"flink 2\.3\.1: no such version; did you mean '2\.3\.0'"):
            ask("2.3.1")


def test_what_is_not_at_hand_is_said_and_not_fetched(empty):
    assert "not at hand" in origin(DEFAULT_VERSION)
    assert versions.installed() == ()
    assert list(empty.iterdir()) == []


def test_the_default_is_said_to_be_one(empty):
    asked = FlinkStack.of(StackSpec(name="flink", versions={"flink": VERSIONS[0]}))
    assert FlinkStack.of(StackSpec(name="flink")).origin("").endswith("; the default")
    assert VERSIONS[0] in asked.origin("")
    assert "default" not in asked.origin("")


# ---------------------------------------------------------------- zookeeper's words


def test_zookeeper_says_its_version():
    with saying(b"Zookeeper version: 3.7.2-3c6f1a2, built on 2023-10-05\nMode: standalone\n") as address:
        assert zookeeper.version(zookeeper.ask(address, "srvr", 5.0)) == "3.7.2"
    assert zookeeper.version("Mode: standalone") == ""


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"dump is not executed because it is not in the whitelist.\n",
        b"This ZooKeeper instance is not currently serving requests\n",
    ],
)
def test_a_refusal_is_no_answer(answer):
    with saying(answer) as address, pytest.raises(ZooKeeperError, match="dump"):
        zookeeper.ask(address, "dump", 5.0)


def test_silence_is_no_answer():
    with pytest.raises(ZooKeeperError, match=r"127\.0\.0\.1:9"):
        zookeeper.ask("127.0.0.1:9", "srvr", 1.0)
