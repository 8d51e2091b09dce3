"""What an experiment may say of the traffic of a log; imports neither gevent nor a client of Kafka.

load:
  records: {topic: in, keys: 40, acks: all, read: [out, win], markers: true}
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from workloads.sabotage import THROTTLE
from workloads.settings import ARRIVALS, at_least, one_of, settings_of

if TYPE_CHECKING:
    from collections.abc import Mapping

ALL, LEADER = "all", "1"
READ_COMMITTED, READ_UNCOMMITTED = "read_committed", "read_uncommitted"
NUMBERED, NEXMARK = "numbered", "nexmark"
SKIP_IDS, STOP_EARLY = "skip-ids", "stop-early"
SABOTAGES = (SKIP_IDS, STOP_EARLY, THROTTLE)

ZIPF_MAX = 5.0
SETTLE_MAX_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordsSettings:
    """Numbered records on Kafka: each bears its key and how many of that key came before it.

    With `acks: all` the producer is idempotent; with `acks: 1` it tries each record once and the leader alone answers.
    `sabotage` is a test aid: `skip-ids` leaves numbers out, `stop-early` ends the final reading half-way, `throttle`
    offers half of the rate.
    """

    topic: str = "in"  # what is produced to; each process has keys of its own
    keys: int = 40
    first_key: int = 0  # keys are numbered from here on
    zipf: float = 0.0  # skew: the weight of the r-th key is r to the power of minus this; 0: no skew
    hot_share: float = 0.0  # skew: so much of all goes to one key
    content: str = NUMBERED  # numbered: key, number and time alone | nexmark: events of an auction house besides
    acks: str = ALL  # all | 1
    read: tuple[str, ...] = ()  # topics that a job writes: followed live, and read whole afterwards
    isolation: str = READ_COMMITTED  # of every reader
    markers: bool = False  # after the drain a record a partition, dated later, moves the job's event time on
    settle_s: float = 15.0  # how long to wait, after the drain, for the job's output to come to rest
    quiet_s: float = 2.0  # at rest: no topic has grown for so long; longer than the job's checkpoint interval
    linger_s: float = 0.005  # how long records gather before they are sent; fewer, larger requests cost brokers less
    queue: int = 100_000  # records that may wait in a producer; one more is refused
    arrivals: str = "even"  # even | poisson
    patience_s: float | None = None  # how long an arrival waits for a free user; None: as long as the timeout
    sabotage: str = ""

    def __post_init__(self) -> None:
        at_least("keys", self.keys, 1)
        at_least("queue", self.queue, 1)
        at_least("first-key", self.first_key, 0)
        one_of("acks", self.acks, (ALL, LEADER))
        one_of("content", self.content, (NUMBERED, NEXMARK))
        if not 0 <= self.zipf <= ZIPF_MAX:
            raise ValueError(f"zipf: {self.zipf:g}; write 0 to {ZIPF_MAX:g}, e.g. 1.1")
        if not 0 <= self.hot_share < 1:
            raise ValueError(f"hot: {self.hot_share:.0%}; write less than all, e.g. 30%")
        one_of("isolation", self.isolation, (READ_COMMITTED, READ_UNCOMMITTED))
        one_of("arrivals", self.arrivals, ARRIVALS)
        one_of("sabotage", self.sabotage, ("", *SABOTAGES))
        if not 0 <= self.linger_s < 1:
            raise ValueError(f"linger: {self.linger_s:g}s; write less than a second, e.g. 5ms")
        if not 0 < self.quiet_s < self.settle_s <= SETTLE_MAX_S:
            raise ValueError(f"settle: {self.settle_s:g}s; write more than quiet, at most {SETTLE_MAX_S:g}s")
        if not self.topic:
            raise ValueError("topic: a topic needs a name; write e.g. in")
        if self.topic in self.read:
            raise ValueError(f"read: {self.topic} is what is produced to, and is read anyway; leave it out")
        if len(set(self.read)) < len(self.read):
            raise ValueError(f"read: {', '.join(self.read)}: a topic is read once; name each of them once")

    @property
    def topics(self) -> tuple[str, ...]:
        """Return every topic that is read after the drain."""
        return (self.topic, *self.read)

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> RecordsSettings:
        """Read `Load.settings` (field names as keys); UsageError naming the setting that is wrong."""
        return settings_of(cls, "load.records", settings, {"read": tuple})
