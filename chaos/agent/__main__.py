"""`python -m chaos.agent` serves a controller; `python -m chaos.agent heal FOLDER…` undoes what a dead one left.

What a journal says is done with all the powers of whoever heals. So a folder in which others could have written it is
refused, as ssh(1) refuses a key that others can write.
"""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

from chaos.agent.replay import heal
from chaos.agent.serve import serve
from chaos.errors import ChaosgateError, UsageError


def main(arguments: list[str]) -> int:
    """Return the exit code: 0, 2 for wrong use, or that of the error."""
    if not arguments:
        serve()
        return 0
    if arguments[0] != "heal" or len(arguments) < 2:
        sys.stderr.write("usage: python -m chaos.agent [heal FOLDER…]\n")
        return 2
    folders = [Path(argument) for argument in arguments[1:]]
    try:
        for folder in folders:
            trust(folder)
        for folder in folders:
            for name in heal(folder):
                sys.stdout.write(f"{folder}: {name} undone\n")
    except ChaosgateError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


def trust(folder: Path) -> None:
    """Be content with a journal that only we can have written; UsageError says who else could."""
    if why := distrusted(folder):
        raise UsageError(
            f"{folder}: {why}; what it says would be done with the powers of uid {os.geteuid()}, so it is not"
        )


def distrusted(folder: Path) -> str:
    """Return why another user may have written what is in a folder; "" if none can."""
    try:
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode):
            return "it is a link, or no folder"
        if why := _others(found):
            return why
        above = folder.absolute().parent.stat()
        if above.st_mode & stat.S_IWOTH and not above.st_mode & stat.S_ISVTX:
            return "everybody may put another folder in its place (the one above is open to all, and not sticky)"
        files = [(path.name, path.lstat()) for path in sorted(folder.iterdir())]
    except OSError as error:
        return f"it can't be read ({error.strerror})"
    return next((f"{name}: {why}" for name, of_it in files if (why := _others(of_it, regular=True))), "")


def _others(found: os.stat_result, *, regular: bool = False) -> str:
    if found.st_uid != os.geteuid():
        return f"it belongs to uid {found.st_uid}"
    if regular and not stat.S_ISREG(found.st_mode):
        return "it is no regular file"
    return f"everybody may write it (mode {stat.S_IMODE(found.st_mode):o})" if found.st_mode & stat.S_IWOTH else ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
