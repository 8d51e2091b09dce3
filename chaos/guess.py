"""What a misspelt name may have meant. Standard library only: readers of any kind of file use it."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


def nearest(word: str, known: Iterable[str]) -> str:
    """Return the name that may have been meant; "" if none is near."""
    near = difflib.get_close_matches(word, sorted(known), n=1, cutoff=0.6)
    return near[0] if near else ""


def suggestion(word: str, known: Iterable[str]) -> str:
    """Return "did you mean 'x'?" or, if nothing is near, the list of what there is."""
    names = sorted(known)
    if near := nearest(word, names):
        return f"did you mean '{near}'?"
    return f"there {'is' if len(names) == 1 else 'are'} {', '.join(names)}" if names else "there is none"
