"""The lines of the rules in force: kept while a rule stays, so that setting the same rules again changes nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from chaos.agent.shaper.model import Line
from chaos.model import Impairment

if TYPE_CHECKING:
    from collections.abc import Iterable

    from chaos.agent.shaper.values import Rule

CUT = Impairment(loss=1.0)  # for a packet that was under way to us when the cut came


@dataclass(slots=True)
class Counts:
    """What happened to the packets of a node since the shaper was opened."""

    seen: int = 0
    dropped: int = 0
    duplicated: int = 0
    corrupted: int = 0
    held: int = 0
    overflow: int = 0
    failed: int = 0  # the kernel did not take a packet back

    def add(self, other: Counts) -> None:
        """Add another's numbers to these."""
        for name in self.__slots__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


class Lines:
    """Rule → its line, for one owner."""

    __slots__ = ("_lines",)

    def __init__(self) -> None:
        self._lines: dict[Rule, Line] = {}

    def keep(self, rules: Iterable[Rule]) -> None:
        """Make lines for new rules and forget those that are gone."""
        self._lines = {rule: self._lines.get(rule) or Line(_impairment(rule)) for rule in rules if _works(rule)}

    def of(self, rule: Rule | None) -> Line | None:
        """Return the line of a rule; None: its packets pass untouched."""
        return None if rule is None else self._lines.get(rule)


def _works(rule: Rule) -> bool:
    return rule.cut or rule.impairment is not None


def _impairment(rule: Rule) -> Impairment:
    return CUT if rule.cut or rule.impairment is None else rule.impairment
