"""One broker, started once on loopback, whose classes are archived as it ends; and the format of a data folder.

StorageTool format ─▶ bootstrap.checkpoint, the same for every broker of a version
start ─▶ a topic, an acknowledged record ─▶ SIGTERM ─▶ classes.jsa

The checkpoint spares every later start the tool (a JVM of its own): `meta.properties` beside it is four lines.
"""

from __future__ import annotations

import contextlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from chaos.environment import of_children
from chaos.errors import UsageError
from chaos.stacks import java
from chaos.stacks.kafka.client import Brokers, create_topic
from chaos.stacks.kafka.ready import not_writable
from chaos.stacks.kafka.settings import (
    CLUSTER_ID,
    LOG4J,
    MEMORY,
    KafkaSettings,
    broker_command,
    properties_text,
    server_properties,
)
from chaos.stacks.kafka.wire import KafkaError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

BOOTSTRAP = "bootstrap.checkpoint"
_STORAGE_TOOL = "kafka.tools.StorageTool"
_NAME = "kafka1"
_UP_S = 90.0
_DOWN_S = 90.0  # writing the archive takes seconds
_POLL_S = 0.1
_TAIL_LINES = 5


def train(jars: Sequence[Path], archive: Path) -> None:
    """Make `archive`, and the checkpoint beside it; UsageError with the log's tail if the broker does not serve."""
    with tempfile.TemporaryDirectory(prefix="kafka-") as scratch:
        folder = Path(scratch)
        brokers = _furnished(folder)
        _format(jars, folder)
        shutil.copy(folder / "data" / BOOTSTRAP, archive.with_name(BOOTSTRAP))
        argv = broker_command(jars, folder, archive=None, more=[java.archiving(archive)])
        with _running(argv, folder / "log") as broker:
            _serve(broker, brokers, folder / "log")


def _furnished(folder: Path) -> Brokers:
    """Write the settings of a lone broker on two free ports."""
    client, controller = _free_ports(2)
    brokers = Brokers(endpoints={_NAME: f"127.0.0.1:{client}"}, quorum={_NAME: f"127.0.0.1:{controller}"})
    properties = server_properties(KafkaSettings(brokers=1), _NAME, brokers.endpoints, brokers.quorum, folder / "data")
    (folder / "server.properties").write_text(properties_text(properties), encoding="utf-8")
    (folder / "log4j2.properties").write_text(LOG4J, encoding="utf-8")
    return brokers


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [int(one.getsockname()[1]) for one in sockets]


def _format(jars: Sequence[Path], folder: Path) -> None:
    arguments = ["format", "-t", CLUSTER_ID, "-c", f"{folder}/server.properties"]
    done = subprocess.run(
        java.command(_STORAGE_TOOL, jars=jars, memory=MEMORY, arguments=arguments),
        capture_output=True,
        text=True,
        env=of_children(),
        check=False,
    )
    if done.returncode:
        said = " / ".join((done.stderr or done.stdout).strip().splitlines()[-_TAIL_LINES:])
        raise UsageError(f"Kafka's StorageTool ended with {done.returncode}: {said}; are these jars of one release?")


@contextlib.contextmanager
def _running(argv: Sequence[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run the broker; end it by SIGTERM, so that it writes its archive, and by SIGKILL if that takes too long."""
    with log.open("wb") as out:
        broker = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True, env=of_children()
        )
    try:
        yield broker
        broker.send_signal(signal.SIGTERM)
        broker.wait(_DOWN_S)
    finally:
        if broker.poll() is None:
            broker.kill()
            broker.wait()


def _serve(broker: subprocess.Popen[bytes], brokers: Brokers, log: Path) -> None:
    """Wait until a topic can be made and written to; that also loads what a start alone would not."""
    deadline, why = time.monotonic() + _UP_S, "not asked yet"
    while time.monotonic() < deadline and broker.poll() is None:
        try:
            brokers.ask_one(
                _NAME,
                lambda wire: create_topic(wire, "trained", partitions=1, replicas=1, config={}, timeout_s=5.0),
                5.0,
            )
            why = not_writable(brokers.bootstrap, "trained", 1, 5.0)
        except KafkaError as error:
            why = str(error)
        if not why:
            return
        time.sleep(_POLL_S)
    tail = " / ".join(log.read_text(errors="replace").splitlines()[-_TAIL_LINES:])
    raise UsageError(f"a broker that was started for its class archive does not serve: {why}; its log ends: {tail}")
