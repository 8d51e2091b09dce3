"""What the embedded lab can do on this machine, asked without making one; the lab itself is asked again later."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from chaos.agent import kernel
from chaos.agent.shaper import probe
from chaos.errors import CapabilityError
from chaos.model import Action, StackAction
from chaos.targets.agents.mechanisms import Means, mechanism
from chaos.targets.netns import cgroups, clocks, disks

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
    found = mechanism(action, _means())
    if why := _unprovable():
        raise CapabilityError(
            f"{action.kind}: that it is healed could not be proved ({why}); `chaosgate doctor` says what would do"
        )
    return found


@functools.cache
def _means() -> Means:
    found = shaper()
    why = "; ".join(f"{name}: {text}" for name, text in _shapers().items())
    no_shaper = f"no shaper works here ({why}); `chaosgate doctor` says what would do"
    places = cgroups.parents()
    reasons = {
        "shaper": "" if found else no_shaper,
        "quota": no_cpu_limit(),
        "disk": disks.why_not(),
        "clock": clocks.why_not(),
    }
    return Means(
        freezer="cgroup.freeze" if places.freeze else "SIGSTOP",
        there={
            "shaper": found,
            "quota": "cpu.max" if places.cpu_v2 else "cpu.cfs_quota_us",
            "disk": disks.FUSE,
            "clock": clocks.MECHANISM,
            "power": "node init",
        },
        why_not={what: reason for what, reason in reasons.items() if reason},
    )
