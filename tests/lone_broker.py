"""One Kafka broker on loopback, on ports and in a folder of its own; gone with the block. Benchmarks take it, too."""

from __future__ import annotations

import socket
import subprocess
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from shutil import copy, rmtree
from tempfile import mkdtemp
from typing import TYPE_CHECKING

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, NewTopic

from chaos.stacks.kafka.settings import (
    LOG4J,
    KafkaSettings,
    broker_command,
    meta_properties,
    properties_text,
    server_properties,
)
from chaos.stacks.kafka.versions import DEFAULT_VERSION, provide

if TYPE_CHECKING:
    from collections.abc import Iterator

NAME = "kafka1"
UP_S = 90.0  # other work may have the machine


@dataclass
class LoneBroker:
    """`start` and `kill` keep data and ports."""

    folder: Path
    ports: tuple[int, int]
    process: subprocess.Popen[bytes] | None = field(default=None)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.ports[0]}"

    @property
    def endpoints(self) -> dict[str, str]:
        return {NAME: self.address}

    def furnish(self) -> None:
        software = provide(DEFAULT_VERSION)
        data = self.folder / "data"
        data.mkdir()
        copy(software.bootstrap, data)
        (data / "meta.properties").write_text(meta_properties(NAME, "8pXb2FQsQ5mFv1G0Pq3ZrA"))
        quorum = {NAME: f"127.0.0.1:{self.ports[1]}"}
        settings = server_properties(KafkaSettings(brokers=1), NAME, self.endpoints, quorum, data)
        (self.folder / "server.properties").write_text(properties_text(settings))
        (self.folder / "log4j2.properties").write_text(LOG4J)
        self.argv = broker_command(software.jars, self.folder, archive=software.archive)

    def start(self) -> None:
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(self.argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        deadline = time.monotonic() + UP_S
        while not self._answers():
            assert self.process.poll() is None, (self.folder / "log").read_text()[-2000:]
            assert time.monotonic() < deadline, (self.folder / "log").read_text()[-2000:]
            time.sleep(0.1)

    def _answers(self) -> bool:
        try:
            return len(self._admin().list_topics(timeout=1.0).brokers) == 1
        except KafkaException:
            return False

    def topic(self, name: str, partitions: int = 4, **config: str) -> str:
        asked = NewTopic(name, partitions, 1, config={key.replace("_", "."): text for key, text in config.items()})
        admin = self._admin()
        admin.create_topics([asked], operation_timeout=10)[name].result(20)
        return name

    def _admin(self) -> AdminClient:
        quick = {"reconnect.backoff.max.ms": 100, "log_level": 0}
        return AdminClient({"bootstrap.servers": self.address, **quick})

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


@contextmanager
def lone_broker() -> Iterator[LoneBroker]:
    folder = Path(mkdtemp(prefix="chaosgate-kafka-"))
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(2)]
        broker = LoneBroker(folder, (sockets[0].getsockname()[1], sockets[1].getsockname()[1]))
    try:
        broker.furnish()
        broker.start()
        yield broker
    finally:
        broker.kill()
        rmtree(folder)
