"""The slow path: try orders of one key's operations until one is legal, or none is left.

    placed        p p p . p . .      operations in the order of their calls; base = 3, mask = 0b010…
    may be next         ^   ^        called no later than the least return among those not placed

Wing & Gong, Testing and Verifying Concurrent Objects, J. Parallel Distrib. Comput. 17 (1993), with the memory of
visited (placed set, state) pairs of Lowe, Testing for Linearizability, Concurrency Comput. 29(4), 2017. What makes it
fast here: a read that fits now is placed now (it changes nothing); of writes that do the same, the one that returns
first goes first; a value that nobody looks for is one value; a state that is left for good while somebody still has to
read it is a dead end.
"""

from __future__ import annotations

import bisect
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from gates.linearizability.result import Answer

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Sequence

READ, UNLIKE, WRITE, SWAP, APPEND = range(5)
UNSEEN = -2  # the code of every value that nobody looks for
STEPS_PER_LOOK = 256  # between looks at the clock
CONFIG_BYTES = 400  # of a visited configuration, its integers apart: tuple, dict slot, list, state


class Step(NamedTuple):
    """An operation as the search sees it: times as ranks (forever if unknown), `wants` to read, `gives` to write."""

    call: int
    returned: int
    kind: int
    wants: Any
    gives: Any
    sure: bool
    row: int


@dataclass(slots=True, kw_only=True)
class Budget:
    """Seconds by a clock, and bytes of memory for visited configurations; `steps` counts."""

    now: Callable[[], float]
    until: float
    memory_bytes: int
    steps: int = 0
    used_bytes: int = 0

    def spend(self, config_bytes: int) -> bool:
        """Count one configuration; False once the budget is over."""
        self.steps += 1
        self.used_bytes += config_bytes
        if self.used_bytes > self.memory_bytes:
            return False
        return self.steps % STEPS_PER_LOOK != 0 or self.now() < self.until


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """The answer, how many sure operations the best attempt placed, and which one then had nowhere to go."""

    answer: Answer
    placed: int
    stuck: int | None = None


@dataclass(slots=True)
class _Frame:
    """A configuration on the path: what is placed, the state, what placing it consumed, what may come next."""

    base: int
    mask: int
    unsure: int
    state: Hashable
    consumed: list[int] = field(default_factory=list)
    choices: list[tuple[int, bool]] = field(default_factory=list)
    hidden: list[int] = field(default_factory=list)


def _by_value(pairs: Iterable[tuple[int, Any]]) -> dict[Any, list[int]]:
    found: dict[Any, list[int]] = {}
    for index, value in pairs:
        found.setdefault(value, []).append(index)
    return found


def _is_new(seen: dict[tuple[int, int, Hashable], list[int]], frame: _Frame) -> bool:
    """Remember a configuration; False if one that differs only in using fewer unsure writes was there before."""
    spent = seen.setdefault((frame.base, frame.mask, frame.state), [])
    if any(used & frame.unsure == used for used in spent):
        return False
    spent.append(frame.unsure)
    return True


