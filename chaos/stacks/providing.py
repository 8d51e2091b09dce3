"""`python -m chaos.stacks.<stack>.versions [VERSION …]`: see to it that versions are at hand, and say what happens."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from chaos.errors import ChaosgateError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from chaos.fetching import Say


def provide_all(stack: str, versions: Sequence[str], provide: Callable[[str, Say], Path]) -> int:
    """Provide versions one by one; return the exit code. One that can't be had keeps no other away."""
    exit_code = 0
    for version in versions:
        try:
            path = provide(version, lambda line: print(line, flush=True))  # noqa: T201 — this is a command, here and below
        except ChaosgateError as error:
            print(f"{stack} {version} can't be had: {error}", file=sys.stderr, flush=True)  # noqa: T201
            exit_code = error.exit_code
        else:
            print(f"{stack} {version}: {path}", flush=True)  # noqa: T201
    return exit_code
