"""What this machine can do, and what would enable the rest. Each line was tried, not looked up by version.

ok  shaper tap
no  cpu limit per node       no cgroup cpu controller that we may write
…
ready: freeze, kill, … and shape can be gated here; not here: stack settings with cpu
"""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from chaos.errors import UsageError
from chaos.places import real_uid

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

REQUIRED_DISK_BYTES = 2 << 30
SBIN = ":/usr/sbin:/sbin"

CPU, FUSE, CLOCK = "cpu limit per node", "FUSE", "libfaketime"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One ability: there (`why_not` empty) or not, what it is for and what would enable it."""

    ability: str
    why_not: str = ""
    detail: str = ""
    used_for: str = ""
    enable: str = ""
    required: bool = False

    @property
    def ok(self) -> bool:
        """Whether the ability is there."""
        return not self.why_not


def examine() -> Sequence[Finding]:
    """Try everything; takes about a second."""
    return (
        _root(),
        _namespaces(),
        *(_program(*row) for row in PROGRAMS),
        *_shaper_backends(),
        _real_time(),
        _cgroup_freeze(),
        _cpu_limit(),
        _disk(),
        _fuse(),
        _clocks(),
        *_etcd(),
        _java(),
        _kafka(),
        _flink(),
    )


PROGRAMS = (
    ("ip", "iproute2", "the embedded lab's links", True),
    ("nft", "nftables", "partitions, and the proof that no rule is left", True),
    ("iptables", "iptables", "the NFQUEUE shaper", False),
    ("unshare", "util-linux", "running as an ordinary user", True),
    ("tc", "iproute2", "the netem shaper, and the proof that no qdisc is left", True),
    ("mvn", "maven", "fetching Kafka's and Flink's jars, once", False),
)


def _root() -> Finding:
    return Finding(
        ability="root",
        detail="uid 0",
        why_not=_why_not_root(os.geteuid(), real_uid(), Path("/proc/self/uid_map").read_text(encoding="ascii")),
        used_for="the tap shaper (tcx), cpu limits, cgroup freeze; a user namespace has the rest, at low rates",
        enable="sudo chaosgate …",
    )


def _why_not_root(uid: int, outside: int, uid_map: str) -> str:
    """Return "" for the machine's root: uid 0 where every uid is itself (user_namespaces(7))."""
    if uid != 0:
        return f"uid {uid}"
    if uid_map.split() == ["0", "0", "4294967295"]:
        return ""
    return f"uid {outside}, here the root of a user namespace, as a run is" if outside else "root of a user namespace"


def _namespaces() -> Finding:
    flags = ["--mount", "--pid", "--net", "--uts", "--ipc", "--fork"]
    flags = flags if os.geteuid() == 0 else ["--user", "--map-root-user", *flags]
    why_not = _try(["unshare", *flags, "true"])
    return Finding(
        ability="namespaces",
        why_not=why_not,
        used_for="the embedded lab",
        enable="root, or kernel.unprivileged_userns_clone=1 and user.max_user_namespaces > 0",
        required=True,
    )


def _program(name: str, package: str, used_for: str, required: bool) -> Finding:
    path = shutil.which(name, path=os.environ.get("PATH", "") + SBIN)
    return Finding(
        ability=f"program {name}",
        detail=path or "",
        why_not="" if path else "not found on PATH",
        used_for=used_for,
        enable=f"apt-get install {package}",
        required=required,
    )


def _shaper_backends() -> Sequence[Finding]:
    from chaos.agent.shaper import probe  # noqa: PLC0415  # trying them costs a second

    enable = {
        "netem": "a kernel with sch_netem (modprobe sch_netem)",
        "tap": "kernel 6.6 or newer, /dev/net/tun, and CAP_BPF in the initial user namespace",
        "nfqueue": "a kernel with nfnetlink_queue, and iptables",
    }
    return tuple(
        Finding(
            ability=f"shaper {name}",
            why_not=why,
            used_for="latency, loss and every other packet fault (the first usable one is taken)",
            enable=enable.get(name, ""),
        )
        for name, why in probe().items()
    )


def _real_time() -> Finding:
    try:
        policy = os.sched_getscheduler(0)
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
        os.sched_setscheduler(0, policy, os.sched_param(0))
        why_not = ""
    except PermissionError as error:
        why_not = str(error)
    return Finding(
        ability="real-time priority",
        why_not=why_not,
        used_for="delays that stay exact under load",
        enable="CAP_SYS_NICE in the initial user namespace, outside a cgroup v1 cpu child",
    )


def _cgroup_freeze() -> Finding:
    mounts = [
        line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines() if " - cgroup2 " in line
    ]
    usable = [mount for mount in mounts if os.access(mount, os.W_OK)]
    return Finding(
        ability="cgroup v2 freezer",
        detail=usable[0] if usable else "",
        why_not="" if usable else "no writable cgroup2 mount",
        used_for="freeze (else SIGSTOP to the whole node)",
        enable="root, and cgroup2 mounted",
    )


def _cpu_limit() -> Finding:
    v1 = [
        line.split()[4]
        for line in Path("/proc/self/mountinfo").read_text().splitlines()
        if " - cgroup cgroup" in line and "cpu" in line.rsplit(None, 1)[1].split(",")
    ]
    v2 = Path("/sys/fs/cgroup/cgroup.controllers")
    there = bool([m for m in v1 if os.access(m, os.W_OK)]) or (v2.exists() and "cpu" in v2.read_text().split())
    return Finding(
        ability=CPU,
        why_not="" if there else "no cgroup cpu controller that we may write",
        used_for="the fault cpu, and stack settings with cpu",
        enable="root, and a cgroup cpu controller",
    )


