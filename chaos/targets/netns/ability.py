"""What the embedded lab can do on this machine, asked without making one; the lab itself is asked again later."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from chaos.agent import kernel
from chaos.agent.shaper import probe
from chaos.errors import CapabilityError
from chaos.model import Action, CpuQuota, Cut, DiskFault, Freeze, Power, Shape, Signal, StackAction
from chaos.targets.netns import cgroups, disks

if TYPE_CHECKING:
    from collections.abc import Sequence


@functools.cache
def _shapers() -> dict[str, str]:
    return dict(probe())


def shaper() -> str:
    """Return the first usable shaper backend; "" if there is none."""
    return next((name for name, why_not in _shapers().items() if not why_not), "")


def no_cpu_limit() -> str:
    """Return why a node's CPU time can't be limited here, and what would do; "" if it can."""
    if cgroups.parents().limits_cpu:
        return ""
    return "no cgroup cpu controller is ours to use; run as root, or leave it out"


@functools.cache
def _unprovable() -> str:
    """Return which programs that a proof of a heal needs can't be had, and what would do; "" if all can."""
    return "; ".join(why for program in kernel.PROGRAMS if (why := _silent(program)))


def _silent(program: Sequence[str]) -> str:
    try:
        kernel.ask(program)
    except OSError as error:
        return str(error)
    return ""


def backend(action: Action) -> str:
    """Return the mechanism that would carry out `action`; CapabilityError naming what is missing, for its heal too."""
    if isinstance(action, StackAction):
        return "the stack's own operation"
    found = _mechanism(action)
    if why := _unprovable():
        raise CapabilityError(
            f"{action.kind}: that it is healed could not be proved ({why}); `chaosgate doctor` says what would do"
        )
    return found


def _mechanism(action: Action) -> str:
    if isinstance(action, Signal):
        return f"SIG{action.signal}"
    if isinstance(action, Freeze):
        return "cgroup.freeze" if cgroups.parents().freeze else "SIGSTOP"
    if isinstance(action, Power):
        return f"node init, {_disk(action)}" if action.unsynced_lost else "node init"
    if isinstance(action, DiskFault):
        return _disk(action)
    if isinstance(action, CpuQuota):
        if why := no_cpu_limit():
            raise CapabilityError(f"{action.kind}: {why}")
        return "cpu.max" if cgroups.parents().cpu_v2 else "cpu.cfs_quota_us"
    assert isinstance(action, Shape | Cut)
    found = shaper()
    if not found:
        why = "; ".join(f"{name}: {text}" for name, text in _shapers().items())
        raise CapabilityError(f"{action.kind}: no shaper works here ({why}); `chaosgate doctor` says what would do")
    return "nft" if isinstance(action, Cut) and found != "tap" else found


def _disk(action: Action) -> str:
    if why := disks.why_not():
        raise CapabilityError(f"{action.kind}: {why}")
    return disks.FUSE
