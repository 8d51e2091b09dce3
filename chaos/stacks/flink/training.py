"""One short run of Flink on loopback that leaves archives of the classes that its processes load.

zookeeper, jobmanager, taskmanager ── -XX:ArchiveClassesAtExit ──▶ up ─▶ a job of its own makes ─▶ RUNNING
   ─▶ a job between brokers that nobody is ─▶ its connectors are loaded, and fail ─▶ SIGTERM ─▶ <folder>/<role>.jsa
"""

from __future__ import annotations

import random
import subprocess
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from chaos.clock import MonotonicClock, ns
from chaos.environment import of_children
from chaos.errors import StackError
from chaos.stacks import java
from chaos.stacks.flink import jobs
from chaos.stacks.flink.processes import Place, files, process
from chaos.stacks.flink.rest import FlinkRest, RestError
from chaos.stacks.flink.settings import (
    JOBMANAGER,
    REST_PORT,
    TASKMANAGER,
    ZOOKEEPER,
    FlinkSettings,
    Ground,
    JobSettings,
    servers,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from chaos.model import Process
    from chaos.stacks.flink.versions import Programs

_SETTINGS = FlinkSettings(taskmanagers=1)
_ONE_EACH = (ZOOKEEPER, JOBMANAGER, TASKMANAGER)
_READY_S = 90.0
_LOOK_ROUND_S = 3.0  # for the connectors' own threads
_END_S = 60.0  # an archive is written at the end, which takes seconds
_POLL_S = 0.1
_ASK_S = 60.0  # a first script is planned in seconds
_NOBODY = "127.0.0.1:9"  # the discard port: refuses at once


def train(programs: Programs, folder: Path) -> None:
    """Leave <role>.jsa in `folder` for each role. StackError with a log's tail if Flink does not come up."""
    with tempfile.TemporaryDirectory(prefix="chaosgate-flink-") as scratch, ExitStack() as running:
        ground = _ground(Path(scratch))
        started: dict[str, subprocess.Popen[bytes]] = {}
        for role in _ONE_EACH:
            made = _prepared(programs, ground, Path(scratch), role, folder)
            started[role] = running.enter_context(_start(made))
            running.callback(started[role].kill)
        _exercise(programs, f"{ground.addresses['jobmanager1']}:{REST_PORT}", Path(scratch))
        for role in reversed(_ONE_EACH):
            _end(role, started[role])


def _ground(scratch: Path) -> Ground:
    """Return loopback addresses that nobody else is likely to have: one a node."""
    net = f"127.{random.randrange(1, 255)}.{random.randrange(256)}"
    names = [node.name for node in servers(_SETTINGS)]
    return Ground(addresses={name: f"{net}.{i + 1}" for i, name in enumerate(names)}, shared=scratch / "shared")


def _prepared(programs: Programs, ground: Ground, scratch: Path, role: str, folder: Path) -> Process:
    place = Place(role=role, name=f"{role}1", folder=scratch / role, log=scratch / f"{role}.log")
    for path, text in files(_SETTINGS, ground, place).items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return process(programs, place, options=(java.archiving(folder / f"{role}.jsa"),))


def _start(made: Process) -> subprocess.Popen[bytes]:
    with Path(made.log).open("ab") as log:
        return subprocess.Popen(
            made.argv, cwd=made.cwd, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=of_children()
        )


def _exercise(programs: Programs, address: str, scratch: Path) -> None:
    with FlinkRest(address, timeout_s=_ASK_S) as rest:
        _until(lambda: rest.overview().taskmanagers == 1, "a TaskManager", scratch)
        jar = rest.upload(programs.runner)
        settings = JobSettings(parallelism=1)
        own = rest.run_sql(jar, jobs.script("numbers", jobs.Submission(settings=settings), ()))
        _until(lambda: rest.job(own).runs, "a job that is RUNNING", scratch)
        rest.run_sql(jar, jobs.script("keyed-count", jobs.Submission(settings=settings), (_NOBODY,)))
        clock = MonotonicClock()
        clock.sleep_until(clock.now_ns() + ns(_LOOK_ROUND_S))


def _until(true: Callable[[], bool], what: str, scratch: Path) -> None:
    clock = MonotonicClock()
    deadline_ns = clock.now_ns() + ns(_READY_S)
    while clock.now_ns() < deadline_ns:
        try:
            if true():
                return
        except RestError:  # not up yet
            pass
        clock.sleep_until(clock.now_ns() + ns(_POLL_S))
    raise StackError(f"Flink did not come up to have its classes archived: no {what}\n{_tails(scratch)}")


def _tails(scratch: Path) -> str:
    logs: Mapping[str, list[str]] = {
        log.stem: log.read_text(errors="replace").splitlines() for log in scratch.glob("*.log")
    }
    return "\n".join(line for name, lines in logs.items() for line in (f"--- {name}", *lines[-5:]))


def _end(role: str, running: subprocess.Popen[bytes]) -> None:
    running.terminate()
    try:
        running.wait(_END_S)
    except subprocess.TimeoutExpired as error:
        raise StackError(f"{role}: did not end within {_END_S:g} s of SIGTERM, so there is no class archive") from error
