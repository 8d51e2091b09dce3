"""Key-value traffic on etcd: one user's operations, recorded whatever becomes of them.

    put   r/17 ← "4-91"                     unique values: a read names the write that it saw
    get   r/17
    cas   r/17: if "4-91" then "4-92"       else-branch: read it, recorded as the get that it is
    once  o/1204 ← "4-93"                   a key of its own: an acknowledged write can't hide behind a later one

After an unknown outcome the client's number is retired (Jepsen's rule: that process never acts again) and its
connection closed. The outcome table is the stack's: failed means *certainly* without effect.
"""

from __future__ import annotations

import itertools
import time
from bisect import bisect
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from chaos.model import Outcome
from workloads import etcd_messages as etcd
from workloads.samples import Row
from workloads.unary import INTERNAL, CallError

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterator, Sequence

    from workloads.sabotage import Transport
    from workloads.settings import KvSettings

T = TypeVar("T")

LINEARIZABLE, SERIALIZABLE = "linearizable", "serializable"


class Intent(NamedTuple):
    """What a row will say of an operation besides how it went."""

    op: str
    key: str
    value: str | None = None
    expect: str | None = None
    consistency: str = ""


class Answer(NamedTuple, Generic[T]):
    """What was read from a reply, and the times around its call."""

    read: T
    call_ns: int
    return_ns: int | None


@dataclass(slots=True, kw_only=True)
class Keys:
    """The keys of one generator process. Register n is the same in all of them, a write-once key in none other."""

    run_id: str
    registers: int
    index: int = 0
    processes: int = 1
    once: list[str] = field(default_factory=list)  # every write-once key that a put was tried on

    def register(self, n: int) -> str:
        """Return the n-th overwritten key."""
        return f"{self.run_id}/r/{n}"

    def guards(self, count: int) -> list[str]:
        """Return the keys that are compared and that nobody ever writes."""
        return [f"{self.run_id}/g/{n}" for n in range(count)]

    def fresh(self) -> str:
        """Return a key that nobody ever wrote."""
        key = f"{self.run_id}/o/{self.index + self.processes * len(self.once)}"
        self.once.append(key)
        return key


@dataclass(slots=True, kw_only=True)
class Site:
    """What the users of one process share."""

    settings: KvSettings
    members: Sequence[str]  # node names
    dial: Callable[[str], Transport]  # node name → connection, not yet opened
    keys: Keys
    clients: Iterator[int]  # numbers never given twice
    record: Callable[[Sequence[Row]], None]  # the rows of one operation
    outcome: Callable[[int, str, bool], tuple[Outcome, str]]  # the stack's table
    pause: Callable[[float], None]  # gevent.sleep in a generator
    condition: bytes = field(init=False)  # of each put's transaction: encoded once

    def __post_init__(self) -> None:
        self.condition = etcd.all_absent(self.keys.guards(self.settings.guards))


def client_numbers(index: int, processes: int) -> Iterator[int]:
    """Yield the client numbers of process `index`: no two processes share one."""
    return itertools.count(index, processes)


