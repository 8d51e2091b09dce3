"""The few Linux calls that Python 3.11 does not wrap: unshare(2), setns(2), mount(2), prctl(2).

Each raises OSError with the kernel's errno and the arguments, so that a refusal names itself.
Constants are those of <linux/sched.h>, <sys/mount.h> and <sys/prctl.h>.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal

CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_NOSUID = 0x2
MS_NODEV = 0x4
MS_NOEXEC = 0x8
MS_BIND = 0x1000
MS_REC = 0x4000
MS_SLAVE = 0x80000

_PR_SET_PDEATHSIG = 1

_libc = ctypes.CDLL(None, use_errno=True)


def _checked(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def unshare(flags: int) -> None:
    """Leave the namespaces named by CLONE_NEW* `flags` for new ones; NEWPID holds for later children only."""
    _checked(_libc.unshare(flags), f"unshare({flags:#x})")


def setns(fd: int, kind: int) -> None:
    """Move the calling *thread* into the namespace open as `fd`; `kind` is its CLONE_NEW* flag."""
    _checked(_libc.setns(fd, kind), f"setns({kind:#x})")


def mount(source: str, target: str, kind: str = "", flags: int = 0, data: str = "") -> None:
    """Mount a filesystem, or bind a folder; an empty `kind` or `data` is passed as NULL."""
    result = _libc.mount(
        source.encode(),
        target.encode(),
        kind.encode() or None,
        ctypes.c_ulong(flags),
        data.encode() or None,
    )
    _checked(result, f"mount {source} on {target}")


def die_with_parent() -> None:
    """Ask the kernel for SIGKILL when the *thread* that forked this process ends (PR_SET_PDEATHSIG(2const))."""
    _checked(_libc.prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL), 0, 0, 0), "prctl(PR_SET_PDEATHSIG)")


def fork_tied() -> int:
    """Fork a child that dies with this process, also when that is killed before the child could ask for it.

    The child looks for the parent's end of a pipe after asking: getppid(2) can't tell, it is 0 in a new PID namespace.
    """
    look, hold = os.pipe2(os.O_CLOEXEC)
    child = os.fork()
    if child:
        os.close(look)  # `hold` stays open for as long as we live
        return child
    os.close(hold)
    die_with_parent()
    orphaned, _, _ = select.select([look], [], [], 0)
    if orphaned:
        os._exit(1)
    os.close(look)
    return 0
