"""Java servers: which java, the flags that make one start quickly, and the archives of their classes.

    archive("kafka-archive", …, train)   train: one start with -XX:ArchiveClassesAtExit, ended by SIGTERM
    command("kafka.Kafka", archive=…)    every later start maps those classes instead of reading and verifying jars

A class archive (AppCDS, JEP 310 and 350) holds for one JVM and for jars of the same paths, sizes and mtimes; another
JVM takes no notice of it and starts slowly. So `fingerprint` belongs into its key.
"""

from __future__ import annotations

import functools
import hashlib
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from chaos.errors import UsageError
from chaos.store import kept

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

OLDEST = 17
ARCHIVE = "classes.jsa"
FAST = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData", "-Xshare:auto")
"""For servers that live for minutes on a machine of few cores: they start in half the time, and are slower at a peak
that chaosgate does not look for. -XX:-UsePerfData: no file in /tmp for every JVM."""
_WOULD_DO = f"apt-get install default-jre-headless would do, or JAVA_HOME of a Java {OLDEST} or newer"


def java() -> str:
    """Return the path of a Java that is new enough: $JAVA_HOME's, else the one on PATH; UsageError if there is none."""
    home = os.environ.get("JAVA_HOME")
    path = shutil.which("java", path=f"{home}/bin") if home else shutil.which("java")
    if path is None:
        where = f"below JAVA_HOME, {home}" if home else "on PATH"
        raise UsageError(f"java not found {where}: Kafka and Flink need Java {OLDEST} or newer; {_WOULD_DO}")
    release = major(said := _said(path))
    if release is None or release < OLDEST:
        first = said.splitlines()[0] if said else "nothing"
        raise UsageError(f"{path} is too old or no Java, it says {first!r}: Java {OLDEST} is needed; {_WOULD_DO}")
    return path


def major(said: str) -> int | None:
    """Return the release that `java -version` told of, e.g. 17 (8 for 1.8.0); None if it is not to be seen."""
    found = re.search(r'version "(?:1\.)?(\d+)', said)
    return int(found[1]) if found else None


@functools.cache
def _said(path: str) -> str:
    """Return what `java -version` says: its builds belong into the keys of archives."""
    try:
        done = subprocess.run([path, "-version"], capture_output=True, text=True, check=False, timeout=30)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return done.stderr + done.stdout


def command(
    main: str,
    *,
    jars: Sequence[Path],
    memory: Sequence[str],
    options: Sequence[str] = (),
    archive: Path | None = None,
    arguments: Sequence[str] = (),
) -> tuple[str, ...]:
    """Return the argv of a JVM that runs class `main`; `memory` and `options` are flags of the JVM."""
    shared = (f"-XX:SharedArchiveFile={archive}",) if archive else ()
    classpath = ":".join(map(str, jars))
    return (java(), *memory, *FAST, *shared, *options, "-cp", classpath, main, *arguments)


def fingerprint(jars: Sequence[Path], *more: str) -> str:
    """Return 16 hex digits of what a class archive depends on: the JVM, the jars as they lie there, and `more`."""
    stats = [(str(jar), stat.st_size, stat.st_mtime_ns) for jar in jars for stat in [jar.stat()]]
    return hashlib.sha256(repr((_said(java()), stats, FAST, more)).encode()).hexdigest()[:16]


def archive(kind: str, key: str, train: Callable[[Path], None]) -> Path:
    """Return the class archive of this key, made by `train` the first time.

    `train` gets the path of the archive to be made; it runs the server once with `archiving(path)` among the options
    and ends it by SIGTERM. UsageError if it left no archive.
    """

    def fill(folder: Path) -> None:
        train(folder / ARCHIVE)
        if not (folder / ARCHIVE).is_file():
            raise UsageError(f"{kind} {key}: java left no class archive; see that {java()} is a HotSpot JVM")

    return kept(kind, key, fill) / ARCHIVE


def archiving(path: Path) -> str:
    """Return the flag that writes a class archive when the JVM ends."""
    return f"-XX:ArchiveClassesAtExit={path}"


def opened(pid: int, argument: str, jar: Path) -> Path | None:
    """Return /proc/<pid>/fd/N of a jar that a JVM started with `argument` holds open; None if that can't be seen here.

    Read through it the jar is the one that runs, even if another one lies at its path by now.
    """
    proc = Path(f"/proc/{pid}")
    try:
        # A pid of another PID namespace may be somebody else's here: its own argument tells them apart.
        if argument not in (proc / "cmdline").read_text(encoding="utf-8", errors="replace").split("\0"):
            return None
        return next((fd for fd in (proc / "fd").iterdir() if _leads_to(fd, jar)), None)
    except OSError:
        return None


def _leads_to(fd: Path, jar: Path) -> bool:
    try:
        return str(fd.readlink()).removesuffix(" (deleted)") == str(jar)
    except OSError:  # closed meanwhile
        return False
