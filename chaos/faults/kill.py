"""Processes die at once, by SIGKILL, and are started again at the heal: a crash, a panic, the OOM killer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from chaos.model import Aimed, Signal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chaos.model import Node, Topology


@dataclass(frozen=True, slots=True, kw_only=True)
class Kill:
    """The stack's processes on the victim, or only `process`; they stay down for `down-for`."""

    momentary: ClassVar[bool] = False
    takes_away: ClassVar[bool] = True
    touches: ClassVar[frozenset[str]] = frozenset({"processes"})

    process: str = ""
    down_for_s: float | None = None  # the same as the step's `for`; give one of them

    def __post_init__(self) -> None:
        """Refuse a death without a length."""
        if self.down_for_s == 0:
            raise ValueError("down-for: dead for no time is not dead; write e.g. 300ms")

    def aim(self, victims: Sequence[Node], topology: Topology) -> Sequence[Aimed]:  # noqa: ARG002 the seam's signature
        """Return one signal a victim."""
        return [Aimed(subject=victim.name, action=Signal(signal="KILL", process=self.process)) for victim in victims]
