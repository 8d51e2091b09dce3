"""The answer of a check: ok, illegal with the operations that contradict each other, or unknown and why."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gates.linearizability.history import Ints, Operation


class Answer(enum.Enum):
    """UNKNOWN: the budget ended, or a cut-short recording may have lost the missing piece."""

    OK = "ok"
    ILLEGAL = "illegal"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What `check` found out. `key` and `witness` are set when ILLEGAL (and by UNKNOWN where one key is to blame).

    `witness`: the operations that contradict each other, in order of their calls. `methods`: keys decided by "blocks"
    (the fast path) and by "search".
    """

    answer: Answer
    reason: str
    key: str | int = ""
    witness: tuple[Operation, ...] = ()
    operations: int = 0
    keys: int = 0
    methods: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Violation:
    """A contradiction, as rows of the history that was checked."""

    key: int
    reason: str
    rows: Ints
    by_search: bool = False  # so it may rest on a write that a cut-short recording lost
