"""The cgroups of a lab: what can outlive it, and therefore what carries its id.

    <cgroup2>/chaosgate-<id>/<node>/cgroup.freeze      stops a node, every process at once
    <cpu>/chaosgate-<id>/<node>/cpu.cfs_quota_us       or cpu.max beside the freezer, where cgroup2 has the controller
    <every>/chaosgate-<id>/<node>/                     of a node that is a machine: below it its kubelet makes its own

Only cgroup2's freezer is used: what cgroup v1 has frozen can't be killed. Without any of it (an ordinary user) the
lab works too, with fewer capabilities.
"""

from __future__ import annotations

import contextlib
import math
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

_PERIOD_US = 100_000  # the kernel's own default (cgroup-v2.rst, "cpu.max")
SERVERS = "servers"
_EMPTY_S = 3.0  # a killed process leaves its cgroup when it is reaped


@dataclass(frozen=True, slots=True, kw_only=True)
class Mounts:
    """Where cgroup hierarchies are mounted, as /proc/self/mountinfo tells; None: nowhere."""

    unified: Path | None = None
    cpu: Path | None = None  # of cgroup v1
    legacy: tuple[Path, ...] = ()  # every hierarchy of cgroup v1

    @classmethod
    def parse(cls, mountinfo: str) -> Mounts:
        """Read the text of proc_pid_mountinfo(5)."""
        unified = cpu = None
        legacy: list[Path] = []
        for line in mountinfo.splitlines():
            before, _, after = line.partition(" - ")
            where, what = Path(before.split()[4]), after.split()
            if what[0] == "cgroup2":
                unified = unified or where
            elif what[0] == "cgroup":
                legacy.append(where)
                cpu = cpu or (where if "cpu" in what[-1].split(",") else None)
        return cls(unified=unified, cpu=cpu, legacy=tuple(dict.fromkeys(legacy)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Parents:
    """Where this process may make cgroups."""

    freeze: Path | None = None
    cpu_v1: Path | None = None
    cpu_v2: bool = False  # cpu.max works below `freeze`
    machines: tuple[Path, ...] = ()  # hierarchies in which containers are kept: all of cgroup v1, or cgroup2

    @property
    def limits_cpu(self) -> bool:
        """Whether a node's CPU time can be limited."""
        return self.cpu_v1 is not None or self.cpu_v2


def parents() -> Parents:
    """Look, without writing, where cgroups can be made: at a hierarchy's root, or in what was delegated to us."""
    mounts = Mounts.parse(Path("/proc/self/mountinfo").read_text(encoding="utf-8"))
    own = _own_group(Path("/proc/self/cgroup").read_text(encoding="utf-8"))
    freeze = None
    if mounts.unified is not None:
        freeze = next((p for p in (mounts.unified, mounts.unified / own) if _may_make(p)), None)
    cpu = mounts.cpu if mounts.cpu is not None and _may_make(mounts.cpu) else None
    machines = tuple(p for p in mounts.legacy if _may_make(p)) or ((freeze,) if freeze is not None else ())
    return Parents(freeze=freeze, cpu_v1=cpu, cpu_v2=freeze is not None and _hands_down_cpu(freeze), machines=machines)


def _own_group(text: str) -> str:
    """Return the path of our cgroup2, relative to its mount, from the text of /proc/self/cgroup."""
    paths = [line.removeprefix("0::") for line in text.splitlines() if line.startswith("0::")]
    return paths[0].strip("/") if paths else ""


def _may_make(parent: Path) -> bool:
    return os.access(parent, os.W_OK) and os.access(parent / "cgroup.procs", os.W_OK)


def _hands_down_cpu(parent: Path) -> bool:
    try:
        return "cpu" in (parent / "cgroup.subtree_control").read_text(encoding="ascii").split()
    except OSError:
        return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Groups:
    """The cgroups of one lab: `tops` is what has to be removed, `joined` what a node's processes join."""

    tops: tuple[Path, ...] = ()
    joined: Mapping[str, tuple[Path, ...]] = field(default_factory=dict)
    freezers: Mapping[str, Path] = field(default_factory=dict)
    quotas: Mapping[str, Path] = field(default_factory=dict)  # of the nodes whose CPU time is or may be limited
    machines: tuple[Path, ...] = ()  # below each, a kubelet makes the cgroups of its pods

    @classmethod
    def plan(
        cls, lab: str, limits: Mapping[str, float | None], places: Parents, machines: Collection[str] = ()
    ) -> Groups:
        """Decide which cgroups a lab has; `limits` maps its nodes to cores, inf: none yet, but a fault may set one.

        `machines` are those of its nodes that run containers. Their own servers are one level deeper: where a kubelet
        makes cgroups, cgroup2 allows no process (cgroup-v2.rst, "No Internal Process Constraint").
        """
        freeze = places.freeze / f"chaosgate-{lab}" if places.freeze else None
        cpu = places.cpu_v1 / f"chaosgate-{lab}" if places.cpu_v1 else None
        joined = {
            node: tuple(
                top / node / SERVERS if node in machines else top / node
                for top in (freeze, cpu if limit is not None and not places.cpu_v2 else None)
                if top
            )
            for node, limit in limits.items()
        }
        trees = tuple(parent / f"chaosgate-{lab}" / node for node in machines for parent in places.machines)
        tops = {top for top in (freeze, cpu) if top and any(top in f.parents for fs in joined.values() for f in fs)}
        tops |= {tree.parent for tree in trees}
        freezers = {node: freeze / node / "cgroup.freeze" for node in limits} if freeze else {}
        top, name = (freeze, "cpu.max") if places.cpu_v2 else (cpu, "cpu.cfs_quota_us")
        quotas = {node: top / node / name for node, limit in limits.items() if limit is not None} if top else {}
        return cls(tops=tuple(sorted(tops)), joined=joined, freezers=freezers, quotas=quotas, machines=trees)

    def make(self, limits: Mapping[str, float | None]) -> None:
        """Make them, and set the limits; OSError if the kernel refuses."""
        for tree in self.machines:
            _make_tree(tree)
        for node, folders in self.joined.items():
            for folder in folders:
                folder.mkdir(parents=True, exist_ok=True)
                if (limit := limits[node]) is not None:
                    _limit_cpu(folder, limit)


def _make_tree(tree: Path) -> None:
    """Make a machine's cgroup, in which containers can have every limit that the hierarchy knows."""
    for folder in (tree.parent, tree):
        folder.mkdir(exist_ok=True)
        if (folder / "cgroup.controllers").exists():  # cgroup2 hands controllers down level by level
            for controller in (folder / "cgroup.controllers").read_text(encoding="ascii").split():
                (folder / "cgroup.subtree_control").write_text(f"+{controller}", encoding="ascii")
        for name in ("cpuset.cpus", "cpuset.mems"):  # of cgroup v1: empty in a new one, and then nothing may run in it
            if (folder / name).exists() and not (folder / "cgroup.controllers").exists():
                (folder / name).write_text((folder.parent / name).read_text(encoding="ascii"), encoding="ascii")


def _limit_cpu(folder: Path, cores: float) -> None:
    """Set the limit of a node; `inf`: see to it that there could be one."""
    quota_us = None if math.isinf(cores) else round(cores * _PERIOD_US)
    if (folder / "cpu.cfs_quota_us").exists():
        (folder / "cpu.cfs_period_us").write_text(str(_PERIOD_US), encoding="ascii")
        (folder / "cpu.cfs_quota_us").write_text(str(quota_us or -1), encoding="ascii")
    elif _hands_down_cpu(folder.parent.parent):
        (folder.parent / "cgroup.subtree_control").write_text("+cpu", encoding="ascii")
        (folder / "cpu.max").write_text(f"{quota_us or 'max'} {_PERIOD_US}", encoding="ascii")


def tops(places: Parents) -> list[Path]:
    """Return the cgroups of all labs, living and dead, that are where we could have made them."""
    parents = {place for place in (places.freeze, places.cpu_v1, *places.machines) if place is not None}
    return sorted(top for place in parents for top in place.glob("chaosgate-cg*"))


def populated(top: Path) -> bool:
    """Tell whether a process is in a cgroup or in one below it."""
    for folder, _, _ in os.walk(top):
        with contextlib.suppress(OSError):  # gone meanwhile, and so empty
            if Path(folder, "cgroup.procs").read_text(encoding="ascii").strip():
                return True
    return False


def remove(tops: Iterable[Path]) -> tuple[Path, ...]:
    """Remove these cgroups and those below; return those that were there and went.

    Waits a moment for dying processes; OSError names a cgroup that would not go.
    """
    gone = tuple(top for top in tops if top.exists())
    deadline = time.monotonic() + _EMPTY_S
    for top in gone:
        while not _removed(top):
            if time.monotonic() > deadline:
                raise OSError(f"{top} can't be removed; are processes left in its cgroup.procs?")
            time.sleep(0.01)
    return gone


def _removed(top: Path) -> bool:
    for folder, _, _ in os.walk(top, topdown=False):
        with contextlib.suppress(OSError):  # still populated, or just gone: the caller looks again
            os.rmdir(folder)  # noqa: PTH106 - os.walk gives names
    return not top.exists()
