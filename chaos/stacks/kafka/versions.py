"""Where Kafka's jars come from, and what is made of them once a machine.

    Maven Central ── mvn dependency:copy-dependencies ──▶ <cache>/kafka/<version>/*.jar
    one start of one broker on loopback ───────────────▶ <cache>/kafka-start/<version>-<fingerprint>/
                                                            classes.jsa, bootstrap.checkpoint

Nothing is installed. A version is also the path of a folder of jars (`libs` of a release), used where it lies.
`python -m chaos.stacks.kafka.versions [VERSION …]` provides these, else the default one.
"""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from chaos.errors import UsageError
from chaos.fetching import Say, maven
from chaos.guess import nearest
from chaos.stacks import java
from chaos.stacks.kafka.training import BOOTSTRAP, train
from chaos.stacks.providing import provide_all
from chaos.store import held, kept

if TYPE_CHECKING:
    from collections.abc import Sequence

DEFAULT_VERSION = "4.3.1"
VERSIONS = ("4.2.0", DEFAULT_VERSION)  # oldest first
SHIPPED = (DEFAULT_VERSION,)  # what the experiments of this repository ask for
_SERVER = re.compile(r"kafka_2\.13-(\d[\w.-]*)\.jar")
_LOGGING = ("log4j-slf4j-impl", "log4j-core")  # Kafka 4 brings slf4j 1.7 and no binding: without one it is silent
_LOG4J = "2.25.3"


@dataclass(frozen=True, slots=True, kw_only=True)
class Software:
    """What a broker is started from: `asked` for, the version its server jar bears, all jars, what a start maps."""

    asked: str
    version: str
    jars: tuple[Path, ...]
    archive: Path
    bootstrap: Path

    @property
    def server(self) -> Path:
        """Return the jar with the broker in it."""
        return server_jar(self.jars[0].parent)


def is_path(version: str) -> bool:
    """Whether `version` names a folder rather than a release."""
    return os.sep in version


def installed() -> tuple[str, ...]:
    """Return the versions whose jars are in the cache already, whole."""
    return tuple(version for version in VERSIONS if held("kafka", version))


def provide(version: str, say: Say = lambda _: None) -> Software:
    """Return Kafka `version`, its jars fetched and its class archive made first if the cache lacks them.

    `say` hears one line before each slow step. Safe to call from several processes at once.
    Raises UsageError for an unknown version, a missing Java or Maven, and jars that can't be had.
    """
    folder = _folder(version, say)
    jars = tuple(sorted(folder.glob("*.jar")))
    name = server_version(folder)
    key = f"{name}-{java.fingerprint(jars)}"
    if held("kafka-start", key) is None:
        say(f"making a class archive of Kafka {name}: half a minute, once")
    archive = java.archive("kafka-start", key, partial(train, jars))
    return Software(asked=version, version=name, jars=jars, archive=archive, bootstrap=archive.parent / BOOTSTRAP)


def origin(version: str) -> str:
    """Return `version` with where it comes from and whether it is at hand; fetches nothing. UsageError as `provide`."""
    if is_path(version):
        return f"{version}: a folder of jars that holds Kafka {server_version(Path(version))}"
    _refuse_unknown(version)
    at_hand = "at hand" if held("kafka", version) else "not at hand: it will be fetched first"
    return f"{version}: Maven's org.apache.kafka:kafka_2.13:{version}, {at_hand}"


def server_jar(folder: Path) -> Path:
    """Return the jar with the broker in it; UsageError if the folder has none."""
    for path in sorted(folder.glob("kafka_2.13-*.jar")):
        if _SERVER.fullmatch(path.name):
            return path
    raise UsageError(f"{folder}: no kafka_2.13-<version>.jar in it; give the folder `libs` of a release of Kafka 4")


def server_version(folder: Path) -> str:
    """Return the version that the name of the server jar bears; UsageError if the folder has none."""
    found = _SERVER.fullmatch(server_jar(folder).name)
    assert found is not None
    return found[1]


def _folder(version: str, say: Say) -> Path:
    if is_path(version):
        return Path(version).absolute()
    _refuse_unknown(version)
    return kept("kafka", version, partial(_fetch, version=version, say=say))


def _fetch(folder: Path, version: str, say: Say) -> None:
    logging = [f"org.apache.logging.log4j:{name}:{_LOG4J}" for name in _LOGGING]
    maven([f"org.apache.kafka:kafka_2.13:{version}", *logging], folder, say=say)


def _refuse_unknown(version: str) -> None:
    if version in VERSIONS:
        return
    near = nearest(version, VERSIONS)
    hint = f"did you mean '{near}'? There" if near else "there"
    raise UsageError(
        f"kafka {version}: no such version; {hint} are {', '.join(VERSIONS)}, or the path of a folder of jars, with a "
        "slash in it"
    )


def main(asked: Sequence[str]) -> int:
    """Provide the versions that are asked for, telling what happens."""
    return provide_all("kafka", asked or SHIPPED, lambda version, say: provide(version, say).server.parent)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
