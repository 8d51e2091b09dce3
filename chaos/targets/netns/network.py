"""The lab's wires: a bridge in the hub, and a veth pair from it to each node. Links are made by ip(8), in batches."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from chaos.environment import of_children
from chaos.errors import TargetError
from chaos.targets.netns import syscalls

if TYPE_CHECKING:
    from collections.abc import Sequence

HUB_BRIDGE = "br0"
NODE_LINK = "eth0"
_PREFIX = 24


def hub_lines(address: str) -> Sequence[str]:
    """Return the batch that makes the bridge; the hub has its address, and no route beyond its network."""
    return (
        "link set lo up",
        f"link add {HUB_BRIDGE} type bridge mcast_snooping 0",
        f"address add {address}/{_PREFIX} dev {HUB_BRIDGE}",
        f"link set {HUB_BRIDGE} up",
    )


def port_lines(port: str, netns: int) -> Sequence[str]:
    """Return the batch that plugs a node in, its network open as `netns`."""
    return (
        f"link add {port} type veth peer name {NODE_LINK} netns /proc/self/fd/{netns}",
        f"link set {port} master {HUB_BRIDGE}",
        f"link set {port} up",
    )


def node_lines(address: str) -> Sequence[str]:
    """Return the batch that gives a node, from within its network, its address."""
    return ("link set lo up", f"address add {address}/{_PREFIX} dev {NODE_LINK}", f"link set {NODE_LINK} up")


def new_netns(hub: int) -> int:
    """Return a new network namespace, and stay in the hub's.

    No IPv6: a cut between two IPv4 addresses must not be walked around by link-local ones.
    """
    syscalls.unshare(syscalls.CLONE_NEWNET)
    try:
        for which in ("all", "default"):
            with contextlib.suppress(FileNotFoundError):  # a kernel without IPv6
                Path(f"/proc/sys/net/ipv6/conf/{which}/disable_ipv6").write_text("1", encoding="ascii")
        return os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        syscalls.setns(hub, syscalls.CLONE_NEWNET)


def ip(*lines: str, keep: Sequence[int] = ()) -> None:
    """Have iproute2 carry out `lines` as one batch, in the calling thread's network namespace.

    `keep` are descriptors that the lines name. TargetError with what was refused.
    """
    program = shutil.which("ip", path=os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin")))
    if program is None:
        raise TargetError("no `ip` on PATH; install iproute2")
    done = subprocess.run(
        [program, "-batch", "-"],
        input="\n".join(lines),
        capture_output=True,
        text=True,
        pass_fds=keep,
        check=False,
        env=of_children(),
    )
    if done.returncode != 0:
        raise TargetError(f"ip: {done.stderr.strip()} in: {'; '.join(lines)}")
