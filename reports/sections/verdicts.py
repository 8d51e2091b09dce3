"""One row a gate: its answer, the value, the bound, the interval, and a picture of how far apart they are.

0 ────────────[──●──]──────│────────   value with its interval, and the bound
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from chaos.model import Status
from gates.wording import percent, seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from chaos.model import Verdict
    from gates.judge import Judgement

NONE = "–"
ALONE = "; alone: "  # the mark of gates/judge.py in the summary of a run that does not count


UNITS: Mapping[str, Callable[[float], str]] = {
    "_per_s": lambda value: f"{value:,.0f}/s",
    "_share": percent,
    "_s": seconds,
}
FLOORS = frozenset({"_per_s"})  # a rate is bounded from below, everything else from above


@dataclass(frozen=True, slots=True, kw_only=True)
class Bullet:
    """Places from 0 to 100 on a line: the value, its interval, the bound; `floor`: good is to the right of it."""

    value: float
    low: float
    high: float
    bound: float
    floor: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class GateRow:
    """What the table says of one verdict. `numbers`: all that the gate gave, as name and text."""

    name: str
    status: Status
    summary: str
    value: str
    bound: str
    interval: str
    n: str
    bullet: Bullet | None
    certain: bool
    known_failure: bool
    published: str
    numbers: Sequence[tuple[str, str]]
    evidence: Sequence[str]

    @property
    def alone(self) -> str:
        """What the gate said of a run that does not count; empty if it counts."""
        return self.summary.partition(ALONE)[2]

    @property
    def word(self) -> str:
        """The answer as a class name and a word."""
        return self.status.name.lower()


def rows(judgement: Judgement) -> list[GateRow]:
    """Return a row a verdict, in the order judged."""
    return [_row(verdict, judgement) for verdict in judgement.verdicts]


def _row(verdict: Verdict, judgement: Judgement) -> GateRow:
    numbers = verdict.numbers
    suffix = next((unit for unit in UNITS if f"value{unit}" in numbers or f"limit{unit}" in numbers), "")
    n = numbers.get("n")
    return GateRow(
        name=verdict.gate or "no gate",
        status=verdict.status,
        summary=verdict.summary,
        value=_value(verdict, suffix),
        bound=_bound(numbers, suffix),
        interval=_interval(numbers, suffix),
        n=f"{n:,}" if isinstance(n, int) else NONE,
        bullet=_bullet(numbers, suffix),
        certain=verdict.certain,
        known_failure=verdict.gate in judgement.known_failures,
        published=judgement.published.get(verdict.gate, ""),
        numbers=[(name, _plain(value)) for name, value in numbers.items() if _short(value)],
        evidence=verdict.evidence,
    )


def _value(verdict: Verdict, suffix: str) -> str:
    if suffix and f"value{suffix}" in verdict.numbers:
        value = verdict.numbers[f"value{suffix}"]
        if value is None:  # an infinite percentile, or a recovery that was not seen
            return "never" if f"low{suffix}" in verdict.numbers else "not seen"
        return UNITS[suffix](value)
    if verdict.status is Status.INCONCLUSIVE:
        return NONE
    return "holds" if verdict.status is Status.PASS else "violated"


def _bound(numbers: Mapping[str, Any], suffix: str) -> str:
    bound = numbers.get(f"limit{suffix}")
    return f"{'≥' if suffix in FLOORS else '≤'} {UNITS[suffix](bound)}" if suffix and bound is not None else NONE


def _interval(numbers: Mapping[str, Any], suffix: str) -> str:
    if not suffix or f"low{suffix}" not in numbers:
        return NONE
    low, high = numbers[f"low{suffix}"], numbers.get(f"high{suffix}")
    ends = ["never" if end is None else UNITS[suffix](end) for end in (low, high)]
    return " to ".join(dict.fromkeys(ends))


def _bullet(numbers: Mapping[str, Any], suffix: str) -> Bullet | None:
    bound, value = numbers.get(f"limit{suffix}"), numbers.get(f"value{suffix}")
    if not suffix or bound is None or (value is None and f"low{suffix}" not in numbers):
        return None
    value = math.inf if value is None else float(value)
    low, high = numbers.get(f"low{suffix}", value), numbers.get(f"high{suffix}", value)
    ends = [value, math.inf if low is None else float(low), math.inf if high is None else float(high)]
    scale = 1.25 * max([float(bound), *(end for end in ends if math.isfinite(end))]) or 1.0
    value, low, high, bound = (min(100.0, 100 * end / scale) for end in (*ends, float(bound)))
    return Bullet(value=value, low=low, high=high, bound=bound, floor=suffix in FLOORS)


def _short(value: Any) -> bool:
    """Say whether a number fits a line; witnesses and lists of problems have places of their own."""
    return not isinstance(value, list | tuple) or all(not isinstance(one, dict) for one in value)


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name}: {_plain(one)}" for name, one in value.items()) or NONE
    if isinstance(value, list | tuple):
        return "; ".join(map(_plain, value)) or "none"
    if isinstance(value, float):
        return f"{value:,.6g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
