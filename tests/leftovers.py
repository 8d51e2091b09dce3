"""What a test could leave behind on this machine, and a look at all of it.

    before = snapshot()
    …                       a lab up and down, a controller killed
    assert_nothing_left(before)

Machines are shared: a process, and what hangs on it (namespaces, bpf links), counts only if it
carries the mark that this module puts into the environment, which every descendant inherits, orphans too. A lab's
cgroups count once a snapshot has seen the lab: take one while it stands.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import platform
import struct
import subprocess
import time
import uuid
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

MARK = f"CHAOSGATE_TEST_MARK={uuid.uuid4().hex}"
os.environ.update([MARK.split("=")])

_NAMESPACES = ("net", "pid", "mnt", "user", "uts", "ipc", "cgroup")
_BPF = {"x86_64": 321, "aarch64": 280}  # syscall numbers of bpf(2)
_LINK_GET_NEXT_ID = 31  # enum bpf_cmd
_WAIT_S = 3.0
_our_labs: set[str] = set()  # ids of labs that a snapshot found with us, or in a folder it was given


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Each field a set of names; what is new in a later one was left behind."""

    processes: frozenset[str]
    namespaces: frozenset[str]
    named_networks: frozenset[str]
    links: frozenset[str]
    qdiscs: frozenset[str]
    tables: frozenset[str]
    bpf_links: frozenset[str]
    cgroups: frozenset[str]
    mounts: frozenset[str]
    folders: frozenset[str]

    def since(self, before: Snapshot) -> dict[str, list[str]]:
        """Return what is here and was not there before, by field."""
        new = {f.name: sorted(getattr(self, f.name) - getattr(before, f.name)) for f in fields(self)}
        return {name: names for name, names in new.items() if names}


def snapshot(folders: Iterable[Path] = ()) -> Snapshot:
    """Look at everything; what is in `folders` counts (pass tempfile.gettempdir() where nobody else writes)."""
    ours, foreign = _processes()
    entries = [path for folder in folders for path in folder.iterdir()]
    _our_labs.update(path.name for path in entries)
    _our_labs.update(_labs_of(_held([os.getpid(), *ours])))
    return Snapshot(
        processes=frozenset(f"{pid} {_command(pid)}" for pid in ours),
        namespaces=frozenset(_namespaces(ours)),
        named_networks=frozenset(_names(Path("/run/netns"))),
        links=frozenset(_ip_json("ip", "-j", "link", key="ifname")),
        qdiscs=frozenset(_ip_json("tc", "-j", "qdisc")),
        tables=frozenset(_nft_tables()),
        bpf_links=frozenset(_bpf_links() - _bpf_links_of(_held(foreign))),
        cgroups=frozenset(_cgroups(_our_labs)),
        mounts=frozenset(line.split(" ", 2)[2] for line in _text(Path("/proc/self/mountinfo")).splitlines()),
        folders=frozenset(map(str, entries)),
    )


def assert_nothing_left(before: Snapshot, folders: Iterable[Path] = (), *, within_s: float = _WAIT_S) -> None:
    """Wait until nothing is new since `before`; AssertionError naming what is."""
    folders = tuple(folders)
    deadline = time.monotonic() + within_s
    while left := snapshot(folders).since(before):
        assert time.monotonic() < deadline, f"left behind after {within_s} s: {left}"
        time.sleep(0.02)


def await_true(what: str, check: Callable[[], object], *, within_s: float = 5.0) -> None:
    """Wait for a condition; AssertionError naming it when it does not come true."""
    deadline = time.monotonic() + within_s
    while not check():
        assert time.monotonic() < deadline, f"not within {within_s} s: {what}"
        time.sleep(0.005)


def _processes() -> tuple[list[int], list[int]]:
    """Return (ours, foreign); this process is neither."""
    ours: list[int] = []
    foreign: list[int] = []
    for pid in (int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()):
        if pid == os.getpid() or not _text(Path(f"/proc/{pid}/status")):
            continue
        mine = MARK in _text(Path(f"/proc/{pid}/environ")).split("\0")
        (ours if mine else foreign).append(pid)
    return ours, foreign


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:  # gone meanwhile, or somebody else's
        return ""


def _command(pid: int) -> str:
    return _text(Path(f"/proc/{pid}/cmdline")).replace("\0", " ").strip()[:200]


def _namespaces(pids: Iterable[int]) -> Iterator[str]:
    for pid in pids:
        for kind in _NAMESPACES:
            with contextlib.suppress(OSError):
                name = Path(f"/proc/{pid}/ns/{kind}").readlink()
                if name != Path(f"/proc/self/ns/{kind}").readlink():
                    yield str(name)


def _names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()] if folder.is_dir() else []


def _ip_json(*command: str, key: str = "") -> list[str]:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
        rows = json.loads(done.stdout or "[]")
    except (FileNotFoundError, ValueError):
        return []
    return [row[key] if key else json.dumps(row, sort_keys=True) for row in rows]


def _nft_tables() -> list[str]:
    try:
        command = ["nft", "-j", "list", "tables"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
        rows = json.loads(done.stdout or "{}").get("nftables", [])
    except (FileNotFoundError, ValueError):
        return []
    return [f"{row['table']['family']} {row['table']['name']}" for row in rows if "table" in row]


def _bpf_links() -> set[str]:
    """Return the ids of all bpf links of the machine (bpf(2), BPF_LINK_GET_NEXT_ID); empty without the power to ask."""
    libc = ctypes.CDLL(None, use_errno=True)
    found: set[str] = set()
    at = 0
    while platform.machine() in _BPF:
        attr = ctypes.create_string_buffer(struct.pack("=III", at, 0, 0) + bytes(116))
        if libc.syscall(_BPF[platform.machine()], _LINK_GET_NEXT_ID, attr, len(attr) - 1) != 0:
            break
        at = struct.unpack_from("=I", attr, 4)[0]
        found.add(str(at))
    return found


def _held(pids: Iterable[int]) -> Iterator[tuple[Path, str]]:
    """Yield (/proc/<pid>/fd/<n>, what it is) of every descriptor that these processes hold."""
    for pid in pids:
        with contextlib.suppress(OSError):  # gone meanwhile, or not ours to look at
            for fd in Path(f"/proc/{pid}/fd").iterdir():
                with contextlib.suppress(OSError):
                    yield fd, str(fd.readlink())


def _bpf_links_of(held: Iterable[tuple[Path, str]]) -> set[str]:
    infos = (_text(fd.parents[1] / "fdinfo" / fd.name) for fd, what in held if what == "anon_inode:bpf_link")
    return {line.split()[1] for info in infos for line in info.splitlines() if line.startswith("link_id:")}


def _labs_of(held: Iterable[tuple[Path, str]]) -> set[str]:
    """Return the ids of the labs whose owner's lock is held here."""
    return {Path(what).parent.name for _, what in held if what.endswith("/owner.lock")}


def _cgroups(labs: set[str]) -> list[str]:
    tops = (path for depth in ("", "*/") for path in Path("/sys/fs/cgroup").glob(f"{depth}chaosgate-*"))
    return [str(path) for path in tops if path.name.removeprefix("chaosgate-") in labs]
