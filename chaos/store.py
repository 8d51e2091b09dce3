"""What stacks fetch, build or train once a machine, and the sums by which it is known to be whole.

    kept("etcd", "3.5.35", fill) ─▶ <cache>/etcd/3.5.35/…, etcd.sha256
      lacking, or changed by somebody? fill(a scratch folder) ─▶ sums ─▶ one rename: whole or not at all

Content is hashed when it is put there, and again whenever a file's inode, size or mtime is not the noted one: hashing
all of it at every start would cost more than starting a server.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from chaos.places import cache

Fill = Callable[[Path], None]


def kept(kind: str, key: str, fill: Fill) -> Path:
    """Return <cache>/<kind>/<key>/, made by `fill` in a scratch folder if it is not there or is not what was put there.

    Safe to call from several processes at once: one fills, the others wait. Other users may read what is in it. What
    `fill` raises goes through, and nothing is kept then.
    """
    folder = cache() / kind / key
    if not _whole(folder, kind):
        with _alone(folder):
            if not _whole(folder, kind):  # somebody else may have been faster
                _make(folder, kind, fill)
    return folder


def held(kind: str, key: str) -> Path | None:
    """Return that folder if it is there, whole; None if it would have to be filled. Touches nothing else."""
    folder = cache() / kind / key
    return folder if _whole(folder, kind) else None


def digest(sources: Path) -> str:
    """Return 16 hex digits of the Go sources in a folder: the key of what is built from them."""
    files = sorted(file for file in sources.iterdir() if file.suffix in (".go", ".mod", ".sum"))
    content = (file.name.encode() + b"\0" + file.read_bytes() for file in files)
    return hashlib.sha256(b"\0".join(content)).hexdigest()[:16]


def sha256(path: Path) -> str:
    """Return the hex SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def executable(pid: int, argument: str) -> Path | None:
    """Return /proc/<pid>/exe if it can be read here, of a process that was started with `argument`; else None."""
    proc = Path(f"/proc/{pid}")
    try:
        argv = (proc / "cmdline").read_text().split("\0")
        (proc / "exe").stat()
    except OSError:
        return None
    return proc / "exe" if argument in argv else None


# ---------------------------------------------------------------- whole?


def _sums(folder: Path, kind: str) -> Path:
    return folder / f"{kind}.sha256"


def _whole(folder: Path, kind: str) -> bool:
    """Whether every file is the one that was put there."""
    with contextlib.suppress(OSError, ValueError):
        noted = _noted(_sums(folder, kind))
        if all(seen == stamp(folder / name) for name, (_, seen) in noted.items()):
            return bool(noted)
        if all(digest == sha256(folder / name) for name, (digest, _) in noted.items()):
            with contextlib.suppress(OSError):  # a cache that only its owner may write serves others as it is
                _note(folder, kind)
            return True
    return False


def _noted(sums: Path) -> dict[str, tuple[str, str]]:
    """Return name → (digest, stamp); ValueError if the lines are no such pairs."""
    lines = sums.read_text(encoding="utf-8").splitlines()
    pairs = zip(lines[::2], lines[1::2], strict=True)
    return {name: (digest, stamp) for line, stamp in pairs for digest, name in [line.split("  ", 1)]}


def stamp(file: Path) -> str:
    """Return by what a file that was changed is known without reading it."""
    stat = file.stat()
    return f"# inode {stat.st_ino} size {stat.st_size} mtime {stat.st_mtime_ns}"


def _note(folder: Path, kind: str) -> None:
    """Write the sums whole or not at all: `sha256sum -c` reads every other line, `_whole` all."""
    sums = _sums(folder, kind)
    names = sorted(str(f.relative_to(folder)) for f in folder.rglob("*") if f.is_file() and f != sums)
    lines = [line for name in names for line in (f"{sha256(folder / name)}  {name}", stamp(folder / name))]
    new = folder / f".{sums.name}.{os.getpid()}"
    new.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    new.chmod(0o644)
    new.replace(sums)


# ---------------------------------------------------------------- making


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the key's lock; the file stays, because removing a lock file lets two in."""
    _make_readable(folder.parent)
    with (folder.parent / f".{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _make_readable(folder: Path) -> None:
    """Make `folder` so that other users of the machine can run what is in it, whatever the umask."""
    if not folder.is_dir():
        _make_readable(folder.parent)
        folder.mkdir(exist_ok=True)
        folder.chmod(0o755)


def _make(folder: Path, kind: str, fill: Fill) -> None:
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as scratch:
        fresh = Path(scratch) / "fresh"
        fresh.mkdir()
        fill(fresh)
        _open_to_others(fresh)
        _note(fresh, kind)
        shutil.rmtree(folder, ignore_errors=True)  # what failed `_whole`: nobody trusts it, and we hold the lock
        fresh.rename(folder)


def _open_to_others(folder: Path) -> None:
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            runs = path.is_dir() or os.access(path, os.X_OK)
            path.chmod(0o755 if runs else 0o644)
