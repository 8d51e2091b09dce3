"""What the kernel can't let expire by itself, this process takes back: `python -m chaos.agent.shaper.keeper FD`.

    agent ── undo, before each effect ──▶ keeper          agent dies ─▶ its socket ends ─▶ every undo, newest first

FD is a SOCK_SEQPACKET. Each message is one undo: {"netns": descriptor, "argv": [...], "text": stdin, "unless": [...]},
answered when it is kept; `unless` is a listing command, and the undo is left out if it still shows a chain (somebody
else's). A qdisc, an iptables chain or an nft table outlives the process that made it; a keeper does not die
with the agent, has a session of its own, and ends only after its work. An undo that finds nothing is content. After a
death everything is undone once more a moment later: a command that the agent had just started may still have been
under way. {"orderly": true} says that the coming end is none.
"""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import sys
import time
from typing import TYPE_CHECKING, Any

from chaos.agent.shaper.child import MESSAGE_MAX, Child
from chaos.agent.shaper.kernel import run
from chaos.agent.shaper.values import ShaperError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

UNDO_TIMEOUT_S = 60.0  # some ten commands a node
STRAGGLER_S = 0.3  # tc, nft and iptables-restore take 5 to 90 ms here
ANY_EXIT = range(256)  # nothing left to undo is no failure


class Keeper:
    """The agent's side: keep first, then act."""

    def __init__(self, descriptors: Iterable[int]) -> None:
        self._child = Child("chaos.agent.shaper.keeper", descriptors)
        self._kept: set[tuple[int, tuple[str, ...], str]] = set()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._child.pid

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._child.alive

    def keep(self, netns: int, argv: Sequence[str], text: str = "", unless: Sequence[str] = ()) -> None:
        """Have a command run in a namespace when this process ends; once, however often it is asked for."""
        undo = (netns, tuple(argv), text)
        if undo not in self._kept:
            self._child.ask({"netns": netns, "argv": list(argv), "text": text, "unless": list(unless)})
            self._kept.add(undo)

    def close(self) -> None:
        """Have everything undone now, and wait for it; ShaperError if that does not come to an end. Idempotent."""
        with contextlib.suppress(ShaperError):  # closed before, or dead: then there is nobody to tell
            self._child.ask({"orderly": True})
        if not self._child.end(UNDO_TIMEOUT_S):
            raise ShaperError(
                f"keeper: {len(self._kept)} undos not done within {UNDO_TIMEOUT_S:g} s; qdisc c4a0:, iptables chain "
                "CHAOSGATE and nft table inet chaosgate may be left in the nodes' namespaces"
            )


def serve(control: socket.socket) -> None:
    """Collect undos until the other side is gone, then carry them out."""
    kept: list[dict[str, Any]] = []
    orderly = False
    while message := control.recv(MESSAGE_MAX):
        asked = json.loads(message)
        orderly = "orderly" in asked
        if not orderly:
            kept.append(asked)
        control.send(b"{}")
    undo_all(kept)
    if not orderly:
        time.sleep(STRAGGLER_S)
        undo_all(kept)


def undo_all(kept: Sequence[dict[str, Any]]) -> None:
    """Carry out every undo, newest first; one that fails does not stop the next."""
    for undo in reversed(kept):
        try:
            _carry_out(**undo)
        except (OSError, ShaperError) as error:
            with contextlib.suppress(OSError):  # whoever read our complaints may be dead
                sys.stderr.write(f"keeper: {error}\n")
                sys.stderr.flush()


def _carry_out(netns: int, argv: Sequence[str], text: str, unless: Sequence[str]) -> None:
    if unless and "chain" in run(netns, unless, accept=ANY_EXIT):
        return
    run(netns, argv, text, accept=ANY_EXIT)


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # its end is the end of its socket
    serve(socket.socket(fileno=int(sys.argv[1])))
