"""By what an action is carried out, given what there is. Pure.

Means of this machine (ability.py, before a lab is made) ─┐
Means of a lab that stands (target.py) ───────────────────┴─▶ mechanism(action) │ CapabilityError: what is missing
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from chaos.errors import CapabilityError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from chaos.model import NodeAction


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """Names of mechanisms; one that is not there has its reason in `why_not`, with what would do."""

    freezer: str
    there: Mapping[str, str]  # shaper, quota, disk, clock, power
    why_not: Mapping[str, str]

    def of(self, action: NodeAction, what: str) -> str:
        """Return the mechanism for `what`; CapabilityError if there is none."""
        if why := self.why_not.get(what):
            raise CapabilityError(f"{action.kind}: {why}")
        return self.there[what]


def mechanism(action: NodeAction, means: Means) -> str:
    """Return the mechanism that carries out `action`; CapabilityError naming what is missing."""
    return _MECHANISMS[action.kind](action, means)


def _cut(action: Any, means: Means) -> str:
    shaper = means.of(action, "shaper")
    return shaper if shaper == "tap" else "nft"


def _power(action: Any, means: Means) -> str:
    power = means.of(action, "power")
    return f"{power}, {means.of(action, 'disk')}" if action.unsynced_lost else power


_MECHANISMS: Mapping[str, Callable[[Any, Means], str]] = {
    "shape": lambda action, means: means.of(action, "shaper"),
    "cut": _cut,
    "signal": lambda action, _: f"SIG{action.signal}",
    "freeze": lambda _, means: means.freezer,
    "power": _power,
    "cpu": lambda action, means: means.of(action, "quota"),
    "disk": lambda action, means: means.of(action, "disk"),
    "clock": lambda action, means: means.of(action, "clock"),
}
