"""What each of Flink's processes says it is.

jobmanager  GET /config of its own        zookeeper  srvr        taskmanager  the first lines of its log
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING

from chaos.errors import StackError
from chaos.stacks.flink import zookeeper
from chaos.stacks.flink.rest import FlinkRest
from chaos.stacks.flink.settings import JOBMANAGER, TASKMANAGER, ZOOKEEPER, ZOOKEEPER_PORT, servers
from chaos.store import sha256

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
    jar = stack.running.programs.dist
    facts = {"sha256": _hash(jar), "path": str(jar), "asked": stack.version, "of": "file"}
    if role in (JOBMANAGER, TASKMANAGER):
        facts["job"] = f"{stack.settings.job.name} {stack.submission.version}"
    try:
        return {"version": _TOLD[role](stack, name), **facts}
    except StackError as error:
        return {"version": "", **facts, "why": str(error)}


@cache
def _hash(jar: Path) -> str:
    """Hash a jar once a process: Flink's is 200 MB, and lies in the cache, where a changed one is not whole."""
    return sha256(jar)


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
}
