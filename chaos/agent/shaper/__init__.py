"""The packet shaper: delays, loses, repeats, reorders, corrupts, slows or cuts what a node receives or sends.

                    hub: the bridge's port of the node            node
    peers ──▶ bridge ──▶ egress  ──[ rules "in"  ]──▶ veth ──▶ eth0
    peers ◀── bridge ◀── ingress ◀─[ rules "out" ]─── veth ◀── eth0

Never on the sender's own egress: a loss there is reported to its TCP and is no loss, and a delay there is held
against its send queue (measured: 2 Mbit/s at 20 ms, against 1 345).

Three backends, chosen by trying them: `netem` (tc), `tap` (tcx programs and a daemon), `nfqueue` (a daemon). With
each of them the death of the agent, by whatever means, brings the kernel's own path back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from chaos.agent.shaper.values import BACKENDS, Port, Rule, ShaperError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["BACKENDS", "Port", "Rule", "Shaper", "ShaperError", "open_shaper", "probe"]


class Shaper(Protocol):
    """Rules in force on a set of ports."""

    backend: str
    realtime: bool  # whether SCHED_FIFO was had; without it tight delays are not kept under load

    def set(self, node: str, rules: Sequence[Rule]) -> None:
        """Replace everything in force on `node`; () is the kernel's own path. ShaperError."""
        ...

    def state(self) -> Mapping[str, Any]:
        """Return JSON data: backend, alive, pids, counters a node (seen, dropped, duplicated, held, overflow)."""
        ...

    def close(self) -> None:
        """Back to the kernel's path, then release what is held, then detach. Idempotent."""
        ...


def probe() -> Mapping[str, str]:
    """Return for each backend "" if it works here, else why not; tried in a scratch namespace, once a process."""
    from chaos.agent.shaper.probing import probe_backends  # noqa: PLC0415  our children import this package too

    return probe_backends()


def open_shaper(ports: Sequence[Port], backend: str | None = None) -> Shaper:
    """Attach to `ports` with `backend`, or the first that works here; ShaperError naming why none does."""
    from chaos.agent.shaper.probing import open_backend  # noqa: PLC0415  as above

    return open_backend(ports, backend)
