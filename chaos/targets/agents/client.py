"""The controller's side of the agent: requests as futures, a heartbeat, and no silence when it dies.

    any thread ── ask ──▶ jsonlines.Questions ──▶ agent        events ──▶ `on_event`
                            ▲ beat, each third of the lease

The end of the agent answers every waiting future with an error and is itself an event: {"event": "gone"}.
"""

from __future__ import annotations

import os
import signal
import threading
from typing import TYPE_CHECKING, Any

from chaos.agent.points import effect
from chaos.jsonlines import Questions, answered

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from concurrent.futures import Future

    from chaos.jsonlines import Channel, Said

UNANSWERED_MAX = 6  # beats, a third of a lease each: by then its own dead-man has undone everything
END_S = 10.0  # for undoing everything and ending
BYE_S = 1.0  # for saying so: one that hears no more may have its pipe full


class AgentClient:
    """A running agent; `on_event` is called from the reader's thread."""

    def __init__(
        self, channel: Channel, *, lease_s: float, on_event: Callable[[Said], None], name: str = "agent"
    ) -> None:
        self._on_event = on_event
        self._beat_s = lease_s / 3
        self._leaving = False  # we have said bye to a living agent: its end is no news
        self._questions = Questions(channel, name=name, heard=self._heard, ended=self._end)

    @property
    def alive(self) -> bool:
        """Tell whether it can still answer."""
        return not self._questions.over.is_set()

    def hello(self, request: Mapping[str, Any], timeout_s: float) -> Said:
        """Introduce ourselves and begin to beat; AgentError if it can't serve."""
        answer = self.ask("hello", timeout_s, **request)
        threading.Thread(target=self._beat, name="agent-beat", daemon=True).start()
        return answer

    def ask(self, op: str, timeout_s: float, **arguments: Any) -> Said:
        """Ask and wait; AgentError if refused, late or gone."""
        return self.wait(op, self.send(op, **arguments), timeout_s)

    def send(self, op: str, **arguments: Any) -> Future[Said]:
        """Ask without waiting."""
        return self._questions.send({"op": op, **arguments})

    def wait(self, op: str, future: Future[Said], timeout_s: float) -> Said:
        """Return the answer; AgentError if refused, late or gone."""
        return answered(f"agent: {op}", future, timeout_s)

    def close(self) -> None:
        """Let it undo everything and end; SIGKILL if it does not. Idempotent."""
        if self.alive:
            self._leaving = True
            leaving = threading.Thread(target=self._say_bye, name="agent-bye", daemon=True)
            leaving.start()
            leaving.join(BYE_S)
        self._questions.end(END_S)

    def _say_bye(self) -> None:
        effect("agent.bye", lambda: self.send("bye"))

    def _heard(self, event: Said) -> None:
        if event["event"] == "stop-at":
            os.kill(os.getpid(), signal.SIGKILL)
        self._on_event(event)

    def _end(self, why: str) -> None:
        if not self._leaving:
            self._on_event({"event": "gone", "why": f"{why}; a new one replays its journal at the next heal"})

    def _beat(self) -> None:
        """Beat at once: the lease began before the shaper was up. Whoever leaves beats unanswered is taken for gone."""
        unanswered: list[Future[Said]] = []
        while True:
            unanswered = [*(one for one in unanswered if not one.done()), self.send("beat")]
            if len(unanswered) > UNANSWERED_MAX:
                self._questions.end(0.0)
            if self._questions.over.wait(self._beat_s):
                return
