"""The closed list of what may be done to a node. Each file: prepare (look), apply, undo, observe.

prepare ─▶ undo data ─▶ journal ─▶ apply … observe … undo ─▶ forget
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

from chaos.agent.actions import clock, cpu, cut, disk, freeze, power, shape, signal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from chaos.agent.ground import Ground


class Kind(Protocol):
    """One file of this folder."""

    def prepare(self, ground: Ground, name: str, subject: str, action: Any) -> dict[str, Any]:
        """Look and refuse; return the undo as data. AgentError: can't be done here."""
        ...

    def apply(self, ground: Ground, undo: Mapping[str, Any], action: Any) -> None:
        """Do it."""
        ...

    def undo(self, ground: Ground, undo: Mapping[str, Any]) -> None:
        """Take it back; idempotent, content to find nothing."""
        ...

    def observe(self, ground: Ground, undo: Mapping[str, Any]) -> dict[str, Any]:
        """Return raw data; judging is the controller's."""
        ...


ACTIONS: Mapping[str, Kind] = MappingProxyType(
    {
        "shape": shape,
        "cut": cut,
        "signal": signal,
        "freeze": freeze,
        "power": power,
        "cpu": cpu,
        "disk": disk,
        "clock": clock,
    }
)
