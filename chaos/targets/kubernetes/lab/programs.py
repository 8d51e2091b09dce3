"""What a cluster of our own is made of, and the cache that keeps it.

    Go modules (build/) ── go build, go.sum pins every file ──▶ <cache>/k8s-<name>/<digest of the sources>/<name>
    Debian packages ────── apt-get download, dpkg -x ─────────▶ <cache>/k8s-runtime/<version>/…   containerd, runc, CNI
    a static program ───── images.py ─────────────────────────▶ <cache>/k8s-images/<digest>/pause.tar

Nothing is installed. One program holds every server of Kubernetes and the etcd below it: one link of two minutes
instead of six. `python -m chaos.targets.kubernetes.lab.programs` provides all of it.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from chaos.errors import UsageError
from chaos.fetching import Say, debian, go_build
from chaos.store import digest, held, kept
from chaos.targets.kubernetes.lab.images import Image, write

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

BUILD = Path(__file__).parent / "build"
VERSION = "1.34.4"  # of Kubernetes; 1.35 refuses cgroup v1, which many machines still have
PAUSE = "localhost/chaosgate-pause:1"
_RUNTIME = "debian-12"  # what the packages below are compatible with, and so part of their key
_PACKAGES = ("containerd", "runc", "containernetworking-plugins")
_STAMPED = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")  # both, or /version says v0.0.0-master
_CSI_ATTACHER = "github.com/kubernetes-csi/external-attacher/v4/cmd/csi-attacher"


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """A program that is built from a Go module in build/: how long it takes, and what is said to the linker."""

    name: str
    takes: str
    package: str = "."
    ldflags: str = "-s -w"


def _stamps() -> str:
    major, minor, _ = VERSION.split(".")
    told = {"gitVersion": f"v{VERSION}", "gitMajor": major, "gitMinor": minor, "gitTreeState": "clean"}
    return " ".join(f"-X {package}.{name}={value}" for package in _STAMPED for name, value in told.items())


SERVERS = Built(name="servers", takes="five to nine minutes", ldflags=f"-s -w {_stamps()}")
DNS = Built(name="dns", takes="two to three minutes")
ATTACHER = Built(name="attacher", takes="two to five minutes", package=_CSI_ATTACHER)
PAUSING = Built(name="pause", takes="a second")


@dataclass(frozen=True, slots=True, kw_only=True)
class Programs:
    """Where the parts of a cluster lie. `runtime` holds Debian's usr/, `images` are archives that every node gets."""

    servers: Path
    dns: Path
    runtime: Path
    images: tuple[Path, ...]

    @property
    def path(self) -> str:
        """Return the PATH of what runs containers."""
        own = ":".join(str(self.runtime / "usr" / part) for part in ("bin", "sbin"))
        return f"{own}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

    @property
    def cni(self) -> Path:
        """Return the folder of the CNI plugins."""
        return self.runtime / "usr" / "lib" / "cni"


def provide(say: Say = lambda _: None) -> Programs:
    """Return what a cluster boots from, built and fetched first if the cache lacks it.

    `say` hears a line before each slow step.

    Safe to call from several processes at once. UsageError if Go or Debian's tools are missing, or fail.
    """
    return Programs(
        runtime=kept("k8s-runtime", _RUNTIME, partial(_fetch_runtime, say=say)),
        servers=_program(SERVERS, say),
        dns=_program(DNS, say),
        images=(_pause(say),),
    )


def attacher(say: Say = lambda _: None) -> Path:
    """Return Kubernetes' own attacher of CSI volumes, built first if the cache lacks it; UsageError as above."""
    return _program(ATTACHER, say)


def lacking() -> Sequence[str]:
    """Return what the cache lacks, each with how long it takes to have it."""
    built = {one.name: one.takes for one in (SERVERS, DNS, ATTACHER, PAUSING) if held(*_key(one)) is None}
    runtime: Mapping[str, str] = {} if held("k8s-runtime", _RUNTIME) else {"container runtime": "seconds"}
    return [f"{name} ({takes})" for name, takes in {**runtime, **built}.items()]


def _key(built: Built) -> tuple[str, str]:
    return f"k8s-{built.name}", digest(BUILD / built.name)


def _program(built: Built, say: Say) -> Path:
    return kept(*_key(built), partial(_build, built=built, say=say)) / built.name


def _build(folder: Path, built: Built, say: Say) -> None:
    say(f"building the lab's {built.name} from Go modules: {built.takes}, once")
    why = f"the Kubernetes lab's {built.name}"
    go_build(BUILD / built.name, folder / built.name, why=why, package=built.package, ldflags=built.ldflags)


def _pause(say: Say) -> Path:
    """Return the archive of the image that holds a pod's namespaces."""
    program = _program(PAUSING, say)
    return kept("k8s-images", digest(BUILD / PAUSING.name), lambda folder: _write_pause(folder, program)) / "pause.tar"


def _write_pause(folder: Path, program: Path) -> None:
    with tempfile.TemporaryDirectory() as root:
        shutil.copy(program, Path(root, "pause"))
        write(folder / "pause.tar", Image(tag=PAUSE, root=Path(root), entrypoint=("/pause",)))


def _fetch_runtime(folder: Path, say: Say) -> None:
    say(f"downloading Debian's {', '.join(_PACKAGES)}: seconds, once")
    for package in _PACKAGES:
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            unpacked = debian(package, Path(scratch), would_do="containerd, runc and the CNI plugins are needed")
            shutil.copytree(unpacked / "usr", folder / "usr", symlinks=True, dirs_exist_ok=True)
    shutil.rmtree(folder / "usr" / "share", ignore_errors=True)  # manuals


def main() -> int:
    """Provide everything, telling what happens."""
    try:
        programs = provide(lambda text: print(text, flush=True))  # noqa: T201 - a program that tells
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
        return error.exit_code
    print(f"kubernetes {VERSION}: {programs.servers}")  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
