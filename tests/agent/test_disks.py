"""Who is asked about a node's disk: one that is silent is not one that is gone, however deep its socket lies."""

from __future__ import annotations

import json
import socket
import threading

import pytest

from chaos.agent import disks
from chaos.agent.disks import DiskGoneError
from chaos.errors import AgentError
from chaos.targets.netns.wire import short


@pytest.fixture
def deep(tmp_path):
    """A path that is too long for unix(7) as it stands."""
    folder = tmp_path / ("deep" * 30)
    folder.mkdir()
    return folder / "node.disk"


def listening(path):
    server = socket.socket(socket.AF_UNIX)
    with short(path) as address:
        server.bind(address)
    server.listen()
    return server


def test_a_disk_is_asked_however_deep_its_socket_lies(deep):
    with listening(deep) as server:

        def answer():
            connection, _ = server.accept()
            with connection:
                asked = json.loads(connection.makefile("rb").readline())
                connection.sendall(json.dumps({"asked": asked["op"]}).encode() + b"\n")

        threading.Thread(target=answer, daemon=True).start()
        assert disks.ask(str(deep), {"op": "state"}) == {"asked": "state"}


def test_a_disk_that_was_never_there_and_one_that_has_died_are_gone(deep):
    with pytest.raises(DiskGoneError):
        disks.ask(str(deep), {"op": "state"})
    listening(deep).close()  # its file stays, and nobody listens
    with pytest.raises(DiskGoneError):
        disks.ask(str(deep), {"op": "state"})


def test_a_disk_that_keeps_silent_is_not_gone_and_its_rule_may_be_in_force(deep, monkeypatch):
    monkeypatch.setattr(disks, "ASK_S", 0.05)
    with listening(deep), pytest.raises(AgentError) as caught:
        disks.ask(str(deep), {"op": "remove", "name": "slow"})
    assert not isinstance(caught.value, DiskGoneError)
