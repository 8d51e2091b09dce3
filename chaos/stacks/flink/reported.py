"""What each of Flink's processes says it is.

jobmanager  GET /config of its own        zookeeper  srvr        taskmanager  the first lines of its log
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING

from chaos.errors import StackError
from chaos.stacks import java
from chaos.stacks.flink import store, zookeeper
from chaos.stacks.flink.rest import FlinkRest
from chaos.stacks.flink.settings import JOBMANAGER, STORE, TASKMANAGER, ZOOKEEPER, ZOOKEEPER_PORT, servers
from chaos.store import executable, sha256, stamp

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from chaos.stacks.flink.stack import FlinkStack

_ASK_S = 1.0
_STARTING = re.compile(r"Starting .*\(Version: ([\w.-]+)")


def of_nodes(stack: FlinkStack) -> Mapping[str, Mapping[str, str]]:
    """Return node → version, sha256, path, asked, of; and why, where the version is ""."""
    return {node.name: _facts(stack, node.name, node.role) for node in servers(stack.settings)}


def _facts(stack: FlinkStack, name: str, role: str) -> Mapping[str, str]:
    file = stack.running.programs.gateway if role == STORE else stack.running.programs.dist
    assert file is not None
    running = _running(stack, name, role, file)
    facts = {"sha256": _hash(running or file, stamp(file)), "path": str(file), "of": "process" if running else "file"}
    # Flink brings a ZooKeeper of its own choice: which version that is, nobody asked for.
    facts["asked"] = {STORE: store.version(), ZOOKEEPER: ""}.get(role, stack.version)
    if role in (JOBMANAGER, TASKMANAGER):
        facts["job"] = f"{stack.settings.job.name} {stack.submission.version}"
    try:
        return {"version": _TOLD[role](stack, name), **facts}
    except StackError as error:
        return {"version": "", **facts, "why": str(error)}


def _running(stack: FlinkStack, name: str, role: str, file: Path) -> Path | None:
    """Return the file as the node's process holds it open or executes it; None if that can't be seen from here."""
    state = stack.running.crew.state(name, role)
    if state is None or state.exit_code is not None:
        return None
    if role == STORE:
        return executable(state.pid, str(file))
    argument = "--zkConfigFile" if role == ZOOKEEPER else "--configDir"
    return java.opened(state.pid, argument, file)


@cache
def _hash(file: Path, stamped: str) -> str:  # noqa: ARG001 — another stamp is another file
    """Hash a file once a process: Flink's jar is 200 MB."""
    return sha256(file)


def _of_jobmanager(stack: FlinkStack, name: str) -> str:
    return stack.running.jobmanagers.ask_one(name, FlinkRest.version, _ASK_S)


def _of_zookeeper(stack: FlinkStack, name: str) -> str:
    crew = stack.running.crew
    with crew.lab.entered():
        said = zookeeper.ask(f"{crew.lab.topology().node(name).address}:{ZOOKEEPER_PORT}", "srvr", _ASK_S)
    return zookeeper.version(said)


def _of_taskmanager(stack: FlinkStack, name: str) -> str:
    crew = stack.running.crew
    state = crew.state(name, TASKMANAGER)
    if state is None or state.exit_code is not None:
        raise StackError(f"{name} does not run")
    log = crew.log(name, TASKMANAGER)
    told = in_log(log.read_text(encoding="utf-8", errors="replace"))
    if not told:
        raise StackError(f"{log} does not say which version was started")
    return told


def in_log(text: str) -> str:
    """Return the version that a log names, at the newest start in it; "" if it names none."""
    return next(reversed(_STARTING.findall(text)), "")


_TOLD: Mapping[str, Callable[[FlinkStack, str], str]] = {
    JOBMANAGER: _of_jobmanager,
    ZOOKEEPER: _of_zookeeper,
    TASKMANAGER: _of_taskmanager,
    STORE: lambda *_: store.version(),
}
