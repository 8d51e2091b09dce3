"""Processes stop and know nothing of it, by SIGSTOP: a long collection of garbage, a stalled disk, a debugger."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from chaos.model import Aimed, Signal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chaos.model import Node, Topology


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """The stack's processes on the victim, or only `process`. The kernel goes on: ports accept, nobody replies."""

    momentary: ClassVar[bool] = False
    takes_away: ClassVar[bool] = True
    touches: ClassVar[frozenset[str]] = frozenset({"processes"})

    process: str = ""

    def aim(self, victims: Sequence[Node], topology: Topology) -> Sequence[Aimed]:  # noqa: ARG002 the seam's signature
        """Return one signal a victim."""
        return [Aimed(subject=victim.name, action=Signal(signal="STOP", process=self.process)) for victim in victims]
