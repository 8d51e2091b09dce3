"""Waits beside an agent that may die, and undoes what it left: `python -m chaos.agent standby FOLDER`.

    owned by a living agent ─▶ wait │ by nobody, with records ─▶ replay      SIGTERM ─▶ end the agent, replay, end

What a container does while no controller is there. One that is started anew, for whatever reason, begins with the
replay of what its predecessor's agent had in force.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from chaos.agent import journal, replay
from chaos.agent.trust import believe

if TYPE_CHECKING:
    from pathlib import Path

LOOK_S = 0.5
DISMISSED_S = 20.0  # of the grace that the container has


def stand_by(folder: Path) -> int:
    """Replay whenever there is something to undo that nobody living owns; return 0 when told to end."""
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    while not ended.wait(LOOK_S):
        look(folder)
    dismiss(folder)
    look(folder)
    return 0


def dismiss(folder: Path, within_s: float = DISMISSED_S) -> None:
    """Tell the agent to undo everything and end, and wait until it has; it would be killed with our container."""
    if not journal.is_owned(folder):
        return
    if (pid := journal.owner(folder)) > 1:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    journal.await_free(folder, within_s)


def look(folder: Path) -> list[str]:
    """Replay once if it is called for; return the names of what was undone."""
    try:
        if not journal.read(folder) or journal.is_owned(folder):
            return []
        believe(folder)
        names = replay.heal(folder)
    except Exception as error:  # noqa: BLE001 - our end would be the agent's; and an undo is tried again, and again
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        sys.stderr.flush()
        return []
    for name in names:
        sys.stdout.write(f"{name} undone: its agent had died\n")
    sys.stdout.flush()
    return names
