"""Where a stack runs. Adding a target: one file or folder here, and one line in TARGETS.

A factory is a context manager: everything is gone when it ends, whatever happened inside.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from chaos.model import Node
    from chaos.ports import Target


class TargetFactory(Protocol):
    """Opens a target with the nodes that a stack wants; `evidence` is the recording's folder for pcaps and the like."""

    def __call__(self, nodes: Sequence[Node], *, evidence: Path) -> AbstractContextManager[Target]:
        """Return the context manager."""
        ...


def _netns(nodes: Sequence[Node], *, evidence: Path) -> AbstractContextManager[Target]:
    from chaos.targets.netns import open_target  # noqa: PLC0415  # loaded when it is used

    return open_target(nodes, evidence=evidence)


TARGETS: Mapping[str, TargetFactory] = {"netns": _netns}
