"""The shelf of recordings: list them, prune the old ones. Only folders with a run.json of ours are touched.

recording                                                    decision            size
20260101T093000Z-leader-kill-3fa2c1                          hold             21.4 MB
"""

from __future__ import annotations

import json
import re
import shutil
from typing import TYPE_CHECKING
from urllib.parse import unquote

from rich.table import Table
from rich.text import Text

from chaos.errors import RecordingError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

HEADER = f"{'recording':<60} {'decision':<12} {'size':>11}"
STYLES = {"promote": "bold green", "hold": "bold red", "cannot tell": "bold yellow"}  # of decisions, as in the verdicts


def recordings(runs: Path) -> list[Path]:
    """Return the recordings below `runs`, newest first (their names begin with the time)."""
    if not runs.is_dir():
        return []
    return sorted((path.parent for path in runs.glob("*/run.json")), reverse=True)


def decision(folder: Path) -> str:
    """Return what was decided: "promote", "hold", "cannot tell", or "not judged"."""
    try:
        return str(json.loads((folder / "verdict.json").read_text())["decision"])
    except (OSError, ValueError, KeyError, TypeError):  # half a file, or not ours
        return "not judged"


def size_bytes(folder: Path) -> int:
    """Return the bytes of a folder's files."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def row(folder: Path) -> str:
    """Return one line: when and what, the decision, the size."""
    return f"{folder.name:<60} {decision(folder):<12} {size_bytes(folder) / 1e6:8.1f} MB"


def table(folders: Sequence[Path]) -> Table:
    """Return the same as a table, for a terminal."""
    made = Table(header_style="bold")
    made.add_column("recording", overflow="fold")
    made.add_column("decision", no_wrap=True)
    made.add_column("size", justify="right", no_wrap=True)
    for folder in folders:
        decided = decision(folder)
        size = f"{size_bytes(folder) / 1e6:.1f} MB"
        made.add_row(Text(folder.name), Text(decided, style=STYLES.get(decided, "dim")), size)
    return made


def old(runs: Path, *, keep: int, failed: bool) -> Sequence[Path]:
    """Return all but the newest `keep`; those that did not pass stay out of it unless `failed`."""
    return [folder for folder in recordings(runs)[keep:] if failed or decision(folder) == "promote"]


def forget(runs: Path) -> Path | None:
    """Remove the page of a set whose runs are no longer all there, and return it; None if there is no such page."""
    page = runs / "index.html"
    try:
        named = re.findall(r'href="([^"/]+)/report\.html"', page.read_text(encoding="utf-8"))
        if all((runs / unquote(name)).is_dir() for name in named):
            return None
        page.unlink()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise RecordingError(f"{page}: can't be removed: {error.strerror}; see its owner and mode") from error
    return page


def remove(folder: Path) -> None:
    """Remove a recording; it is one as long as its run.json is there, which therefore goes last.

    RecordingError if it would not go.
    """
    facts = folder / "run.json"
    if folder.is_symlink():
        raise RecordingError(f"{folder}: it is a link, and what it points to may be wanted; remove it by hand")
    try:
        for path in folder.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            elif path != facts:
                path.unlink()
        facts.unlink()
        folder.rmdir()
    except OSError as error:
        raise RecordingError(f"{folder}: can't be removed: {error.strerror}; see its owner and mode") from error
