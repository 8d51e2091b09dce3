"""The program that stands between a node and its files: built once a machine, from the Go sources beside this file.

    go build (go.sum pins go-fuse) ─▶ <cache>/disk/<digest of the sources>/disk ─▶ one process a node, in the lab

Why Go: go-fuse is a well-kept implementation of the kernel's FUSE protocol that needs no C library, and etcd needs Go
anyway. A server that meets this disk meets it in every phase of its run, so that the fault is all that changes.
"""

from __future__ import annotations

import os
import shutil
from functools import partial
from pathlib import Path

from chaos.fetching import Say, go_build
from chaos.store import digest, held, kept

SOURCES = Path(__file__).parent / "disk"
DEVICE = Path("/dev/fuse")
PROGRAM = "disk"
FUSE = "FUSE"  # the mechanism's name in plans and evidence


def program(say: Say = lambda _: None) -> Path:
    """Return the path of the program, built first if the cache lacks it; UsageError if it can't be built."""
    return kept("disk", digest(SOURCES), partial(_build, say=say)) / PROGRAM


def why_not() -> str:
    """Return why nodes can't have such a disk here, and what would do; "" if they can."""
    if not os.access(DEVICE, os.R_OK | os.W_OK):
        return f"{DEVICE} can't be opened; run as root, with the kernel module fuse"
    if held("disk", digest(SOURCES)) is None and shutil.which("go") is None:
        return "go not found, needed once to build what serves a node's files; install Go ≥ 1.21"
    return ""


def _build(folder: Path, say: Say) -> None:
    say("building what serves the files of a node: ten seconds, once")
    go_build(SOURCES, folder / PROGRAM, why="what serves the files of a node")