class KvClient:
    """One user. `number` decides whether it is pinned, and to which member."""

    def __init__(self, site: Site, number: int, rng: random.Random) -> None:
        self._site = site
        self._rng = rng
        self._pinned = _is_pinned(number, site.settings.pinned_share)
        self._member = number % len(site.members)
        self._transport: Transport | None = None
        self._client = next(site.clients)
        self._writes = 0
        self._seen: dict[str, str | None] = {}  # register → the value last seen there
        mix = site.settings.mix
        self._bounds = list(itertools.accumulate((mix.put, mix.get, mix.cas)))
        self._kinds = (self.put, self.get, self.cas, self.once)

    @property
    def member(self) -> str:
        """Return the node that it talks to now."""
        return self._site.members[self._member]

    def operate(self, intended_ns: int | None) -> None:
        """Make one operation of the mix, due at `intended_ns`; None: due now (closed loop)."""
        self._kinds[bisect(self._bounds, self._rng.random())](intended_ns)

    # ------------------------------------------------------------ operations

    def put(self, intended_ns: int | None) -> None:
        """Write unique values to one register, or to `batch` of them in one transaction."""
        settings = self._site.settings
        puts = [(key, self._unique()) for key in self._registers(settings.batch)]
        intents = tuple(Intent("put", key, _stem(value)) for key, value in puts)
        if settings.batch == 1 and not settings.guards:
            answer = self._ask(intended_ns, intents, etcd.PUT, etcd.put_request(*puts[0]), etcd.read_put)
        else:
            message = etcd.puts_request(puts, condition=self._site.condition)
            answer = self._ask(intended_ns, intents, etcd.TXN, message, _revision_of_puts)
        if answer is not None:
            self._succeed(intended_ns, answer, intents, revision=answer.read)
            self._seen.update(puts)

    def get(self, intended_ns: int | None) -> None:
        """Read a register."""
        (key,) = self._registers(1)
        consistency = self._site.settings.consistency
        message = etcd.range_request(key, serializable=consistency == SERIALIZABLE)
        intent = Intent("get", key, consistency=consistency)
        if (answer := self._ask(intended_ns, (intent,), etcd.RANGE, message, etcd.read_range)) is not None:
            self._read(intended_ns, answer, intent, answer.read.value, answer.read.revision)

    def cas(self, intended_ns: int | None) -> None:
        """Swap a register's value if it is the one last seen; a register not seen yet is read instead."""
        (key,) = self._registers(1)
        if key not in self._seen:
            self.get(intended_ns)
            return
        expect, value = self._seen[key], self._unique()
        intent = Intent("cas", key, _stem(value), None if expect is None else _stem(expect), LINEARIZABLE)
        message = etcd.swap_request(key, expect, value)
        if (answer := self._ask(intended_ns, (intent,), etcd.TXN, message, etcd.read_txn)) is None:
            return
        txn = answer.read
        if txn.succeeded:
            self._seen[key] = value
            self._succeed(intended_ns, answer, (intent,), revision=txn.revision, swapped=True)
        else:
            found = txn.ranges[0].value if txn.ranges else None
            self._read(intended_ns, answer, Intent("get", key, consistency=LINEARIZABLE), found, txn.revision)

    def once(self, intended_ns: int | None) -> None:
        """Write a key that nobody ever wrote or will write again."""
        key, value = self._site.keys.fresh(), self._unique()
        intents = (Intent("put", key, _stem(value)),)
        message = etcd.put_request(key, value)
        if (answer := self._ask(intended_ns, intents, etcd.PUT, message, etcd.read_put)) is not None:
            self._succeed(intended_ns, answer, intents, revision=answer.read)

    # ------------------------------------------------------------ calls and rows

    def _ask(
        self,
        intended_ns: int | None,
        intents: tuple[Intent, ...],
        method: str,
        message: bytes,
        read: Callable[[bytes], T],
    ) -> Answer[T] | None:
        """Call and read the reply; None if it went wrong, which is then recorded."""
        transport = self._transport or self._connected()
        call_ns = time.monotonic_ns()
        try:
            reply = transport.call(method, message)
            return_ns = time.monotonic_ns()
            return Answer(_readable(read, reply), call_ns, return_ns)
        except CallError as error:
            outcome, _ = self._site.outcome(error.code, error.message, error.sent)
            times = Answer(None, call_ns, time.monotonic_ns())
            self._record(intended_ns, times, intents, outcome, error.message)
            self._after(error, outcome)
            return None
        except BaseException:  # the drain ends users in the middle of a call: it stays open, and so unknown
            self._record(intended_ns, Answer(None, call_ns, None), intents, Outcome.UNKNOWN, "never returned")
            raise

    def _after(self, error: CallError, outcome: Outcome) -> None:
        """Retire the client after an unknown outcome, move on where it may, and pause where nobody listens."""
        if outcome is Outcome.UNKNOWN:
            self._client = next(self._site.clients)
            self._writes = 0
            self.close()
        if not self._pinned:
            self._member = (self._member + 1) % len(self._site.members)
            self.close()
        if not error.sent:
            self._site.pause(self._site.settings.pause_s)

    def _connected(self) -> Transport:
        self._transport = self._site.dial(self.member)
        return self._transport

    def close(self) -> None:
        """Close its connection; the next operation opens one."""
        if self._transport is not None:
            self._transport.close()
            self._transport = None

    def _read(
        self, intended_ns: int | None, answer: Answer[Any], intent: Intent, value: str | None, revision: int
    ) -> None:
        self._seen[intent.key] = value
        read = intent._replace(value=None if value is None else short(value, self._site.settings.value_bytes))
        self._succeed(intended_ns, answer, (read,), revision=revision)

    def _succeed(
        self,
        intended_ns: int | None,
        answer: Answer[Any],
        intents: tuple[Intent, ...],
        *,
        revision: int,
        swapped: bool | None = None,
    ) -> None:
        rows = [self._row(intended_ns, answer, intent) for intent in intents]
        self._site.record([row._replace(revision=revision, swapped=swapped) for row in rows])

    def _record(
        self, intended_ns: int | None, answer: Answer[Any], intents: tuple[Intent, ...], outcome: Outcome, error: str
    ) -> None:
        rows = [self._row(intended_ns, answer, intent) for intent in intents]
        self._site.record([row._replace(outcome=outcome, error=error) for row in rows])

    def _row(self, intended_ns: int | None, answer: Answer[Any], intent: Intent) -> Row:
        due = answer.call_ns if intended_ns is None else intended_ns
        where = (self._client, self.member, intent.op, intent.consistency, intent.key, intent.value, intent.expect)
        return Row(due, answer.call_ns, answer.return_ns, *where)

    # ------------------------------------------------------------ keys and values

    def _registers(self, count: int) -> list[str]:
        keys = self._site.keys
        if count == 1:
            return [keys.register(int(self._rng.random() * keys.registers))]
        return [keys.register(n) for n in self._rng.sample(range(keys.registers), count)]

    def _unique(self) -> str:
        self._writes += 1
        return f"{self._client}-{self._writes}".ljust(self._site.settings.value_bytes, _PAD)


_PAD = "."


def short(value: str, value_bytes: int) -> str:
    """Return a value without its padding; one that is not padded as we do is kept whole, to be seen."""
    stem = _stem(value)
    return stem if stem.ljust(value_bytes, _PAD) == value else value


def _stem(value: str) -> str:
    return value.rstrip(_PAD)


def _readable(read: Callable[[bytes], T], reply: bytes) -> T:
    try:
        return read(reply)
    except etcd.MessageError as error:
        raise CallError(INTERNAL, f"the answer can't be read: {error}", sent=True) from error


def _revision_of_puts(reply: bytes) -> int:
    txn = etcd.read_txn(reply)
    if not txn.succeeded:  # what nobody writes exists: the server made it up, or mixed up its keys
        raise etcd.MessageError("a condition that always holds did not")
    return txn.revision


def _is_pinned(number: int, share: float) -> bool:
    """Spread the pinned users evenly among all: the n-th is pinned where n·share passes a whole number."""
    return int((number + 1) * share + 1e-9) > int(number * share + 1e-9)
