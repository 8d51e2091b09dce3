"""Less CPU time for a whole node: the quota of its cgroup.

    cgroup v1   cpu.cfs_quota_us, cpu.cfs_period_us   -1: no limit     Documentation/scheduler/sched-bwc.rst
    cgroup2     cpu.max  "<quota> <period>"           max: no limit    Documentation/admin-guide/cgroup-v2.rst

The undo writes back what the file held before. Whether it bites is for cpu.stat to say: periods in which the node was
held back, and the CPU time that its processes got.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chaos.agent import processes
from chaos.agent.actions.signal import running_processes
from chaos.agent.groupfiles import own_file
from chaos.agent.points import effect
from chaos.errors import AgentError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from chaos.agent.ground import Ground
    from chaos.model import CpuQuota

PERIOD_US = 100_000  # the kernel's own default


def prepare(ground: Ground, name: str, subject: str, action: CpuQuota) -> dict[str, Any]:  # noqa: ARG001 - the seam's
    """Remember the quota; AgentError if the node has no cgroup of its own for it, or runs nothing."""
    quota = ground.place(subject).quota
    if not quota:
        raise AgentError(f"{name}: {subject} has no cgroup of its own whose CPU time could be limited")
    running = running_processes(ground, subject, "")
    if not running:
        raise AgentError(f"{name}: nothing runs on {subject}: that it has less CPU time would be seen by nobody")
    before = Path(quota).read_text(encoding="ascii").strip()
    return {"name": name, "subject": subject, "quota": quota, "before": before, "processes": running}


def apply(ground: Ground, undo: Mapping[str, Any], action: CpuQuota) -> None:  # noqa: ARG001 - the seam's
    """Set the quota."""
    quota = _quota(undo)
    text = f"{round(action.cores * PERIOD_US)}"
    if quota.name == "cpu.max":
        text = f"{text} {PERIOD_US}"
    effect("cpu.apply", lambda: quota.write_text(text, encoding="ascii"))


def undo(ground: Ground, undo: Mapping[str, Any]) -> None:  # noqa: ARG001 - the seam's
    """Write back what was there; a cgroup that is gone limits nothing."""
    if (quota := _quota(undo)).exists():
        effect("cpu.undo", lambda: quota.write_text(undo["before"], encoding="ascii"))


def observe(ground: Ground, undo: Mapping[str, Any]) -> dict[str, Any]:
    """Return the quota as the kernel has it, how often it held the node back, and the CPU time that was used."""
    ground.place(undo["subject"])
    quota = _quota(undo)
    listed = ground.node_call(undo["subject"], {"op": "ps"})["processes"]
    return {
        "at_ns": time.monotonic_ns(),
        "quota": quota.read_text(encoding="ascii").strip(),
        "cores": cores(quota),
        "throttled": throttled(quota.with_name("cpu.stat").read_text(encoding="ascii")),
        "processes": [{**p, "stat": processes.stat(p["pid_lab"])} for p in listed],
    }


def cores(quota: Path) -> float | None:
    """Return the cores that a quota file grants; None: no limit."""
    first, *rest = quota.read_text(encoding="ascii").split()
    if first in ("max", "-1"):
        return None
    period = rest[0] if rest else quota.with_name("cpu.cfs_period_us").read_text(encoding="ascii")
    return int(first) / int(period)


def throttled(stat: str) -> int:
    """Return in how many periods a cgroup was held back, from the text of its cpu.stat."""
    return int(dict(line.split() for line in stat.splitlines())["nr_throttled"])


def _quota(undo: Mapping[str, Any]) -> Path:
    return own_file(undo["quota"], undo["subject"], "cpu.max", "cpu.cfs_quota_us")
