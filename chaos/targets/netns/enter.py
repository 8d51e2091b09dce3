"""Ways into a lab's namespaces: a thread for a while, or a new process for good.

with entered(fd): socket()       this thread's sockets belong to the node's network
main(FDS, argv)                  controller's child ──fork──▶ argv, inside; dies with either
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import sys
from typing import TYPE_CHECKING, NoReturn

from chaos.targets.netns import syscalls

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import FrameType

_PASSED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)


@contextlib.contextmanager
def entered(netns: int) -> Iterator[None]:
    """Hold the calling thread in the network namespace open as `netns`.

    A thread that has no power over the namespace it came from (the machine's own, seen from a user namespace) can't
    go back there: it leaves into a new, empty one instead. OSError if it can't enter.
    """
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        syscalls.setns(netns, syscalls.CLONE_NEWNET)
        try:
            yield
        finally:
            _leave(home)
    finally:
        os.close(home)


def _leave(home: int) -> None:
    try:
        syscalls.setns(home, syscalls.CLONE_NEWNET)
    except PermissionError:
        syscalls.unshare(syscalls.CLONE_NEWNET)


def main(words: Sequence[str]) -> NoReturn:
    """Run with `PID_NS MNT_NS NET_NS argv …`: three open descriptors, then the program."""
    spaces, argv = [int(word) for word in words[:3]], words[3:]
    try:
        _enter(spaces)
        child = syscalls.fork_tied()
    except OSError as error:
        sys.exit(f"can't enter the lab ({error}); is it still there?")
    if child == 0:
        _become(argv)
    _accompany(child)


def _enter(spaces: Sequence[int]) -> None:
    """Join the namespaces; a new mount namespace starts at its root, so find the folder again by its name."""
    here = os.getcwd()  # noqa: PTH109 - a name is what is wanted
    kinds = (syscalls.CLONE_NEWPID, syscalls.CLONE_NEWNS, syscalls.CLONE_NEWNET)
    for space, kind in zip(spaces, kinds, strict=True):
        syscalls.setns(space, kind)
        os.close(space)
    os.chdir(here)


def _become(argv: Sequence[str]) -> NoReturn:
    for ignored in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(ignored, signal.SIG_DFL)
    try:
        os.execvp(argv[0], list(argv))  # noqa: S606 - a shell would be in the way
    except OSError as error:
        os.write(2, f"can't start {argv[0]!r}: {error}\n".encode())
    os._exit(127)


def _accompany(child: int) -> NoReturn:
    """Pass signals on, and end as the child ends."""

    def pass_on(number: int, _frame: FrameType | None) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, number)

    for number in _PASSED_ON:
        signal.signal(number, pass_on)
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)  # or a reader of the child's output would wait for us
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code < 0:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if -code not in (signal.SIGKILL, signal.SIGSTOP):
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)
