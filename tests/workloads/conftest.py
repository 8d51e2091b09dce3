"""A real etcd and a real Kafka broker on loopback, on ports of their own, gone when the test is."""

from __future__ import annotations

import itertools
import shutil
import socket
import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from chaos.stacks.etcd.versions import DEFAULT_VERSION, provide
from tests.lone_broker import lone_broker
from workloads import etcd_messages as etcd
from workloads.unary import CallError, Unary

if TYPE_CHECKING:
    import signal
    from pathlib import Path


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


@dataclass
class Etcd:
    """One member; `kill` and `start` keep data and ports."""

    folder: Path
    client: int
    peer: int
    process: subprocess.Popen | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.client}"

    @property
    def endpoints(self) -> dict[str, str]:
        return {"etcd1": self.address}

    def start(self) -> None:
        url, peer = f"http://{self.address}", f"http://127.0.0.1:{self.peer}"
        argv = [
            str(provide(DEFAULT_VERSION)),
            "--name",
            "m",
            "--data-dir",
            str(self.folder / "data"),
            "--unsafe-no-fsync",
        ]
        argv += ["--listen-client-urls", url, "--advertise-client-urls", url, "--listen-peer-urls", peer]
        argv += ["--initial-advertise-peer-urls", peer, "--initial-cluster", f"m={peer}", "--log-level", "error"]
        with (self.folder / "etcd.log").open("ab") as log:
            self.process = subprocess.Popen(argv, stdout=log, stderr=log)
        self.wait()

    def wait(self) -> None:
        deadline = time.monotonic() + 20
        while True:
            client = Unary(self.address, timeout_s=1)
            try:
                client.call(etcd.PUT, etcd.put_request("ready", "1"))
            except CallError:
                assert time.monotonic() < deadline, (self.folder / "etcd.log").read_text()
                time.sleep(0.05)
            else:
                return
            finally:
                client.close()

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


@pytest.fixture
def etcd_member(tmp_path):
    client, peer = free_ports(2)
    member = Etcd(tmp_path / "etcd", client, peer)
    member.folder.mkdir()
    try:
        member.start()
        yield member
    finally:
        member.kill()
        shutil.rmtree(member.folder)


@pytest.fixture(scope="module")
def shared_etcd(tmp_path_factory):
    client, peer = free_ports(2)
    member = Etcd(tmp_path_factory.mktemp("etcd"), client, peer)
    try:
        member.start()
        yield member
    finally:
        member.kill()


@pytest.fixture(scope="module")
def broker():
    with lone_broker() as one:
        yield one


_NUMBERS = itertools.count(1)


@pytest.fixture
def topics(broker):
    """Make topics, `made("in", "out")`, under names that no other test has."""
    number = next(_NUMBERS)
    return lambda *names, partitions=4: [broker.topic(f"{name}-{number}", partitions) for name in names]
