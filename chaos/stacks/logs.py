"""How a log is read for lines that tell of trouble; which lines those are, each stack says. Pure.

line ─essence─▶ what of it counts ("" for a line that is no trouble) ─▶ SUSPICIOUS ─▶ EXPLAINED ─▶ Suspicion
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import TYPE_CHECKING

from chaos.model import Suspicion

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

Suspicious = tuple[tuple[re.Pattern[str], str], ...]
"""Pattern and its name, in a word or two; the first that is found in a line's essence names it."""

Explained = tuple[tuple[re.Pattern[str], tuple[str, ...]], ...]
"""Pattern and the kinds of actions that may have caused such a line."""


def suspicious(rows: Iterable[tuple[str, str]], flags: re.RegexFlag = re.NOFLAG) -> Suspicious:
    """Compile a table of patterns and names."""
    return tuple((re.compile(pattern, flags), what) for pattern, what in rows)


def explained(rows: Iterable[tuple[str, tuple[str, ...]]], flags: re.RegexFlag = re.NOFLAG) -> Explained:
    """Compile a table of patterns and kinds of actions."""
    return tuple((re.compile(pattern, flags), kinds) for pattern, kinds in rows)


def find(
    text: str,
    table: Suspicious,
    excuses: Explained,
    *,
    essence: Callable[[str], str],
    at_s: Callable[[str], float | None],
) -> list[Suspicion]:
    """Return the suspicious lines of a log, in order; `at_s` says when a line was written."""
    found = []
    for number, line in enumerate(text.splitlines(), start=1):
        told = essence(line)
        what = next((what for pattern, what in table if pattern.search(told)), None) if told else None
        if what is not None:
            kinds = next((kinds for pattern, kinds in excuses if pattern.search(told)), ())
            found.append(Suspicion(number=number, line=line, what=what, explained_by=kinds, at_s=at_s(line)))
    return found


def seconds_of(text: str) -> float | None:
    """Return seconds since 1970 of an ISO 8601 time; None for what is none, or names no zone."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    return None if at.tzinfo is None else at.timestamp()
