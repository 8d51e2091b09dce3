"""Keys that are only appended to: what two operations are enough to refute, before any order is tried.

get → "ab"   get → "ba"                 no text is the beginning of both
get → "ab" ├──┤     ├──┤ get → "a"      a text that was read gets no shorter
append "c" ├──┤     ├──┤ get → "ab"     what was appended is there from then on
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from gates.linearizability.history import APPEND, GET, Ints
from gates.linearizability.result import Violation

if TYPE_CHECKING:
    from gates.linearizability.roles import Roles


def violation(roles: Roles, rows: Ints) -> Violation | None:
    """Find two contradictory operations among the rows of a key; None also if the key is written in other ways."""
    h = roles.history
    if not roles.appended[h.key[rows]].any() or not np.isin(h.op[rows], (APPEND, GET)).all():
        return None
    gets = rows[h.op[rows] == GET]
    gets = gets[np.argsort(roles.call[gets], kind="stable")]
    texts = [_text(roles, int(row)) for row in gets]
    for pair, reason in (
        (_forked(gets, texts), "neither of these texts is the beginning of the other"),
        (_shrunk(roles, gets, texts), "the text was longer before"),
        (_missing(roles, rows, gets, texts), "what was appended before this get was called is missing from it"),
    ):
        if pair is not None:
            return Violation(key=int(h.key[rows[0]]), reason=reason, rows=np.array(sorted(pair)))
    return None


def _text(roles: Roles, row: int) -> str:
    return roles.history.operation(row).value or ""


def _forked(gets: Ints, texts: list[str]) -> tuple[int, int] | None:
    by_length = sorted(range(len(gets)), key=lambda n: len(texts[n]))
    for shorter, longer in pairwise(by_length):
        if not texts[longer].startswith(texts[shorter]):
            return int(gets[shorter]), int(gets[longer])
    return None


def _shrunk(roles: Roles, gets: Ints, texts: list[str]) -> tuple[int, int] | None:
    length = np.array([len(text) for text in texts], dtype=np.int64)
    by_return = np.argsort(roles.returned[gets], kind="stable")
    longest = np.maximum.accumulate(length[by_return])
    earlier = np.searchsorted(roles.returned[gets][by_return], roles.call[gets])
    wrong = np.flatnonzero((earlier > 0) & (longest[earlier - 1] > length)) if len(gets) else np.empty(0, np.int64)
    if not wrong.size:
        return None
    before = by_return[: earlier[wrong[0]]]
    return int(gets[before[length[before].argmax()]]), int(gets[wrong[0]])


def _missing(roles: Roles, rows: Ints, gets: Ints, texts: list[str]) -> tuple[int, int] | None:
    calls = roles.call[gets]
    for row in rows[(roles.history.op[rows] == APPEND) & roles.ok[rows]]:
        first = int(np.searchsorted(calls, roles.returned[row], side="right"))
        if first < len(gets) and _text(roles, int(row)) not in texts[first]:
            return int(row), int(gets[first])
    return None
