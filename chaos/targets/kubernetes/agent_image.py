"""The agent's image from what is on this machine: no registry, no builder. Clusters that pull: manifests/Dockerfile.

this Python and its libraries ─┐
ip, tc, nft, iptables ─────────┼─▶ a root folder ─▶ an archive of `docker save`   (kind load image-archive, ctr import)
chaosgate's own modules ───────┘
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import chaos
from chaos.errors import CapabilityError
from chaos.store import kept
from chaos.targets.kubernetes.install import IMAGE
from chaos.targets.kubernetes.lab.images import Image, write

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

TAG = IMAGE
PROGRAMS = ("ip", "tc", "nft", "iptables", "iptables-restore")
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_LIBRARIES = "usr/local/lib/chaosgate"
_ENVIRONMENT = (
    f"PATH={_PATH}",
    f"LD_LIBRARY_PATH=/{_LIBRARIES}",
    "PYTHONHOME=/usr/local",
    "PYTHONPATH=/opt/chaosgate",
    "PYTHONDONTWRITEBYTECODE=1",
)
_LEFT_OUT = ("test", "tests", "idlelib", "tkinter", "turtledemo", "ensurepip", "lib2to3", "site-packages", "pydoc_data")
_NO_FILES = (*_LEFT_OUT, "__pycache__", "*.a", "config-*")
_XTABLES = Path("/usr/lib", sysconfig.get_config_var("MULTIARCH") or "", "xtables")


def archive(say: Callable[[str], None] = lambda _: None) -> Path:
    """Return the image's archive, made if it is not at hand for these very modules; CapabilityError: what it lacks."""
    if missing := [name for name in PROGRAMS if not _program(name)]:
        raise CapabilityError(
            f"the agent's image takes {', '.join(missing)}, which are not on PATH; install them first"
        )
    return kept("k8s-agent", _key(), lambda folder: _make(folder, say)) / "agent.tar"


def _make(folder: Path, say: Callable[[str], None]) -> None:
    say("making the agent's image: seconds, once for each version of it")
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        furnish(root := Path(scratch, "root"))
        write(folder / "agent.tar", Image(tag=TAG, root=root, entrypoint=(), env=_ENVIRONMENT))


def furnish(root: Path) -> None:
    """Fill a root folder with Python, programs, their libraries and our modules."""
    for name in ("usr/local/bin", "usr/sbin", _LIBRARIES, "opt/chaosgate", "root", "var/lib/chaosgate"):
        (root / name).mkdir(parents=True)
    for name, target in (("bin", "usr/bin"), ("sbin", "usr/sbin"), ("lib", "usr/lib"), ("lib64", "usr/lib64")):
        (root / target).mkdir(parents=True, exist_ok=True)
        (root / name).symlink_to(target)
    interpreter = Path(sys.executable).resolve()
    shutil.copy2(interpreter, root / "usr/local/bin/python3")
    standard = Path(sysconfig.get_path("stdlib"))
    shutil.copytree(standard, root / "usr/local/lib" / standard.name, ignore=shutil.ignore_patterns(*_NO_FILES))
    programs = [path for name in PROGRAMS if (path := _program(name))]
    for path in programs:
        shutil.copy2(path, root / "usr/sbin" / path.name)
    plugins = sorted(_XTABLES.glob("*.so")) if _XTABLES.exists() else []
    if plugins:
        (root / _XTABLES.relative_to("/")).mkdir(parents=True, exist_ok=True)
        for path in plugins:
            shutil.copy2(path, root / path.relative_to("/"))
    extensions = sorted((root / "usr/local/lib" / standard.name / "lib-dynload").glob("*.so"))
    _copy_libraries(root, [interpreter, *(path.resolve() for path in programs), *plugins, *extensions])
    _copy_modules(root / "opt/chaosgate")


def _program(name: str) -> Path | None:
    """Return a program as the machine has it under its name: iptables is many of them by one file."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:{_PATH}")
    return Path(found) if found else None


def _copy_libraries(root: Path, binaries: Iterable[Path]) -> None:
    """Copy what ldd(1) names; the loader itself stays where binaries look for it."""
    for binary in binaries:
        told = subprocess.run(["ldd", str(binary)], capture_output=True, text=True, check=False).stdout
        for path in map(Path, re.findall(r"(/\S+) \(0x", told)):
            target = root / path.relative_to("/") if path.name.startswith("ld-") else root / _LIBRARIES / path.name
            if not target.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(path.resolve(), target)


def _copy_modules(folder: Path) -> None:
    for path in _modules():
        target = folder / path.relative_to(_root())
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, target)


def _root() -> Path:
    return Path(chaos.__file__).parents[1]


def _modules() -> list[Path]:
    return sorted(path for path in (_root() / "chaos").rglob("*.py") if "__pycache__" not in path.parts)


def _key() -> str:
    """Tell one image from another by what differs: our modules and the interpreter."""
    digest = hashlib.sha256(f"{sys.version}".encode())
    for path in [*_modules(), Path(__file__)]:
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]
