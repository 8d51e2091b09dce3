"""What an experiment may say of the key-value traffic; imports neither gevent nor Locust.

load:
  kv: {keys: 100, mix: {put: 45%, get: 40%, cas: 10%, once: 5%}, pinned: 50%}
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from chaos.errors import UsageError
from chaos.guess import suggestion
from chaos.units import Share  # noqa: TC001  (the experiment's reader evaluates the annotations)
from workloads.sabotage import SABOTAGES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from _typeshed import DataclassInstance

T = TypeVar("T", bound="DataclassInstance")

_CONSISTENCIES = ("linearizable", "serializable")
ARRIVALS = ("even", "poisson")
_OPS_OF_A_TXN = 128  # etcd's default for --max-txn-ops


@dataclass(frozen=True, slots=True, kw_only=True)
class Mix:
    """How often each operation is chosen, one that is not named never; the shares must add up to 1."""

    put: Share = 0.0
    get: Share = 0.0
    cas: Share = 0.0
    once: Share = 0.0

    def __post_init__(self) -> None:
        shares = dataclasses.astuple(self)
        if not math.isclose(sum(shares), 1.0, abs_tol=1e-6) or min(shares) < 0:
            raise ValueError(f"mix: the shares add up to {sum(shares):.0%}; make it 100%")


@dataclass(frozen=True, slots=True, kw_only=True)
class KvSettings:
    """Key-value traffic on etcd.

    `keys` registers are overwritten with unique values, read, and swapped; `once` puts use a new key each.
    A `pinned` share of the users talks to one member only, the others move on after an error.
    """

    keys: int = 100
    mix: Mix = Mix(put=0.45, get=0.40, cas=0.10, once=0.05)
    pinned_share: Share = 0.5
    value_bytes: int = 32  # values are padded to it; longer ones stay as they are
    consistency: str = "linearizable"  # of gets; serializable ones may be stale by design
    batch: int = 1  # puts in one transaction
    guards: int = 0  # keys, never written, that each put's transaction compares first, as etcd's STM its read set
    arrivals: str = "even"  # even | poisson
    patience_s: float | None = None  # how long an arrival waits for a free user; None: as long as the timeout
    pause_s: float = 0.05  # of a user that could not reach its member
    sabotage: str = ""  # a test aid: see workloads/sabotage.py

    def __post_init__(self) -> None:
        at_least("keys", self.keys, self.batch)
        at_least("batch", self.batch, 1)
        at_least("value", self.value_bytes, 1)
        one_of("consistency", self.consistency, _CONSISTENCIES)
        one_of("arrivals", self.arrivals, ARRIVALS)
        one_of("sabotage", self.sabotage, ("", *SABOTAGES))
        at_least("guards", self.guards, 0)
        for key, count in (("batch", self.batch), ("guards", self.guards)):
            if count > _OPS_OF_A_TXN:
                raise ValueError(f"{key}: etcd takes {_OPS_OF_A_TXN} operations in a transaction; write at most that")
        if not 0 <= self.pinned_share <= 1:
            raise ValueError(f"pinned: {self.pinned_share:.0%} is no share of the users; write 0% to 100%")

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> KvSettings:
        """Read `Load.settings` (field names as keys); UsageError naming the setting that is wrong."""
        return settings_of(cls, "load.kv", settings, {"mix": lambda value: Mix(**value)})


def settings_of(
    cls: type[T], where: str, settings: Mapping[str, Any], readers: Mapping[str, Callable[[Any], Any]]
) -> T:
    """Make a dataclass of settings as they come back from JSON; `readers` are for fields that JSON has no type for.

    UsageError, beginning with `where`, naming the setting that is wrong.
    """
    known = {f.name for f in dataclasses.fields(cls)}
    for name in settings:
        if name not in known:
            raise UsageError(f"{where}: no such setting {name!r}; {suggestion(name, known)}")
    values = dict(settings)
    try:
        for name, read in readers.items():
            if isinstance(values.get(name), dict | list):
                values[name] = read(values[name])
        return cls(**values)
    except (TypeError, ValueError) as error:
        raise UsageError(f"{where}: {error}") from error


def at_least(key: str, value: int, least: int) -> None:
    """Refuse a count that is too small: ValueError."""
    if value < least:
        raise ValueError(f"{key}: {value} is too few; write {least} or more")


def one_of(key: str, value: str, known: tuple[str, ...]) -> None:
    """Refuse a word that is not known: ValueError."""
    if value not in known:
        raise ValueError(f"{key}: {value!r} is unknown; {suggestion(value, filter(None, known))}")
