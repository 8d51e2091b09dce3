"""The few system calls that Python's standard library lacks: namespaces, timers, real-time priority, links.

Constants are those of Linux's uapi headers; each bears the name it has there.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import gc
import os
import socket
import struct
import subprocess
from typing import TYPE_CHECKING

from chaos.agent.shaper.values import ShaperError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

libc = ctypes.CDLL(None, use_errno=True)

CLONE_NEWNET = 0x40000000
PR_SET_TIMERSLACK = 29
MCL_CURRENT, MCL_FUTURE = 1, 2
TFD_NONBLOCK, TFD_CLOEXEC = 0o4000, 0o2000000
TFD_TIMER_ABSTIME = 1
SIOCSIFFLAGS, SIOCSIFMTU, SIOCSIFTXQLEN = 0x8914, 0x8922, 0x8943
IFF_UP, IFF_RUNNING = 0x1, 0x40
NS = 1_000_000_000
COMMAND_TIMEOUT_S = 10.0


def _checked(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


@contextlib.contextmanager
def entered(netns: int) -> Iterator[None]:
    """Put the calling thread into the network namespace of an open descriptor, and back; OSError."""
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _checked(libc.setns(netns, CLONE_NEWNET), "setns")
        try:
            yield
        finally:
            _checked(libc.setns(before, CLONE_NEWNET), "setns back")
    finally:
        os.close(before)


def same_namespace(one: int, other: int) -> bool:
    """Whether two descriptors mean the same namespace."""
    a, b = os.fstat(one), os.fstat(other)
    return (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino)


def run(netns: int, argv: Sequence[str], text: str = "", *, accept: Sequence[int] = (0,)) -> str:
    """Run a program of the machine inside a network namespace; ShaperError with its own words if it fails."""
    try:
        with entered(netns):
            done = subprocess.run(
                argv, input=text, capture_output=True, text=True, timeout=COMMAND_TIMEOUT_S, check=False
            )
    except FileNotFoundError as error:
        raise ShaperError(f"{argv[0]}: not found on PATH; install it on the node") from error
    except subprocess.TimeoutExpired as error:
        raise ShaperError(f"{' '.join(argv)}: no answer within {COMMAND_TIMEOUT_S:g} s") from error
    if done.returncode not in accept:
        raise ShaperError(f"{' '.join(argv)}: exit {done.returncode}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def be_punctual(priority: int) -> bool:
    """Ask for exact wake-ups; True if real-time priority was had.

    Without SCHED_FIFO a 50 ms delay under load is late by up to 185 ms instead of 0.13 ms (measured).
    Children start without it (SCHED_RESET_ON_FORK).
    """
    gc.disable()
    libc.prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0)
    libc.mlockall(MCL_CURRENT | MCL_FUTURE)  # refused without the privilege; then page faults cost microseconds
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(priority))
    except OSError:
        return False
    return True


class Timer:
    """An absolute CLOCK_MONOTONIC alarm with a descriptor; epoll's own timeout is rounded to milliseconds."""

    __slots__ = ("_armed_ns", "fd")

    def __init__(self) -> None:
        self.fd = _checked(libc.timerfd_create(1, TFD_NONBLOCK | TFD_CLOEXEC), "timerfd_create")
        self._armed_ns = 0

    def arm(self, at_ns: int) -> None:
        """Ring at `at_ns`; 0 disarms. Costs nothing if it is armed for that moment already."""
        if at_ns == self._armed_ns:
            return
        self._armed_ns = at_ns
        alarm = struct.pack("qqqq", 0, 0, *divmod(at_ns, NS))
        _checked(libc.timerfd_settime(self.fd, TFD_TIMER_ABSTIME, alarm, None), "timerfd_settime")

    def rang(self) -> None:
        """Take note of a ring, so that the next `arm` sets it again."""
        self._armed_ns = 0
        with contextlib.suppress(BlockingIOError):
            os.read(self.fd, 8)


def bring_up(ifname: str, *, mtu: int, queue_length: int) -> None:
    """Set a link of the current namespace up, with the given MTU in bytes and queue length in packets; OSError."""
    name = ifname.encode()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        fcntl.ioctl(sock, SIOCSIFTXQLEN, struct.pack("16si20x", name, queue_length))
        fcntl.ioctl(sock, SIOCSIFMTU, struct.pack("16si20x", name, mtu))
        with contextlib.suppress(OSError):  # a kernel without IPv6 has nothing to switch off
            _write(f"/proc/sys/net/ipv6/conf/{ifname}/disable_ipv6", "1")
        fcntl.ioctl(sock, SIOCSIFFLAGS, struct.pack("16sH14x", name, IFF_UP | IFF_RUNNING))


def _write(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)
