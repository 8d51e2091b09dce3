"""The shelf of recordings: list them, prune the old ones. Only folders with a run.json of ours are touched."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path


def recordings(runs: Path) -> list[Path]:
    """Return the recordings below `runs`, newest first (their names begin with the time)."""
    if not runs.is_dir():
        return []
    return sorted((path.parent for path in runs.glob("*/run.json")), reverse=True)


def decision(folder: Path) -> str:
    """Return what was decided: "promote", "hold", "cannot tell", or "not judged"."""
    try:
        return str(json.loads((folder / "verdict.json").read_text())["decision"])
    except (OSError, ValueError, KeyError):
        return "not judged"


def size_bytes(folder: Path) -> int:
    """Return the bytes of a folder's files."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def rows(runs: Path) -> Iterator[str]:
    """Yield a line a recording, newest first."""
    for folder in recordings(runs):
        yield f"{folder.name:<60} {decision(folder):<12} {size_bytes(folder) / 1e6:8.1f} MB"


def prune(runs: Path, *, keep: int, failed: bool) -> Sequence[Path]:
    """Remove all but the newest `keep`; those that did not pass stay unless `failed`. Returns what was removed."""
    old = [folder for folder in recordings(runs)[keep:] if failed or decision(folder) == "promote"]
    for folder in old:
        shutil.rmtree(folder)
    return old