class Search:
    """One key's search. `state` is the first state: NULL for registers, the empty text or 0 for appends."""

    def __init__(self, steps: Sequence[Step], *, state: Hashable, target: str | None = None) -> None:
        self.sure = sorted((s for s in steps if s.sure), key=lambda s: (s.call, s.returned))
        self.unsure = sorted((s for s in steps if not s.sure), key=lambda s: s.call)
        self.first, self.target = state, target
        self.hides_unseen = not any(s.kind in {UNLIKE, APPEND} for s in steps)
        self.appends = any(s.kind == APPEND for s in steps)
        self.placed = bytearray(len(self.sure))
        self.observers = sum(s.kind in {READ, SWAP, UNLIKE} for s in self.sure)
        self.readers = _by_value((i, s.wants) for i, s in enumerate(self.sure) if s.kind in {READ, SWAP})
        self.writers = _by_value((i, s.gives) for i, s in enumerate(self.sure) if s.kind in {WRITE, SWAP})
        self.unsure_writers = _by_value((i, s.gives) for i, s in enumerate(self.unsure))
        self.best, self.stuck = -1, None if not self.sure else self.sure[0].row

    def run(self, budget: Budget) -> Finding:
        """Search until an order is found, none is left, or the budget ends."""
        seen: dict[tuple[int, int, Hashable], list[int]] = {}
        path = [self._settled(_Frame(0, 0, 0, self.first))]
        while path and self.observers:
            frame = path[-1]
            if not frame.choices:
                self._undo(path.pop())
                continue
            after = self._after(frame, *frame.choices.pop())
            if self._dead(frame.state, after) or not _is_new(seen, after):
                self._undo(after)
                continue
            if not budget.spend(CONFIG_BYTES + sys.getsizeof(after.mask) + sys.getsizeof(after.unsure)):
                return Finding(answer=Answer.UNKNOWN, placed=self.best, stuck=self.stuck)
            path.append(after)
        answer = Answer.ILLEGAL if self.observers else Answer.OK
        return Finding(answer=answer, placed=self.best, stuck=self.stuck)

    # ------------------------------------------------------------ a step forward, a step back

    def _after(self, frame: _Frame, index: int, sure: bool) -> _Frame:
        """Place one operation (and unseen writes, which it overwrites at once), then every read that fits."""
        step = (self.sure if sure else self.unsure)[index]
        state = self._next(frame.state, step)
        after = _Frame(frame.base, frame.mask, frame.unsure, state)
        if sure:
            self._take(after, index)
        else:
            after.unsure |= 1 << index
        if step.kind == WRITE:
            for other in frame.hidden:
                if other != index or not sure:
                    self._take(after, other)
        return self._settled(after)

    def _take(self, frame: _Frame, index: int) -> None:
        frame.mask |= 1 << (index - frame.base)
        frame.consumed.append(index)
        self.placed[index] = True
        self.observers -= self.sure[index].kind in {READ, SWAP, UNLIKE}

    def _undo(self, frame: _Frame) -> None:
        for index in frame.consumed:
            self.placed[index] = False
            self.observers += self.sure[index].kind in {READ, SWAP, UNLIKE}

    def _next(self, state: Any, step: Step) -> Any:
        if step.kind != APPEND:
            return step.gives
        return state + (len(step.gives) if self.target is not None else step.gives)

    def _dead(self, before: Hashable, after: _Frame) -> bool:
        """Say whether `before` was left while somebody has to find it before any other write of it is called."""
        if self.appends or before == after.state:
            return False
        least = self._least_return(self.readers.get(before, ()), after.base)
        if least is None:
            return False
        rewriters = self.writers.get(before, ())
        for index in rewriters[bisect.bisect_left(rewriters, after.base) :]:
            if not self.placed[index]:
                if self.sure[index].call <= least:
                    return False
                break
        unsure = self.unsure_writers.get(before, ())
        return not any(self.unsure[i].call <= least and not after.unsure >> i & 1 for i in unsure)

    def _least_return(self, readers: Sequence[int], base: int) -> int | None:
        """Return when the first of some operations returns that are not yet placed; None if all are."""
        least = None
        for index in readers[bisect.bisect_left(readers, base) :]:
            step = self.sure[index]
            if least is not None and step.call > least:
                break
            if not self.placed[index] and (least is None or step.returned < least):
                least = step.returned
        return least

    # ------------------------------------------------------------ what may come next

    def _settled(self, frame: _Frame) -> _Frame:
        """Place the reads that fit, forget the placed prefix, and list the writes that may come next, best last."""
        waiting: dict[Any, int] = {}
        writes: list[tuple[int, int]] = []
        least = self._window(frame, waiting, writes)
        self._forget_prefix(frame)
        best: dict[Hashable, tuple[int, int, bool]] = {}
        for returned, index in writes:
            self._offer(frame, best, (returned, index, True))
        for index, step in enumerate(self.unsure):
            if step.call > least:
                break
            if not frame.unsure >> index & 1:
                self._offer(frame, best, (step.returned, index, False))
        if self.hides_unseen:
            frame.hidden = [i for _, i in writes if self.sure[i].gives == UNSEEN and self.sure[i].kind == WRITE]
        ranked = sorted(best.values(), key=lambda c: self._urgency(c, waiting), reverse=True)
        frame.choices = [(index, sure) for _, index, sure in ranked]
        return frame

    def _window(self, frame: _Frame, waiting: dict[Any, int], writes: list[tuple[int, int]]) -> int:
        """Walk the operations that may be next; return the least return among those left unplaced."""
        sure, least, index, rest, first = self.sure, sys.maxsize, frame.base, frame.mask, None
        while index < len(sure) and sure[index].call <= least:
            step = sure[index]
            if rest & 1:
                pass
            elif self._fits(frame.state, step):
                self._take(frame, index)
            else:
                if step.returned < least:
                    least, first = step.returned, step.row
                if step.kind in {READ, SWAP}:
                    waiting[step.wants] = min(waiting.get(step.wants, step.returned), step.returned)
                if step.kind in {WRITE, SWAP, APPEND}:
                    writes.append((step.returned, index))
            index, rest = index + 1, rest >> 1
        placed = frame.base + frame.mask.bit_count()
        if placed > self.best:
            self.best, self.stuck = placed, first
        return least

    def _fits(self, state: Hashable, step: Step) -> bool:
        if step.kind == READ:
            return bool(step.wants == state)
        return step.kind == UNLIKE and step.wants != state

    def _forget_prefix(self, frame: _Frame) -> None:
        ones = (~frame.mask & (frame.mask + 1)).bit_length() - 1
        frame.base, frame.mask = frame.base + ones, frame.mask >> ones

    def _offer(self, frame: _Frame, best: dict[Hashable, tuple[int, int, bool]], choice: tuple[int, int, bool]) -> None:
        """Keep, of the writes that do the same, the one that returns first."""
        step = (self.sure if choice[2] else self.unsure)[choice[1]]
        kind = (step.kind, step.gives)
        if self._allows(frame.state, step) and (kind not in best or choice < best[kind]):
            best[kind] = choice

    def _allows(self, state: Any, step: Step) -> bool:
        if step.kind == SWAP:
            return bool(step.wants == state)
        return step.kind != APPEND or self.target is None or self.target.startswith(step.gives, state)

    def _urgency(self, choice: tuple[int, int, bool], waiting: dict[Any, int]) -> tuple[bool, int]:
        """Order choices: unseen values last (another write will hide them), else by who waits most urgently."""
        step = (self.sure if choice[2] else self.unsure)[choice[1]]
        return step.gives == UNSEEN, min(choice[0], waiting.get(step.gives, choice[0]))
