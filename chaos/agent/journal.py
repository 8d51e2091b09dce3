"""The undo is on disk before the fault is in the world.

    write + fsync(file) + fsync(folder) ─▶ touch ─▶ undo ─▶ unlink

One JSON file an action in a folder that the fault can't take away. A folder has one living owner, who holds a
flock on `owner.lock`; what no living owner holds may be replayed by anybody. A record is data: which undo, with
which arguments. Undo must be idempotent, since a crash between undo and unlink replays it.

Sources: write-ahead order and fsync of the folder, fsync(2); locks that die with their holder, flock(2).
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from chaos.agent.points import effect
from chaos.errors import AgentError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

LOCK = "owner.lock"  # holds the pid of who has the lock
FREE_S = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """How to take back one action: `name` is unique in its folder, `kind` names the undo, `undo` are its arguments."""

    name: str
    kind: str
    undo: Mapping[str, Any]


class Journal:
    """A folder of undo records, owned by this process until `close`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise AgentError(f"{folder}: the undo journal can't be opened: {error}; nothing was touched") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            raise AgentError(f"{folder}: a living process owns this journal; end it first") from None
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, str(os.getpid()).encode(), 0)

    def write(self, record: Record) -> None:
        """Put the record on disk for good; AgentError if that can't be done (then touch nothing)."""
        try:
            effect("journal.write", lambda: _write_durably(self._path(record.name), record))
        except OSError as error:
            raise AgentError(
                f"{self.folder}: the undo of {record.name} can't be written: {error}; nothing was touched"
            ) from error

    def forget(self, name: str) -> None:
        """Remove a record whose undo is done; content to find nothing."""
        effect("journal.forget", lambda: self._path(name).unlink(missing_ok=True))

    def records(self) -> list[Record]:
        """Return what is still to be undone, oldest first."""
        return read(self.folder)

    def close(self) -> None:
        """Give up ownership; records stay."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _path(self, name: str) -> Path:
        if not name or "/" in name or name.startswith("."):
            raise AgentError(f"{name!r} can't name an action; use letters, digits, dots and dashes")
        return self.folder / f"{name}.json"


def read(folder: Path) -> list[Record]:
    """Return the records of a folder, oldest first; a torn one was never acted upon and is left out.

    A record is written to `.new` and renamed, so a torn file is one whose effect never began.
    """
    found = sorted(folder.glob("*.json"), key=lambda path: (path.stat().st_mtime_ns, path.name))
    return [Record(**json.loads(path.read_text(encoding="utf-8"))) for path in found]


def await_free(folder: Path, within_s: float = FREE_S) -> None:
    """Wait while somebody owns a folder who will soon have done with it: a standby that looks, or replays."""
    until = time.monotonic() + within_s
    while is_owned(folder) and time.monotonic() < until:
        time.sleep(0.05)


def owner(folder: Path) -> int:
    """Return the pid of who owned a folder last; 0 if nobody tells."""
    try:
        return int((folder / LOCK).read_text(encoding="ascii") or 0)
    except (OSError, ValueError):
        return 0


def is_owned(folder: Path) -> bool:
    """Tell whether a living process holds the folder."""
    try:
        lock = os.open(folder / LOCK, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


def private(path: str, flags: int) -> int:
    """Open a file that nobody else may write, whatever the umask: trust.py refuses any other."""
    return os.open(path, flags, 0o600)


def _write_durably(path: Path, record: Record) -> None:
    text = json.dumps({"name": record.name, "kind": record.kind, "undo": dict(record.undo)})
    new = path.with_suffix(".new")
    with open(new, "w", encoding="utf-8", opener=private) as file:  # Path.open takes no opener
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    new.rename(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
