"""A wall clock of a node's own: libfaketime in each of its processes, which reads an offset from a file.

    LD_PRELOAD=libfaketime.so.1   FAKETIME_TIMESTAMP_FILE=<lab>/run/<node>.clock  "+0" ─▶ "+30" ─▶ "+0"

It stands between a program and the C library, so a program without one (a static one, as Go makes them) can't have it
and is refused. Clocks that do not tell the time of day (CLOCK_MONOTONIC) stay as they are: no machine's goes back.
A JVM bears it well; a program that sleeps until an absolute time (Python's time.sleep) fails under libfaketime 0.9.10.
"""

from __future__ import annotations

import shutil
import struct
from functools import partial
from pathlib import Path

from chaos.errors import CapabilityError
from chaos.fetching import Say, debian
from chaos.store import held, kept

LIBRARY = "libfaketime.so.1"
PACKAGE = "libfaketime"
MECHANISM = "libfaketime"
NO_OFFSET = "+0"
REREAD_S = 1  # how old a process's knowledge of the offset may be
_PT_INTERP = 3  # elf(5)
_WOULD_DO = "install libfaketime where this is no Debian"
_INSTALLED = ("/usr/lib/*/faketime", "/usr/lib/faketime", "/usr/lib64/faketime", "/usr/local/lib/faketime")


def library(say: Say = lambda _: None) -> Path:
    """Return the path of the library: this machine's, else Debian's, fetched first if the cache lacks it.

    UsageError if it can't be had.
    """
    return _installed() or kept("faketime", "debian", partial(_fetch, say=say)) / LIBRARY


def why_not() -> str:
    """Return why nodes can't have clocks of their own here, and what would do; "" if they can."""
    if _installed() or held("faketime", "debian") or shutil.which("apt-get"):
        return ""
    return f"no libfaketime here; {_WOULD_DO}"


def environment(library_path: str, offset_file: str) -> dict[str, str]:
    """Return the environment of a process whose wall clock is ahead by what `offset_file` says."""
    return {
        "LD_PRELOAD": library_path,
        "FAKETIME_TIMESTAMP_FILE": offset_file,
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "FAKETIME_CACHE_DURATION": str(REREAD_S),
    }


def set_up(library_path: str, lab: Path, node: str) -> dict[str, str]:
    """Give a node a wall clock that is right, for now; return the environment by which its processes read it."""
    offset = lab / "run" / f"{node}.clock"
    offset.write_text(f"{NO_OFFSET}\n", encoding="ascii")
    return environment(library_path, str(offset))


def refuse_static(program: str) -> None:
    """Raise CapabilityError for a program that has no C library to stand before."""
    path = shutil.which(program)
    if path and is_static(Path(path)):
        raise CapabilityError(f"clock: {path} is statically linked and asks the kernel itself: its clock can't be set")


def is_static(path: Path) -> bool:
    """Tell whether a file is an ELF program without an interpreter (ld.so); a script is none."""
    with path.open("rb") as file:
        head = file.read(64)
        if head[:4] != b"\x7fELF" or head[4] != 2:  # 64 bits
            return False
        offset, size, count = struct.unpack_from("<Q", head, 32)[0], *struct.unpack_from("<HH", head, 54)
        file.seek(offset)
        table = file.read(size * count)
    return all(struct.unpack_from("<I", table, n * size)[0] != _PT_INTERP for n in range(count))


def _installed() -> Path | None:
    found = (folder / LIBRARY for pattern in _INSTALLED for folder in Path("/").glob(pattern.lstrip("/")))
    return next((path for path in found if path.is_file()), None)


def _fetch(folder: Path, say: Say) -> None:
    say(f"downloading Debian's package {PACKAGE}")
    unpacked = debian(PACKAGE, folder, would_do=_WOULD_DO)
    found = next(iter(unpacked.glob(f"usr/lib/*/faketime/{LIBRARY}")))
    found.replace(folder / LIBRARY)
    shutil.rmtree(unpacked)
    for package in folder.glob("*.deb"):
        package.unlink()
