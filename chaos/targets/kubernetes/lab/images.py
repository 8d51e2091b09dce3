"""Container images from local files: no builder, no registry, the same bytes from the same files.

An archive in the form of `docker save` (github.com/moby/docker-image-spec, v1.2), which `ctr images import` reads:
manifest.json, the configuration, one layer.
"""

from __future__ import annotations

import hashlib
import io
import json
import platform
import shutil
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}  # Go's names for them
_FOLDERS = ("dev", "etc", "proc", "sys", "tmp")  # what a runtime mounts upon, or expects
_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """What an image is made from: `root` becomes its /."""

    tag: str
    root: Path
    entrypoint: Sequence[str]
    env: Sequence[str] = (_PATH,)


def write(archive: Path, image: Image) -> None:
    """Write an image's archive; OSError if a file can't be read or written."""
    with tempfile.TemporaryDirectory(dir=archive.parent) as scratch:
        layer = Path(scratch, "layer.tar")
        _write_layer(layer, image.root)
        with layer.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        config = json.dumps(_config(image, content), sort_keys=True).encode()
        name = f"{hashlib.sha256(config).hexdigest()}.json"
        inner = f"{content}/layer.tar"
        manifest = json.dumps([{"Config": name, "RepoTags": [image.tag], "Layers": [inner]}]).encode()
        part = Path(scratch, "image.tar")
        with tarfile.open(part, "w") as tar:
            for path, data in ((name, config), ("manifest.json", manifest)):
                tar.addfile(_plain(_sized(path, len(data))), io.BytesIO(data))
            tar.add(layer, inner, filter=_plain)
        shutil.move(part, archive)


def _config(image: Image, layer: str) -> Mapping[str, object]:
    machine = platform.machine()
    return {
        "architecture": _ARCHITECTURES.get(machine, machine),
        "os": "linux",
        "config": {"Entrypoint": list(image.entrypoint), "Env": list(image.env)},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{layer}"]},
        "history": [{"created_by": "chaosgate"}],
    }


def _write_layer(layer: Path, root: Path) -> None:
    with tarfile.open(layer, "w", format=tarfile.PAX_FORMAT) as tar:
        for name in (name for name in _FOLDERS if not (root / name).exists()):
            folder = tarfile.TarInfo(name)
            folder.type, folder.mode = tarfile.DIRTYPE, 0o1777 if name == "tmp" else 0o755
            tar.addfile(folder)
        for entry in sorted(root.iterdir()):
            tar.add(entry, entry.name, filter=_plain)


def _sized(name: str, size: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size = size
    return info


def _plain(info: tarfile.TarInfo) -> tarfile.TarInfo:
    """Leave out what differs from one machine and minute to the next."""
    info.mtime, info.uid, info.gid, info.uname, info.gname = 0, 0, 0, "", ""
    return info
