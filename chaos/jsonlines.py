"""JSON lines with somebody who may die: sent from any thread, heard in one, and the end is never silent.

    any thread ── say ──▶ Channel ──▶ a child process's pipes, an exec stream, …
                heard ◀── reader ◀─── its lines
                ended ◀── once, when no more will come

`JsonLines` is that. `Questions` numbers what it says: {"id", …} ─▶ {"id", …} or {"id", "error"}, in any order; whoever
waits has a deadline, and the end of the other side answers everything that is still open.
"""

from __future__ import annotations

import itertools
import json
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Protocol

from chaos.errors import AgentError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

Said = dict[str, Any]
LISTENED_S = 5.0  # for the reader to see an end that has come


class Channel(Protocol):
    """Lines to and from one other side."""

    def send(self, line: bytes) -> None:
        """Send a line, its newline included; OSError or ValueError if nobody listens."""
        ...

    def lines(self) -> Iterator[bytes]:
        """Yield what comes until the other side ends; read once, by one thread."""
        ...

    def end(self, grace_s: float) -> None:
        """Tell that nothing more will come, and end the other side by force after `grace_s`. Idempotent."""
        ...

    def fate(self, why: str = "") -> str:
        """Return how it ended and `why`, or else its last words; for a message that begins with its name."""
        ...


class JsonLines:
    """`heard` gets each object, `ended` the end; both are called from the reader's thread."""

    def __init__(
        self, channel: Channel, *, name: str, heard: Callable[[Said], None], ended: Callable[[], None]
    ) -> None:
        self.over = threading.Event()
        self._channel, self._heard, self._ended = channel, heard, ended
        self._lock = threading.Lock()
        self._reader = threading.Thread(target=self._listen, name=f"{name}-reader", daemon=True)
        self._reader.start()

    def say(self, said: Mapping[str, Any]) -> bool:
        """Send an object; False if nobody listens any more."""
        line = json.dumps(said).encode() + b"\n"
        try:
            with self._lock:
                self._channel.send(line)
        except (OSError, ValueError):
            return False
        return not self.over.is_set()

    def end(self, grace_s: float) -> None:
        """End the other side, by force after `grace_s`. Idempotent."""
        self._channel.end(grace_s)
        self._reader.join(LISTENED_S)

    def _listen(self) -> None:
        try:
            for line in self._channel.lines():
                if line.endswith(b"\n"):  # who is killed may leave half a line
                    self._heard(json.loads(line))
        finally:
            self.over.set()
            self._ended()


class Questions:
    """Requests to somebody called `name`; what comes without a number goes to `heard`, the end and why to `ended`."""

    def __init__(
        self,
        channel: Channel,
        *,
        name: str,
        heard: Callable[[Said], None] = lambda _: None,
        ended: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._channel, self._name, self._heard, self._ended = channel, name, heard, ended
        self._numbers = itertools.count(1)
        self._waiting: dict[int, Future[Said]] = {}  # whoever pops one answers it
        self._lines = JsonLines(channel, name=name, heard=self._take, ended=self._end)

    @property
    def over(self) -> threading.Event:
        """Set when nothing more will be answered."""
        return self._lines.over

    def send(self, request: Mapping[str, Any]) -> Future[Said]:
        """Ask without waiting; see `answered`."""
        number, future = next(self._numbers), Future[Said]()
        self._waiting[number] = future
        if not self._lines.say({"id": number, **request}):
            self._give_up(number, self._epitaph())
        return future

    def end(self, grace_s: float) -> None:
        """End the other side, by force after `grace_s`. Idempotent."""
        self._lines.end(grace_s)

    def _take(self, said: Said) -> None:
        if "id" not in said:
            self._heard(said)
        elif future := self._waiting.pop(said.pop("id"), None):
            future.set_result(said)

    def _end(self) -> None:
        why = self._epitaph()
        for number in list(self._waiting):
            self._give_up(number, why)
        self._ended(why)

    def _give_up(self, number: int, why: str) -> None:
        if future := self._waiting.pop(number, None):
            future.set_result({"error": why})

    def _epitaph(self) -> str:
        return f"the {self._name} is gone: it {self._channel.fate()}"


def answered(what: str, future: Future[Said], timeout_s: float) -> Said:
    """Wait for the answer; AgentError if it is a refusal, late, or can't come any more."""
    try:
        answer = future.result(timeout_s)
    except TimeoutError:
        raise AgentError(f"{what}: no answer within {timeout_s:.0f} s") from None
    if "error" in answer:
        raise AgentError(f"{what}: {answer['error']}")
    return answer
