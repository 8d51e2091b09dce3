"""Where Flink comes from, and the cache that keeps it: jars, and the archives of their classes.

    PyPI wheel apache-flink-libraries ──pip download, unzip──▶ dist, table API, planner, runtime, json, log4j ┐
    Maven flink-sql-connector-kafka, flink-sql-gateway ──────▶ connector (shaded), the runner of SQL scripts  ├─▶ jars
                                                one short run on loopback ──▶ class archives, one a role ─────┘

flink-dist is on no Maven repository; the wheel, made for Python programs, holds the whole distribution. Nothing of
Python runs in a cluster. `python -m chaos.stacks.flink.versions [VERSION …]` provides these, else the default one.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING

from chaos import fetching
from chaos.errors import UsageError
from chaos.guess import nearest
from chaos.stacks import java
from chaos.stacks.flink import store
from chaos.stacks.flink.settings import COMPONENT, JOBMANAGER, TASKMANAGER, ZOOKEEPER
from chaos.stacks.providing import provide_all
from chaos.store import held, kept

if TYPE_CHECKING:
    from pathlib import Path

DEFAULT_VERSION = "2.3.0"
CONNECTOR = "5.0.0-2.2"  # built for 2.2, and runs on 2.3: its releases come later than Flink's
VERSIONS = ("2.2.1", DEFAULT_VERSION)
ARCHIVES = f"{COMPONENT}-archives"

Say = Callable[[str], None]

_LOGGING = ("log4j-api", "log4j-core", "log4j-slf4j-impl")
_RUNTIME = ("flink-dist", "flink-table-api-java-uber", "flink-table-runtime", "flink-json", "flink-sql-connector-kafka")
_PLANNER = ("flink-table-planner-loader", "flink-cep")  # the planner refers to classes of cep, used or not
_JARS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        JOBMANAGER: (*_RUNTIME, *_PLANNER, *_LOGGING),
        TASKMANAGER: (*_RUNTIME, *_LOGGING),
        ZOOKEEPER: ("flink-dist", *_LOGGING),
    }
)
_FROM_MAVEN = ("flink-sql-connector-kafka", "flink-sql-gateway")
_FROM_WHEEL = tuple(dict.fromkeys(n for names in _JARS.values() for n in names if n not in _FROM_MAVEN))


@dataclass(frozen=True, slots=True, kw_only=True)
class Programs:
    """One version at hand: its folder of jars, and role → class archive where that was made."""

    version: str
    folder: Path
    archives: Mapping[str, Path] = field(default_factory=dict)
    gateway: Path | None = None  # the checkpoint store's program, and the folder of plugins by which Flink reaches it
    plugins: Path | None = None

    def jars(self, role: str) -> tuple[Path, ...]:
        """Return the class path of a role's processes."""
        return tuple(self.jar(name) for name in _JARS[role])

    def jar(self, name: str) -> Path:
        """Return the jar `name`, whatever its version; UsageError if the folder has not exactly one."""
        found = [path for path in self.folder.glob(f"{name}-*.jar") if path.stem[len(name) + 1].isdigit()]
        if len(found) != 1:
            raise UsageError(f"flink {self.version}: {len(found)} jars {name} in {self.folder}; remove that folder")
        return found[0]

    @property
    def dist(self) -> Path:
        """The jar that holds Flink itself."""
        return self.jar("flink-dist")

    @property
    def runner(self) -> Path:
        """The jar whose SqlDriver runs SQL scripts."""
        return self.jar("flink-sql-gateway")


def provide(version: str, say: Say = lambda _: None, *, with_store: bool = False) -> Programs:
    """Return Flink `version`, fetched and trained first if the cache lacks it; `with_store`: a checkpoint store too.

    `say` hears one line before each slow step. Safe to call from several processes at once. Raises UsageError for an
    unknown version, and for what can't be had: Java, pip's index, Maven.
    """
    _known(version)
    java.java()
    bare = Programs(version=version, folder=kept(COMPONENT, version, lambda folder: _fetch(version, folder, say)))
    jars = [jar for role in _JARS for jar in bare.jars(role)]
    key = f"{version}-{java.fingerprint(jars)}"
    trained = kept(ARCHIVES, key, lambda folder: _train(bare, folder, say))
    made = replace(bare, archives={role: trained / f"{role}.jsa" for role in _JARS})
    return replace(made, gateway=store.program(say), plugins=store.plugins(version, say)) if with_store else made


def installed() -> tuple[str, ...]:
    """Return the versions whose jars are in the cache already, whole."""
    return tuple(version for version in VERSIONS if held(COMPONENT, version))


def origin(version: str) -> str:
    """Return `version` with where it comes from and whether it is at hand; fetches nothing. UsageError if unknown."""
    _known(version)
    at_hand = "at hand" if held(COMPONENT, version) else "not at hand: it will be fetched first"
    return f"{version}: PyPI's apache-flink-libraries and Maven's connector {CONNECTOR}, {at_hand}"


def _known(version: str) -> None:
    if version not in VERSIONS:
        near = nearest(version, VERSIONS)
        hint = f"did you mean '{near}'? There" if near else "there"
        raise UsageError(f"flink {version}: no such version; {hint} are {', '.join(VERSIONS)}")


# ---------------------------------------------------------------- filling the cache


def _fetch(version: str, folder: Path, say: Say) -> None:
    coordinates = (f"flink-sql-connector-kafka:{CONNECTOR}!", f"flink-sql-gateway:{version}!")
    fetching.maven([f"org.apache.flink:{coordinate}" for coordinate in coordinates], folder, say=say)
    say(f"downloading PyPI's apache-flink-libraries {version}: 330 MB, once")
    unzipped = folder / ".wheel"
    unzipped.mkdir()
    fetching.wheel(f"apache-flink-libraries=={version}", unzipped)
    for name in _FROM_WHEEL:
        for jar in (unzipped / "pyflink" / "lib").glob(f"{name}-*.jar"):
            jar.rename(folder / jar.name)
    shutil.rmtree(unzipped)


def _train(programs: Programs, folder: Path, say: Say) -> None:
    from chaos.stacks.flink.training import train  # noqa: PLC0415 — it needs an HTTP client, and most calls do not

    say(f"archiving the classes of Flink {programs.version}: about 20 s, once")
    train(programs, folder)
    if missing := [role for role in _JARS if not (folder / f"{role}.jsa").is_file()]:
        raise UsageError(
            f"flink {programs.version}: java left no class archive of {', '.join(missing)}; "
            f"see that {java.java()} is a HotSpot JVM"
        )


def main(asked: Sequence[str]) -> int:
    """Provide the versions that are asked for, telling what happens."""
    return provide_all("flink", asked or (DEFAULT_VERSION,), lambda version, say: provide(version, say).folder)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
