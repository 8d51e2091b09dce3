"""Which backends work here: found by trying each in a scratch namespace, never by a version.

probe ──▶ child process ──▶ unshare(net) ──▶ netem on lo; TAP + tcx; NFQUEUE rule + queue ──▶ JSON
                                             (the namespace and all in it ends with the child)
"""

from __future__ import annotations

import functools
import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

from chaos.agent.shaper.child import environment
from chaos.agent.shaper.client import DaemonShaper, QueueShaper
from chaos.agent.shaper.kernel import CLONE_NEWNET, libc, run
from chaos.agent.shaper.netem import NetemShaper
from chaos.agent.shaper.nfqueue import Queues
from chaos.agent.shaper.values import BACKENDS, Port, Rule, ShaperError
from chaos.agent.shaper.wire import Wire
from chaos.model import Impairment

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from chaos.agent.shaper import Shaper

PROBE_TIMEOUT_S = 30.0


@functools.cache
def probe_backends() -> Mapping[str, str]:
    """Return backend → "" or why it does not work here."""
    argv = [sys.executable, "-S", "-P", "-m", "chaos.agent.shaper.probing"]
    try:
        done = subprocess.run(
            argv, env=environment(), capture_output=True, text=True, timeout=PROBE_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return dict.fromkeys(BACKENDS, f"the trial gave no answer within {PROBE_TIMEOUT_S:g} s")
    if done.returncode:
        return dict.fromkeys(BACKENDS, f"the trial ended with {done.returncode}: {done.stderr.strip()[-300:]}")
    found: dict[str, str] = json.loads(done.stdout)
    return found


def open_backend(ports: Sequence[Port], backend: str | None) -> Shaper:
    """Attach to `ports`; ShaperError naming what is wrong with each backend."""
    if not ports:
        raise ShaperError("no ports to shape")
    if backend is not None and backend not in BACKENDS:
        raise ShaperError(f"no such backend {backend!r}; there are {', '.join(BACKENDS)}")
    found = probe_backends()
    for name in [backend] if backend else BACKENDS:
        if not found[name]:
            return _open(name, ports)
    whys = "; ".join(f"{name}: {found[name]}" for name in ([backend] if backend else BACKENDS))
    raise ShaperError(f"no backend works here: {whys}")


def _open(name: str, ports: Sequence[Port]) -> Shaper:
    if name == "netem":
        return NetemShaper(ports)
    return QueueShaper(ports) if name == "nfqueue" else DaemonShaper(ports, name)


# ---------------------------------------------------------------- in the child


def _try_netem(here: int) -> None:
    run(here, ("tc", "qdisc", "add", "dev", "lo", "root", "handle", "c4a0:", "netem", "delay", "1ms"))
    run(here, ("tc", "qdisc", "del", "dev", "lo", "root", "handle", "c4a0:"))


def _try_tap(here: int) -> None:
    port = Port(node="lo", address="127.0.0.1", hub_netns=here, hub_ifname="lo", node_netns=here, node_ifname="lo")
    wire = Wire([port])
    try:
        wire.set(0, [Rule(direction="in", impairment=Impairment(delay_s=0.001)), Rule(direction="out", cut=True)])
    finally:
        wire.close()


def _try_nfqueue(here: int) -> None:
    run(here, ("iptables", "-t", "mangle", "-A", "PREROUTING", "-j", "NFQUEUE", "--queue-num", "1", "--queue-bypass"))
    run(
        here,
        ("nft", "-f", "-"),
        "table inet chaosgate { chain refused { type filter hook prerouting priority -300; }; }\n",
    )
    queues = Queues()
    try:
        queues.bind(1)
        queues.copy(1, 0)
    finally:
        queues.close()


def _tried() -> dict[str, str]:
    os_error = libc.unshare(CLONE_NEWNET)
    if os_error:
        return dict.fromkeys(BACKENDS, "no network namespace can be made; root or a user namespace is needed")
    here = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    run(here, ("ip", "link", "set", "lo", "up"))
    found = {}
    for name, attempt in (("netem", _try_netem), ("tap", _try_tap), ("nfqueue", _try_nfqueue)):
        try:
            attempt(here)
            found[name] = ""
        except (OSError, ShaperError) as error:
            found[name] = str(error)
    return found


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.stdout.write(json.dumps(_tried()))
