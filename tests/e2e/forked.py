"""`chaosgate` commands as forks of a server that has imported everything: importing is a third of a short run.

    pytest ─▶ server (imports once) ─fork─▶ the command: a session, an environment and an output of its own

How a run begins as a user begins it is what the other tests of this folder see: short.command.
"""

from __future__ import annotations

import multiprocessing
import os
import subprocess
from multiprocessing import forkserver
from multiprocessing.reduction import DupFd
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(
    [
        "chaos.cli",
        "chaos.live",
        "chaos.session",
        "chaos.targets.netns.target",
        "httpx",
        "scipy.stats",
        "tests.e2e.forked",
    ]
)


class Forked:
    """What there is of subprocess.Popen that a test of an ending needs."""

    def __init__(self, *arguments: object, env: Mapping[str, str]) -> None:
        read, write = os.pipe()
        self._process = _CONTEXT.Process(
            target=_become, args=([*map(str, arguments)], dict(env), DupFd(write)), name="chaosgate"
        )
        try:
            self._process.start()
        finally:
            os.close(write)
        self.stdout = os.fdopen(read, encoding="utf-8")

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if (code := self._process.exitcode) is None:
            raise subprocess.TimeoutExpired("chaosgate", timeout or 0.0)
        return code

    def kill(self) -> None:
        self._process.kill()


def serve() -> None:
    """Start the server now and wait until it serves, so that a look at what is left behind finds it before and after.

    One that has only just been forked is no process of ours yet, as its environment has it.
    """
    forkserver.ensure_running()
    first = _CONTEXT.Process(target=os.getpid)
    first.start()
    first.join()


def _become(arguments: list[str], env: dict[str, str], output: DupFd) -> None:
    from chaos.cli import main

    os.setsid()
    said = output.detach()
    os.dup2(said, 1)
    os.dup2(said, 2)
    os.close(said)
    os.environ.clear()
    os.environ.update(env)
    main(arguments, prog_name="chaosgate")
