"""What a journal says is done with all the powers of whoever heals: one that others could have written is refused.

    lab's folder ─ ours or root's; who else may write it can't swap what is in it (sticky)
      └─▶ journal ─ ours, and nobody else may write it
            └─▶ every file ─ so, too

As ssh(1) refuses a key that others can write; the group counts as others, since who is in it changes.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from chaos.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


def believe(folder: Path) -> None:
    """Be content with a journal that only we can have written; UsageError says who else could."""
    if why := distrusted(folder):
        raise UsageError(
            f"{folder}: {why}; what it says would be done with the powers of uid {os.geteuid()}, so it is not; look "
            "at it, then take the others' right to write it away (chmod go-w), or remove it"
        )


def distrusted(folder: Path) -> str:
    """Return why another user may have written what is in a folder; "" if none can."""
    try:
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode):
            return "it is a link, or no folder"
        if why := _others(found):
            return why
        if why := swappable(folder.absolute().parent.stat()):
            return f"another folder may be put in its place: the one above {why}"
        files = [(path.name, path.lstat()) for path in sorted(folder.iterdir())]
    except OSError as error:
        return f"it can't be read ({error.strerror})"
    return next((f"{name}: {why}" for name, of_it in files if (why := _others(of_it, regular=True))), "")


def swappable(above: os.stat_result) -> str:
    """Return why others may put something else in the place of what is in a folder; "" if they can't."""
    if above.st_uid not in (os.geteuid(), 0):  # its owner may, sticky or not
        return f"belongs to uid {above.st_uid}"
    if above.st_mode & OTHERS_WRITE and not above.st_mode & stat.S_ISVTX:
        return f"is open to others, and not sticky (mode {stat.S_IMODE(above.st_mode):o})"
    return ""


def _others(found: os.stat_result, *, regular: bool = False) -> str:
    if found.st_uid != os.geteuid():
        return f"it belongs to uid {found.st_uid}"
    if regular and not stat.S_ISREG(found.st_mode):
        return "it is no regular file"
    return f"others may write it (mode {stat.S_IMODE(found.st_mode):o})" if found.st_mode & OTHERS_WRITE else ""
