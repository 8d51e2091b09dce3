"""`python -m chaos.agent` serves a controller; `python -m chaos.agent heal FOLDER…` undoes what a dead one left.

`python -m chaos.agent standby FOLDER` waits beside one that may die, and does the same.

A folder in which others could have written is refused (trust.py).
"""

from __future__ import annotations

import sys
from pathlib import Path

from chaos.agent.replay import heal
from chaos.agent.serve import serve
from chaos.agent.standby import stand_by
from chaos.agent.trust import believe
from chaos.errors import ChaosgateError


def main(arguments: list[str]) -> int:
    """Return the exit code: 0, 2 for wrong use, or that of the error."""
    if not arguments:
        serve()
        return 0
    if arguments[0] == "standby" and len(arguments) == 2:
        return stand_by(Path(arguments[1]))
    if arguments[0] != "heal" or len(arguments) < 2:
        sys.stderr.write("usage: python -m chaos.agent [heal FOLDER… | standby FOLDER]\n")
        return 2
    folders = [Path(argument) for argument in arguments[1:]]
    try:
        for folder in folders:
            believe(folder)
        for folder in folders:
            for name in heal(folder):
                sys.stdout.write(f"{folder}: {name} undone\n")
    except ChaosgateError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
