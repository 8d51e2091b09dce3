"""Where a stack runs. Adding a target: one file or folder here, and one line in TARGETS.

`open` is a context manager: everything is gone when it ends, whatever happened inside. `backend` says without
touching anything which mechanism would carry out an action, or raises CapabilityError.

A stranger's package adds a target by the entry point group `chaosgate.targets`; a name that is taken is an error.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from chaos.registry import Table

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from chaos.fetching import Say
    from chaos.model import Action, Node
    from chaos.ports import Target


@dataclass(frozen=True, slots=True, kw_only=True)
class Wants:
    """What an experiment wants of its nodes from the start, by their names, so that all phases of a run are alike.

    `cpu` limits nodes to cores (inf: not yet, but a fault may); `disks` and `clocks` are nodes whose files and whose
    wall clocks a fault may touch.
    """

    cpu: Mapping[str, float] = field(default_factory=dict)
    disks: frozenset[str] = frozenset()
    clocks: frozenset[str] = frozenset()


class OpensTarget(Protocol):
    """Opens a target with the nodes that a stack wants, and what is wanted of them; files go to `evidence`."""

    def __call__(self, nodes: Sequence[Node], *, wants: Wants, evidence: Path) -> AbstractContextManager[Target]:
        """Return the context manager."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetKind:
    """One way to run a stack."""

    open: OpensTarget
    backend: Callable[[Action], str]
    no_cpu_limit: Callable[[], str] = lambda: ""  # why nodes can't be limited, and what would do
    provide_disks: Callable[[Say], object] = lambda _: None  # fetches or builds what serves the files of nodes
    provide_clocks: Callable[[Say], object] = lambda _: None  # the same for what gives them clocks of their own


def _open_netns(nodes: Sequence[Node], *, wants: Wants, evidence: Path) -> AbstractContextManager[Target]:
    from chaos.places import labs  # noqa: PLC0415  # loaded when it is used, here and below
    from chaos.targets.netns.lab import NodeSpec  # noqa: PLC0415
    from chaos.targets.netns.target import clear_leftovers, open_netns  # noqa: PLC0415

    base = labs()
    clear_leftovers(base)
    specs = [
        NodeSpec(
            name=n.name,
            role=n.role,
            zone=n.zone,
            cpu_limit=wants.cpu.get(n.name),
            disk=n.name in wants.disks,
            clock=n.name in wants.clocks,
        )
        for n in nodes
    ]
    return open_netns(specs, base=base, evidence=evidence)


def _netns_backend(action: Action) -> str:
    from chaos.targets.netns.ability import backend  # noqa: PLC0415

    return backend(action)


def _netns_no_cpu_limit() -> str:
    from chaos.targets.netns.ability import no_cpu_limit  # noqa: PLC0415

    return no_cpu_limit()


def _netns_provide_disks(say: Say) -> object:
    from chaos.targets.netns.disks import program  # noqa: PLC0415

    return program(say)


def _netns_provide_clocks(say: Say) -> object:
    from chaos.targets.netns.clocks import library  # noqa: PLC0415

    return library(say)


TARGETS: Mapping[str, TargetKind] = Table(
    {
        "netns": TargetKind(
            open=_open_netns,
            backend=_netns_backend,
            no_cpu_limit=_netns_no_cpu_limit,
            provide_disks=_netns_provide_disks,
            provide_clocks=_netns_provide_clocks,
        )
    },
    "chaosgate.targets",
)
