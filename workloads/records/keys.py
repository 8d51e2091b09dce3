"""Which record is next: keys belong to one process each, and of each key the numbers go up from 0.

    process 0 of 2: keys 0, 2, 4, …   key 4: n = 0, 1, 2 …      partition = key % partitions
    process 1 of 2: keys 1, 3, 5, …

One process sends all of a key, so the order in which numbers were given is the order in which they were sent. A number
is used up only when the producer takes the record: one that it refuses leaves no hole.
"""

from __future__ import annotations

from bisect import bisect
from dataclasses import dataclass, field
from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import random

SKIPPED_EACH = 50  # with the sabotage skip-ids, one number in so many is left out


class Draft(NamedTuple):
    """A record to be sent: the `n`-th of its key, counting from 0."""

    key: int
    n: int


@dataclass(slots=True, kw_only=True)
class Keys:
    """The keys of process `index` of `processes`, and the number that each will give next."""

    count: int  # of all processes together
    index: int = 0
    processes: int = 1
    rng: random.Random
    first: int = 0
    zipf: float = 0.0  # the exponent by which a key's weight falls with its rank; 0: all weigh the same
    hot: float = 0.0  # a share of all records that goes to the first key of the process, whatever the weights
    skips: bool = False  # sabotage: leave numbers out
    taken: int = 0
    _own: range = field(init=False)
    _weights: list[float] = field(init=False)  # each key's and all before it
    _next: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._own = range(self.first + self.index, self.first + self.count, self.processes)
        if not self._own:
            raise ValueError(
                f"keys: {self.count} can't be shared by {self.processes} processes; write {self.processes} or more"
            )

        self._weights = list(accumulate((rank + 1) ** -self.zipf for rank in range(len(self._own))))

    def draw(self) -> Draft:
        """Return the next record of a key drawn by chance; the same one's number again until it is taken."""
        key = self._own[self._rank()]
        return Draft(key, self._next.get(key, 0))

    def _rank(self) -> int:
        if self.hot and self.rng.random() < self.hot:
            return 0
        if not self.zipf:
            return int(self.rng.random() * len(self._own))
        return min(bisect(self._weights, self.rng.random() * self._weights[-1]), len(self._own) - 1)

    def take(self, draft: Draft) -> None:
        """Use its number up."""
        self.taken += 1
        self._next[draft.key] = draft.n + (2 if self.skips and self.taken % SKIPPED_EACH == 0 else 1)


def value(draft: Draft, wall_us: int) -> bytes:
    """Return a record's value: its key, its number, and when it was meant to be sent, in µs since 1970."""
    return b'{"k":"%d","n":%d,"t":%d}' % (draft.key, draft.n, wall_us)


def marker(partition: int) -> Draft:
    """Return the record that ends a partition: its key is below 0, where no traffic's is."""
    return Draft(-1 - partition, 0)
