"""A checkpoint store on a node of its own: Versity's S3 gateway over the node's folder, and Flink's plugin for it.

    JobManager, TaskManagers ── S3 over HTTP, :7070 ──▶ store1 ──▶ <its folder>/objects/checkpoints/…

What is shaped or cut on the way to the node, or done to the node's disk, meets checkpoints and nothing else. Both are
fetched or built only by an experiment that asks for them.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from chaos import fetching
from chaos.model import Process
from chaos.store import digest, kept

if TYPE_CHECKING:
    from collections.abc import Mapping

    from chaos.fetching import Say

STORE = "store"  # the role, and its process
PORT = 7070
BUCKET = "checkpoints"
SOURCES = Path(__file__).parent / "objects"
PROGRAM = "objects"
PLUGIN = "flink-s3-fs-presto"
_KEY, _SECRET = "chaosgate", "of-one-lab"  # nobody but the lab can reach it
_VERSION = "github.com/versity/versitygw v"


def program(say: Say = lambda _: None) -> Path:
    """Return the path of the gateway, built first if the cache lacks it; UsageError if it can't be built."""
    return kept(STORE, digest(SOURCES), partial(_build, say=say)) / PROGRAM


def plugins(version: str, say: Say = lambda _: None) -> Path:
    """Return the folder of plugins for Flink `version`, fetched first; UsageError if it can't be had."""
    return kept("flink-s3", version, partial(_fetch, version=version, say=say))


def version() -> str:
    """Return the gateway's version, as go.mod pins it."""
    lines = (SOURCES / "go.mod").read_text(encoding="ascii").split("\n")
    return (
        next(line for line in (one.removeprefix("require ").strip() for one in lines) if _VERSION in line)
        .split()[1]
        .removeprefix("v")
    )


def process(gateway: Path, address: str, folder: Path, log: Path) -> Process:
    """Return the gateway's process; makes its folders."""
    objects, about = folder / "objects", folder / "about"
    for path in (objects / BUCKET, about):
        path.mkdir(parents=True, exist_ok=True)
    argv = (str(gateway), "--listen", f"{address}:{PORT}", "--folder", str(objects), "--about", str(about))
    keys = {"ROOT_ACCESS_KEY": _KEY, "ROOT_SECRET_KEY": _SECRET}
    return Process(name=STORE, argv=argv, env=keys, cwd=str(folder), log=str(log))


def options(address: str) -> Mapping[str, str]:
    """Return the options by which Flink finds the store."""
    return {
        "s3.endpoint": f"http://{address}:{PORT}",
        "s3.access-key": _KEY,
        "s3.secret-key": _SECRET,
        "s3.path.style.access": "true",
        "s3.ssl.enabled": "false",
    }


def environment(plugins_folder: Path) -> Mapping[str, str]:
    """Return the environment of a Flink process that is to find its plugins."""
    return {"FLINK_PLUGINS_DIR": str(plugins_folder)}


def _build(folder: Path, say: Say) -> None:
    say("building the checkpoint store (github.com/versity/versitygw): two minutes, once")
    fetching.go_build(SOURCES, folder / PROGRAM, why="the checkpoint store")


def _fetch(folder: Path, version: str, say: Say) -> None:
    into = folder / PLUGIN  # Flink wants a folder for each plugin
    into.mkdir()
    fetching.maven([f"org.apache.flink:{PLUGIN}:{version}{fetching.ALONE}"], into, say=say)
