"""Who owns a lab's folder, and how what a killed owner left is removed.

    <base>/<id>/owner.lock   flock: held by the controller and the lab's init, as long as either lives
                groups.json  the cgroups it was about to make, written before they were made

A lock that nobody holds has no owner: the folder and its cgroups go. Age proves nothing, and is never asked. A process
that was killed gives its memory back before its locks: a lock that no living process has open is waited for. Cgroups
whose folder was removed by hand bear their lab's id: they go if no process holds that lab's lock, or is in them.

What stands in these folders is acted upon with all our powers, and the base has a name that everybody can guess: a
link, or a folder that another user made or may change, is refused (as ssh refuses the files of others, ssh_config(5)).
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import secrets
import shutil
import stat
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from chaos.agent.trust import swappable
from chaos.errors import UsageError
from chaos.targets.netns import cgroups

if TYPE_CHECKING:
    from collections.abc import Iterable

LOCK = "owner.lock"
GROUPS = "groups.json"
PROC = Path("/proc")
DYING_S = 5.0
_ID = re.compile(r"cg[0-9a-f]{8}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Owned:
    """A folder that is ours for as long as `lock`, an open descriptor, is held somewhere."""

    id: str
    folder: Path
    lock: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Swept:
    """What `sweep` removed, by lab id, and what it had to leave, with the reason."""

    labs: tuple[str, ...] = ()
    groups: tuple[Path, ...] = ()
    failed: tuple[str, ...] = ()


def is_ours(folder: Path) -> bool:
    """Tell whether it is there, a folder and no link, and this user's."""
    try:
        found = folder.lstat()
    except FileNotFoundError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()


def trust(base: Path) -> None:
    """Be content if `base` is our own or not there; UsageError if others may have put it there, or labs in it."""
    if not os.path.lexists(base):
        return
    if not is_ours(base):
        raise UsageError(
            f"{base}: a link, no folder, or another user's (we are uid {os.geteuid()}), so what is in it is not"
            " believed; remove it, or name a folder of your own in CHAOSGATE_LABS"
        )
    if why := swappable(base.stat()):
        raise UsageError(
            f"{base}: {why}, so what is in it is not believed; chmod go-w {base}, or name a folder of your own in"
            " CHAOSGATE_LABS"
        )


def claim(base: Path) -> Owned:
    """Make a folder of a new id below `base`, and lock it; UsageError if the base is another's."""
    trust(base)
    with contextlib.suppress(FileExistsError):
        base.mkdir(parents=True, mode=0o700)
    trust(base)  # whoever was faster than we
    while True:
        lab = f"cg{secrets.token_hex(4)}"
        folder = base / lab
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700)
            lock = _try_lock(folder)
            if lock is not None:
                return Owned(id=lab, folder=folder, lock=lock)


def _try_lock(folder: Path) -> int | None:
    """Lock a folder; None if another holds it or has just removed it."""
    path = folder / LOCK
    try:
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(lock), path.stat()):
            return lock
    except OSError:
        pass  # held, or removed meanwhile
    os.close(lock)
    return None


def note_groups(folder: Path, tops: Iterable[Path]) -> None:
    """Write down which cgroups are about to be made: a sweep has nothing else to go by."""
    (folder / GROUPS).write_text(json.dumps([str(top) for top in tops]), encoding="utf-8")


def clear(folder: Path) -> tuple[Path, ...]:
    """Remove a folder whose lock the caller holds, and its cgroups; return these. OSError if something would not go."""
    noted = folder / GROUPS
    tops: list[str] = []
    with contextlib.suppress(FileNotFoundError, ValueError):  # killed before, or while, it was written
        tops = json.loads(noted.read_text(encoding="utf-8"))
    gone = cgroups.remove(Path(top) for top in tops if Path(top).name == f"chaosgate-{folder.name}")
    shutil.rmtree(folder)
    return gone


def await_dying(base: Path, for_s: float = DYING_S) -> None:
    """Wait, for so long at most, until no lock of a lab below `base` is held by a process that is about to end."""
    deadline = time.monotonic() + for_s
    while _dying(base) and time.monotonic() < deadline:
        time.sleep(0.02)


def _dying(base: Path) -> bool:
    folders = [folder for folder in (base.iterdir() if base.is_dir() else ()) if _ID.fullmatch(folder.name)]
    held = {folder.name for folder in folders if is_ours(folder) and (folder / LOCK).exists() and _is_held(folder)}
    return bool(held and held - held_labs(living=True))


def _is_held(folder: Path) -> bool:
    lock = _try_lock(folder)
    if lock is not None:
        os.close(lock)
    return lock is None


def sweep(base: Path) -> Swept:
    """Remove every lab below `base` that no living process owns; UsageError if the base is another's."""
    trust(base)
    labs: list[str] = []
    groups: list[Path] = []
    failed: list[str] = []
    for folder in sorted(base.iterdir()) if base.is_dir() else ():
        if not _ID.fullmatch(folder.name) or not is_ours(folder):
            continue
        if not (folder / LOCK).exists():
            with contextlib.suppress(OSError):  # not empty: no lab of ours looks so
                folder.rmdir()
                labs.append(folder.name)
            continue
        lock = _try_lock(folder)
        if lock is None:
            continue
        try:
            groups += clear(folder)
            labs.append(folder.name)
        except OSError as error:
            failed.append(str(error))
        finally:
            os.close(lock)
    return Swept(labs=tuple(labs), groups=tuple(groups), failed=tuple(failed))


def sweep_orphans(base: Path, places: cgroups.Parents) -> Swept:
    """Remove our cgroups of labs that have no folder below `base` and, wherever their folder is or was, do not live."""
    found = [top for top in cgroups.tops(places) if _ID.fullmatch(_lab_of(top)) and is_ours(top)]
    held = held_labs() if found else set()  # looked at after the cgroups: a lab has its lock before it has any
    dead = [top for top in found if _lab_of(top) not in held and not (base / _lab_of(top)).exists()]
    gone: list[Path] = []
    failed: list[str] = []
    for top in dead:
        if not cgroups.populated(top):
            try:
                gone += cgroups.remove([top])
            except OSError as error:
                failed.append(str(error))
    return Swept(groups=tuple(gone), failed=tuple(failed))


def _lab_of(top: Path) -> str:
    return top.name.removeprefix("chaosgate-")


def held_labs(*, living: bool = False) -> set[str]:
    """Return the ids of labs whose lock a process has open, be its folder removed or not; others' may be hidden.

    `living`: only of processes that are not about to end, which have a command line no longer.
    """
    held: set[str] = set()
    for descriptor in PROC.glob("[0-9]*/fd/*"):
        with contextlib.suppress(OSError):  # ended meanwhile
            path = Path(str(descriptor.readlink()).removesuffix(" (deleted)"))
            if path.name == LOCK and not (living and not (descriptor.parents[1] / "cmdline").read_bytes()):
                held.add(path.parent.name)
    return held
