#!/usr/bin/env python3
"""Runs a command under another kernel: Debian's, in QEMU without KVM, with this machine's files.

    vm.py set-up                     apt-get download ─▶ ~/.cache/chaosgate/vm: vmlinux + some 60 modules
    vm.py run -- ARGV…               initrd (busybox + modules) ─▶ boot ─▶ / over 9p, read-only, below a tmpfs overlay
                                     ─▶ ARGV in this folder ─▶ output and exit status come back by a second 9p share

The guest's writes end in its memory; only the share's temporary folder is written on the host. Needs root nowhere.
Debian packages: qemu-system-x86, busybox-static, zstd. Boots in 3 to 5 s; code runs about ten times slower than here.
q35 and not microvm: the latter hangs at TSC calibration when the host is loaded.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import gzip
import lzma
import os
import re
import shlex
import shutil
import struct
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

BOOT_MODULES = ("virtio", "virtio_ring", "virtio_pci", "9pnet", "9pnet_virtio", "9p", "overlay")
NET_MODULES = (  # noqa: SIM905  one text reads like lsmod
    "crc32c_generic libcrc32c veth bridge tun dummy ifb af_packet sch_netem sch_htb sch_tbf sch_prio sch_ingress "
    "cls_u32 cls_flower cls_matchall cls_bpf act_mirred act_gact nf_tables nft_compat nfnetlink_queue x_tables "
    "ip_tables iptable_mangle iptable_filter xt_NFQUEUE nf_conntrack"
).split()
PREFERRED = r"linux-image-6\.12\.[0-9]+\+deb[0-9]+-amd64"  # has netem, tcx links and NFQUEUE
FALLBACK = "linux-image-amd64"
MEMORY_MB = 1024
BUSYBOX = Path("/bin/busybox")
BUSYBOX_ELSEWHERE = Path("/usr/bin/busybox")

INIT = r"""#!/bin/busybox sh
B=/bin/busybox
$B mount -t proc p /proc; $B mount -t sysfs s /sys; $B mount -t devtmpfs d /dev
for m in $($B cat /modules/boot); do $B insmod /modules/$m.ko; done
$B mkdir -p /lower /rw /new
$B mount -t 9p -o ro,trans=virtio,version=9p2000.L,cache=loose,msize=262144 rootshare /lower || $B poweroff -f
$B mount -t tmpfs t /rw; $B mkdir /rw/u /rw/w
$B mount -t overlay -o lowerdir=/lower,upperdir=/rw/u,workdir=/rw/w o /new
$B mount -t proc p /new/proc; $B mount -t sysfs s /new/sys; $B mount --bind /dev /new/dev
$B mkdir -p /new/dev/pts /new/dev/shm; $B mount -t devpts d /new/dev/pts; $B mount -t tmpfs t /new/dev/shm
$B mount -t tmpfs t /new/run; $B mount -t cgroup2 c /new/sys/fs/cgroup 2>/dev/null
$B mkdir -p /new/hostio; $B mount -t 9p -o trans=virtio,version=9p2000.L,msize=262144 hostio /new/hostio
for m in $($B cat /modules/net); do $B insmod /modules/$m.ko 2>>/new/hostio/insmod.err; done
$B ip link set lo up
$B chroot /new /bin/sh /hostio/run.sh > /new/hostio/out 2>&1 < /dev/null
echo $? > /new/hostio/status
$B sync; $B poweroff -f
"""


class VmError(Exception):
    """The machine can't be made or did not come up; the message says what would do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Guest:
    """What a guest boots: an unpacked kernel, and modules in the order in which they are inserted."""

    folder: Path

    @property
    def kernel(self) -> Path:
        return self.folder / "vmlinux"

    @property
    def release(self) -> str:
        return (self.folder / "release").read_text().strip()


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a command in the guest printed, and its exit status."""

    status: int
    output: str


def cache() -> Path:
    """Return the folder that holds the guest."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "chaosgate" / "vm"


def missing_programs() -> str:
    """Return which Debian packages are missing, or ""."""
    wanted = {"qemu-system-x86_64": "qemu-system-x86", "busybox": "busybox-static", "zstd": "zstd"}
    missing = [package for program, package in wanted.items() if not shutil.which(program)]
    return f"apt-get install {' '.join(missing)}" if missing else ""


# ---------------------------------------------------------------- set-up


