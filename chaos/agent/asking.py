"""What time it is to a process with a given environment: `python -m chaos.agent.asking` in a /dev/shm of its own.

libfaketime leaves two files in /dev/shm for every program that it is loaded into; these go with the mount namespace.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from chaos.errors import AgentError
from chaos.targets.netns.syscalls import CLONE_NEWNS, MS_NODEV, MS_NOSUID, MS_REC, MS_SLAVE, mount, unshare

if TYPE_CHECKING:
    from collections.abc import Mapping

ASK_S = 10.0
_ROOT = Path(__file__).resolve().parents[2]  # the folder that holds the package `chaos`
_TELL = "import time; print(time.time_ns(), time.clock_gettime_ns(time.CLOCK_MONOTONIC))"


def offset_s(environment: Mapping[str, str]) -> float:
    """Return how far the wall clock of a process with this environment is ahead of ours; AgentError if none starts."""
    code = "import sys; sys.path.insert(0, sys.argv[1]); from chaos.agent.asking import main; main(sys.argv[2])"
    argv = [sys.executable, "-I", "-S", "-c", code, str(_ROOT), json.dumps(dict(environment))]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=ASK_S)
        wall_ns, mono_ns = map(int, done.stdout.split())
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        raise AgentError(f"no process could tell the node's time: {error}") from error
    return (wall_ns - (time.time_ns() - time.monotonic_ns() + mono_ns)) / 1e9


def main(environment: str) -> None:
    """Become a process that tells its time, wall and monotonic clock in nanoseconds."""
    unshare(CLONE_NEWNS)
    mount("none", "/", flags=MS_REC | MS_SLAVE)
    mount("tmpfs", "/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV)  # noqa: S108 - it is new, and ours alone
    told = {**os.environ, **json.loads(environment)}
    os.execve(sys.executable, [sys.executable, "-I", "-S", "-c", _TELL], told)  # noqa: S606 - what is to tell the time
