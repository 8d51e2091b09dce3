"""The command lines of Flink's kinds of processes, and the files that each reads. Pure.

jobmanager   StandaloneSessionClusterEntrypoint   config.yaml, log4j.properties
taskmanager  TaskManagerRunner                    config.yaml, log4j.properties
zookeeper    FlinkZooKeeperQuorumPeer             zoo.cfg, data/myid, log4j.properties
store        see store.py
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from chaos.model import Process
from chaos.stacks import java
from chaos.stacks.flink import settings as flink
from chaos.stacks.flink import store

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from chaos.stacks.flink.settings import FlinkSettings, Ground
    from chaos.stacks.flink.versions import Programs

_MAIN = {
    flink.JOBMANAGER: "org.apache.flink.runtime.entrypoint.StandaloneSessionClusterEntrypoint",
    flink.TASKMANAGER: "org.apache.flink.runtime.taskexecutor.TaskManagerRunner",
    flink.ZOOKEEPER: "org.apache.flink.runtime.zookeeper.FlinkZooKeeperQuorumPeer",
}
_MEMORY = {
    flink.JOBMANAGER: ("-Xms96m", "-Xmx256m", "-XX:MaxMetaspaceSize=256m", "-XX:ReservedCodeCacheSize=64m"),
    flink.TASKMANAGER: (
        "-Xms96m",
        "-Xmx160m",
        "-XX:MaxDirectMemorySize=128m",
        "-XX:MaxMetaspaceSize=160m",
        "-XX:ReservedCodeCacheSize=64m",
    ),
    flink.ZOOKEEPER: ("-Xms32m", "-Xmx64m"),
}
_EXPORTED = (
    "java.rmi/sun.rmi.registry",
    "jdk.compiler/com.sun.tools.javac.api",
    "java.security.jgss/sun.security.krb5",
)
_OPENED = (
    *(f"java.base/java.{part}" for part in ("lang", "net", "io", "nio", "text", "time", "util", "lang.reflect")),
    *(f"java.base/java.util.{part}" for part in ("concurrent", "concurrent.atomic", "concurrent.locks")),
    "java.base/sun.nio.ch",
)
OPENED = (
    *(f"--add-exports={name}=ALL-UNNAMED" for name in _EXPORTED),
    *(f"--add-opens={name}=ALL-UNNAMED" for name in _OPENED),
)
"""What Flink's own configuration (env.java.opts.all) opens of the JDK to it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where one process lives: its node's role and name, its data folder, and its log."""

    role: str
    name: str
    folder: Path
    log: Path

    @property
    def home(self) -> Path:
        """Where its configuration lies."""
        return self.folder / self.role


def files(settings: FlinkSettings, ground: Ground, place: Place) -> Mapping[Path, str]:
    """Return path → text of what the process of a place reads."""
    home = place.home
    if place.role == flink.STORE:
        return {}
    log4j = {home / "log4j.properties": flink.LOG4J}
    if place.role == flink.ZOOKEEPER:
        data = home / "data"
        return {
            **log4j,
            home / "zoo.cfg": flink.zookeeper_text(settings, ground, place.name, data),
            data / "myid": "1\n",
        }
    made = flink.jobmanager_options if place.role == flink.JOBMANAGER else flink.taskmanager_options
    options = {"io.tmp.dirs": str(home / "tmp"), **made(settings, ground, place.name)}
    return {**log4j, home / "config.yaml": flink.text(options), home / "tmp" / ".keep": ""}


def process(programs: Programs, place: Place, *, address: str = "", options: tuple[str, ...] = ()) -> Process:
    """Return the process of a place; `address` is its node's, `options` are more flags of the JVM."""
    if place.role == flink.STORE:
        assert programs.gateway is not None, "a store was asked for, and not provided"
        return store.process(programs.gateway, address, place.folder, place.log)
    home = place.home
    jars = programs.jars(place.role)
    argv = java.command(
        _MAIN[place.role],
        jars=jars,
        memory=_MEMORY[place.role],
        archive=programs.archives.get(place.role),
        options=(
            *options,
            *OPENED,
            f"-Dlog4j.configurationFile={(home / 'log4j.properties').as_uri()}",
            "-Dlog4j2.disable.jmx=true",
        ),
        arguments=_arguments(place),
    )
    found = store.environment(programs.plugins) if programs.plugins else {}
    return Process(name=place.role, argv=argv, env=found, cwd=str(place.folder), log=str(place.log))


def _arguments(place: Place) -> tuple[str, ...]:
    if place.role == flink.ZOOKEEPER:
        return ("--zkConfigFile", str(place.home / "zoo.cfg"), "--peerId", "1")
    configured = ("--configDir", str(place.home))
    return (*configured, "--executionMode", "cluster") if place.role == flink.JOBMANAGER else configured