def set_up() -> Guest:
    """Return the guest, fetched and unpacked if it is not there yet; VmError."""
    folder = cache()
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        guest = Guest(folder=folder / "guest")
        if not guest.folder.exists():
            with tempfile.TemporaryDirectory(dir=folder) as scratch:
                made = _unpack(_download(Path(scratch)), Path(scratch))
                made.rename(guest.folder)
    return guest


def _download(scratch: Path) -> Path:
    package = _package()
    done = subprocess.run(
        ["apt-get", "-o", "APT::Sandbox::User=root", "download", package],
        cwd=scratch,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise VmError(f"apt-get download {package}: {done.stderr.strip()}; try apt-get update")
    return next(scratch.glob("*.deb"))


def _package() -> str:
    names = subprocess.run(["apt-cache", "pkgnames", "linux-image-6.12"], capture_output=True, text=True, check=True)
    fitting = [name for name in names.stdout.split() if re.fullmatch(PREFERRED, name)]
    if fitting:
        return max(fitting, key=lambda name: [int(number) for number in re.findall(r"[0-9]+", name)])
    depends = subprocess.run(["apt-cache", "depends", FALLBACK], capture_output=True, text=True, check=True).stdout
    found = re.search(r"Depends: (linux-image-\S+)", depends)
    if not found:
        raise VmError(f"no package {FALLBACK}: is this Debian with its package lists? try apt-get update")
    return found.group(1)


def _unpack(package: Path, scratch: Path) -> Path:
    """Keep of a kernel package (463 MB) what a guest needs (about 60 MB)."""
    whole, kept = scratch / "whole", scratch / "kept"
    subprocess.run(["dpkg", "-x", package, whole], check=True)
    (kept / "modules").mkdir(parents=True)
    (kept / "vmlinux").write_bytes(vmlinux(next((whole / "boot").glob("vmlinuz-*")).read_bytes()))
    modules = next(base for base in (whole / "lib/modules", whole / "usr/lib/modules") if base.exists())
    release = next(modules.iterdir())
    (kept / "release").write_text(release.name)
    order = ModuleOrder(release)
    for stage, names in (("boot", BOOT_MODULES), ("net", NET_MODULES)):
        added = [added for name in names for added in order.add(name)]
        (kept / "modules" / stage).write_text("\n".join(added) + "\n")
        for name in added:
            (kept / "modules" / f"{name}.ko").write_bytes(order.content[name])
    return kept


class ModuleOrder:
    """Modules after those that they depend on, as each says itself (`depends=`), without depmod."""

    def __init__(self, release: Path) -> None:
        files = [path for path in release.rglob("*.ko*") if path.name.endswith((".ko", ".ko.xz"))]
        self._files = {path.name.split(".ko")[0].replace("-", "_"): path for path in files}
        self.content: dict[str, bytes] = {}

    def add(self, name: str) -> Iterator[str]:
        """Yield a module and what it needs, those first; nothing that was yielded before or is built in."""
        name = name.replace("-", "_")
        if name in self.content or name not in self._files:
            return
        data = self._files[name].read_bytes()
        self.content[name] = lzma.decompress(data) if self._files[name].suffix == ".xz" else data
        found = re.search(rb"\0depends=([^\0]*)\0", self.content[name])
        for needed in found.group(1).decode().split(",") if found else ():
            yield from self.add(needed)
        yield name


def vmlinux(bzimage: bytes) -> bytes:
    """Return the kernel inside a bzImage (Documentation/arch/x86/boot.rst), so that no guest unpacks it under TCG."""
    sectors = bzimage[0x1F1] or 4
    offset, length = struct.unpack_from("<II", bzimage, 0x248)
    payload = bzimage[(sectors + 1) * 512 + offset :][:length]
    if payload.startswith(b"\xfd7zXZ\0"):
        return lzma.LZMADecompressor(format=lzma.FORMAT_XZ).decompress(payload)
    if payload.startswith(b"\x1f\x8b"):
        return gzip.decompress(payload)
    if payload.startswith(b"\x28\xb5\x2f\xfd"):
        return subprocess.run(["zstd", "-dcq"], input=payload[:-4], stdout=subprocess.PIPE, check=False).stdout
    raise VmError(f"the kernel is compressed in an unknown way: {payload[:6]!r}")


# ---------------------------------------------------------------- run


def run(guest: Guest, argv: list[str], *, timeout_s: float, folder: Path, processors: int = 2) -> Result:
    """Boot, run `argv` in `folder`, power off; VmError if the guest did not finish in time.

    A boot that ends before the command began is tried once more (seen once in some thirty, on a loaded host).
    """
    with tempfile.TemporaryDirectory(prefix="chaosgate-vm-") as name:
        scratch = Path(name)
        share = scratch / "io"
        share.mkdir()
        (share / "run.sh").write_text(_script(argv, folder))
        (scratch / "initrd").write_bytes(initrd(guest))
        command = _qemu(guest, scratch, share, processors)
        _boot(command, timeout_s)
        if not (share / "out").exists():
            _boot(command, timeout_s)
        return _result(scratch, share, timeout_s)


def _result(scratch: Path, share: Path, timeout_s: float) -> Result:
    output = (share / "out").read_text(errors="replace") if (share / "out").exists() else ""
    if not (share / "status").exists():
        console = (scratch / "console").read_text(errors="replace")[-2000:]
        raise VmError(f"the guest did not finish within {timeout_s:g} s; its output:\n{output[-2000:]}\n{console}")
    return Result(status=int((share / "status").read_text()), output=output)


def _boot(command: list[str], timeout_s: float) -> None:
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as process:
        try:
            _, said = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            return
        finally:
            process.kill()
    if process.returncode:
        raise VmError(f"{command[0]} ended with {process.returncode}: {said.decode()[-500:]}")


def _script(argv: list[str], folder: Path) -> str:
    path = shlex.quote(os.environ["PATH"])
    command = " ".join(map(shlex.quote, argv))
    return f"export PATH={path} HOME=/root CHAOSGATE_IN_VM=1\ncd {shlex.quote(str(folder))}\nexec {command}\n"


def initrd(guest: Guest) -> bytes:
    """Return a cpio archive (newc) with busybox, the modules and our init."""
    busybox = next(path for path in (BUSYBOX, BUSYBOX_ELSEWHERE) if path.exists())
    entries = [(name, 0o40755, b"") for name in ("bin", "proc", "sys", "dev", "modules")]
    entries += [("bin/busybox", 0o100755, busybox.read_bytes()), ("init", 0o100755, INIT.encode())]
    entries += [(f"modules/{path.name}", 0o100644, path.read_bytes()) for path in (guest.folder / "modules").iterdir()]
    return b"".join(_cpio(entries))


def _cpio(entries: list[tuple[str, int, bytes]]) -> Iterator[bytes]:
    for number, (name, mode, data) in enumerate([*entries, ("TRAILER!!!", 0, b"")], 1):
        label = name.encode() + b"\0"
        header = (number, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(label), 0)
        head = b"070701" + b"".join(b"%08X" % value for value in header) + label
        yield head + bytes(-len(head) % 4) + data + bytes(-len(data) % 4)


def _qemu(guest: Guest, scratch: Path, share: Path, processors: int) -> list[str]:
    command = ["qemu-system-x86_64", "-M", "q35", "-accel", "tcg,thread=multi", "-cpu", "max", "-m", str(MEMORY_MB)]
    command += ["-smp", str(processors), "-no-reboot", "-display", "none", "-nodefaults"]
    command += ["-serial", f"file:{scratch / 'console'}"]
    command += ["-kernel", str(guest.kernel), "-initrd", str(scratch / "initrd")]
    command += [
        "-append",
        "console=ttyS0 quiet loglevel=4 panic=-1 mitigations=off tsc=reliable random.trust_cpu=on rdinit=/init",
    ]
    command += ["-fsdev", "local,id=r,path=/,security_model=none,readonly=on,multidevs=remap"]
    command += ["-device", "virtio-9p-pci,fsdev=r,mount_tag=rootshare"]
    command += ["-fsdev", f"local,id=h,path={share},security_model=none"]
    return [*command, "-device", "virtio-9p-pci,fsdev=h,mount_tag=hostio"]


def main() -> int:
    """Set up, or set up and run."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("set-up")
    running = verbs.add_parser("run")
    running.add_argument("--timeout", type=float, default=300.0, metavar="SECONDS")
    running.add_argument("command", nargs="+")
    asked = parser.parse_args()
    if missing := missing_programs():
        sys.stderr.write(f"vm.py: {missing}\n")
        return 125
    try:
        guest = set_up()
        if asked.verb == "set-up":
            sys.stdout.write(f"{guest.folder}: Linux {guest.release}\n")
            return 0
        result = run(guest, asked.command, timeout_s=asked.timeout, folder=Path.cwd())
    except VmError as error:
        sys.stderr.write(f"vm.py: {error}\n")
        return 125
    with contextlib.suppress(BrokenPipeError):
        sys.stdout.write(result.output)
    return result.status


if __name__ == "__main__":
    sys.exit(main())