def _fuse() -> Finding:
    from chaos.targets.netns.disks import why_not  # noqa: PLC0415

    what, _, would_do = why_not().partition("; ")
    return Finding(
        ability=FUSE, why_not=what, used_for="the fault disk, and power with unsynced: lost", enable=would_do
    )


def _clocks() -> Finding:
    from chaos.targets.netns.clocks import why_not  # noqa: PLC0415

    what, _, would_do = why_not().partition("; ")
    return Finding(ability=CLOCK, why_not=what, used_for="the fault clock", enable=would_do)


def _disk() -> Finding:
    free = shutil.disk_usage(Path.cwd()).free
    return Finding(
        ability="free disk",
        detail=f"{free / (1 << 30):.1f} GiB",
        why_not="" if free > REQUIRED_DISK_BYTES else f"only {free / (1 << 30):.1f} GiB here",
        used_for="recordings",
        enable="chaosgate runs prune",
    )


def _etcd() -> Sequence[Finding]:
    from chaos.stacks.etcd.versions import installed  # noqa: PLC0415

    found = installed()
    return (
        Finding(
            ability="etcd",
            detail=", ".join(found),
            why_not="" if found else "no version in the cache",
            used_for="the etcd experiments",
            enable="python -m chaos.stacks.etcd.versions",
        ),
    )


def _java() -> Finding:
    from chaos.stacks import java  # noqa: PLC0415

    try:
        path, why_not = java.java(), ""
    except UsageError as error:
        path, why_not = "", str(error)
    return Finding(
        ability=f"Java {java.OLDEST}",
        detail=path,
        why_not=why_not,
        used_for="the Kafka and Flink experiments",
        enable=f"apt-get install default-jre-headless, or JAVA_HOME of a Java {java.OLDEST} or newer",
    )


def _kafka() -> Finding:
    from chaos.stacks.kafka.versions import installed  # noqa: PLC0415

    found = installed()
    return Finding(
        ability="kafka",
        detail=", ".join(found),
        why_not="" if found else "no version in the cache",
        used_for="the Kafka experiments",
        enable="python -m chaos.stacks.kafka.versions",
    )


def _flink() -> Finding:
    from chaos.stacks.flink.versions import installed  # noqa: PLC0415

    found = installed()
    return Finding(
        ability="flink",
        detail=", ".join(found),
        why_not="" if found else "no version in the cache",
        used_for="the Flink experiments",
        enable="python -m chaos.stacks.flink.versions",
    )


def _try(argv: Sequence[str]) -> str:
    """Return "" if the command succeeds, else what it said."""
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return "" if done.returncode == 0 else (done.stderr.strip() or f"exit {done.returncode}")


def report(findings: Sequence[Finding], say: Callable[[str], None]) -> bool:
    """Print the findings and the conclusion; return whether everything that is required is there."""
    for finding in findings:
        mark = "ok " if finding.ok else "NO " if finding.required else "no "
        say(f"{mark} {finding.ability:<24} {finding.detail if finding.ok else finding.why_not}")
        if not finding.ok:
            say(f"      for: {finding.used_for}")
            say(f"      what would enable it: {finding.enable}")
    say(conclusion(findings))
    return all(f.ok for f in findings if f.required)


# ---------------------------------------------------------------- the last line

WITHOUT = {  # ability → what can't be gated without it; the shapers are several, of which one will do
    CPU: "stack settings with cpu",
    "Java 17": "Kafka and Flink",
}
WEAKER = {  # ability → what is less sure without it
    "real-time priority": "without real-time priority tight delays may end inconclusive",
    "etcd": "etcd has to be fetched or built by the first run",
    "kafka": "Kafka's jars have to be fetched by the first run that needs them",
    "flink": "Flink's jars have to be fetched by the first run that needs them",
    "free disk": "the disk is nearly full, and a full one ends a run",
}


def conclusion(findings: Sequence[Finding]) -> str:
    """Return "ready: …" with what can be gated here and what not, or "not ready: …" with what is missing."""
    if missing := [finding for finding in findings if finding.required and not finding.ok]:
        return f"not ready: nothing can be gated here without {listed(f.ability for f in missing)}, see above"
    lacking = {finding.ability for finding in findings if not finding.ok}
    shapers = [finding for finding in findings if finding.ability.startswith("shaper ")]
    shaped = any(finding.ok for finding in shapers)
    had = {what: ability not in lacking for what, ability in {"cpu": CPU, "disk": FUSE, "clock": CLOCK}.items()}
    can, cannot = faults({"packets": shaped, **had})
    cannot += [what for ability, what in WITHOUT.items() if ability in lacking]
    parts = [f"ready: {listed(can)} can be gated here"]
    parts += [f"not here: {listed(cannot)}"] if cannot else []
    parts += [text for ability, text in WEAKER.items() if ability in lacking]
    return "; ".join(parts)


def faults(had: Mapping[str, bool]) -> tuple[list[str], list[str]]:
    """Return which faults can be had and which can't; `had` says it of those that touch nothing of processes."""
    from chaos.faults import FAULTS  # noqa: PLC0415  # strangers' faults are loaded with it

    found: dict[bool, list[str]] = {True: [], False: []}
    for name, fault in FAULTS.items():
        touches = getattr(fault, "touches", {"processes"})
        means = next((what for what in ("cpu", "disk", "clock") if what in touches), "packets")
        found["processes" in touches or had[means]].append(name)
    return found[True], found[False]


def listed(words: Iterable[str]) -> str:
    """Return "a, b and c"."""
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last
