"""A node's disk, spoken to and tried out. The program behind it is chaos/targets/netns/disk.

    ask(socket, {"op": "state"}) ─▶ what it counted, which faults are in force
    trials(folder, kinds, n)     ─▶ n operations of our own of each kind: how long each took, and its errno

Trials go past the page cache (O_DIRECT), on a file of their own in the node's folder, which is removed at the end.
"""

from __future__ import annotations

import itertools
import json
import mmap
import os
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chaos.errors import AgentError
from chaos.targets.netns.wire import short

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

READ, WRITE, SYNC, META = "read", "write", "sync", "meta"
KINDS = (READ, WRITE, SYNC, META)
BLOCK = 4096
ASK_S = 10.0
TRIAL = ".chaosgate-trial"


class DiskGoneError(AgentError):
    """Nobody serves the disk any more, and no rule of it is in force: its socket is gone, or nobody listens there."""


def ask(path: str, request: Mapping[str, Any]) -> dict[str, Any]:
    """Return the disk's state after a request; DiskGoneError if it is gone, AgentError if it refuses or is silent."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as stream, short(Path(path)) as at:
            stream.settimeout(ASK_S)
            stream.connect(at)
            stream.sendall(json.dumps(request).encode() + b"\n")
            with stream.makefile("rb") as lines:
                answer = json.loads(lines.readline() or b"{}")
    except (FileNotFoundError, ConnectionError) as error:
        raise DiskGoneError(f"the disk at {path} does not answer: {error}") from error
    except (OSError, ValueError) as error:
        raise AgentError(f"the disk at {path} does not answer: {error}") from error
    if not answer or answer.get("error"):
        raise AgentError(f"the disk at {path}: {answer.get('error') or 'no answer'}")
    return dict(answer)


def trials(folder: str, kinds: Sequence[str], count: int, workers: int = 1) -> dict[str, list[list[int]]]:
    """Return kind → [nanoseconds, errno (0: done)] of each of `count` operations; AgentError if none can be made.

    `workers` make them side by side, each on a file of its own.
    """
    shares = [count // workers + (n < count % workers) for n in range(workers)]
    with ThreadPoolExecutor(max_workers=workers) as pool:
        made = list(pool.map(lambda n: _tried(f"{folder}/{TRIAL}-{n}", kinds, shares[n]), range(workers)))
    return {kind: [one for mine in made for one in mine[kind]] for kind in kinds}


def _tried(path: str, kinds: Sequence[str], count: int) -> dict[str, list[list[int]]]:
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_DIRECT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise AgentError(f"{path}: can't be made: {error}; nothing can be tried there") from error
    try:
        with mmap.mmap(-1, BLOCK) as block:  # aligned, as O_DIRECT wants it
            with suppress(OSError):  # a full disk has nothing to be read; what is beyond the end is read by nobody
                os.pwritev(fd, [block], 0)
            acts = _acts(fd, path, block)
            return {kind: [_timed(acts[kind]) for _ in range(count)] for kind in kinds}
    finally:
        os.close(fd)
        for name in (path, f"{path}-2"):
            with suppress(OSError):
                os.unlink(name)  # noqa: PTH108 - the paths are strings for the sake of those that are timed


def _acts(fd: int, path: str, block: mmap.mmap) -> dict[str, Callable[[], object]]:
    names = itertools.cycle([(path, f"{path}-2"), (f"{path}-2", path)])
    return {
        READ: lambda: os.preadv(fd, [block], 0),
        WRITE: lambda: os.pwritev(fd, [block], 0),
        SYNC: lambda: os.fsync(fd),
        META: lambda: os.rename(*next(names)),  # noqa: PTH104 - a Path would be timed with it
    }


def _timed(act: Callable[[], object]) -> list[int]:
    began_ns, errno = time.monotonic_ns(), 0
    try:
        act()
    except OSError as error:
        errno = error.errno or -1
    return [time.monotonic_ns() - began_ns, errno]
