"""Events of an online auction house, as NEXMark publishes them: persons, auctions and bids, 1 : 3 : 46.

    number   0   1 2 3   4 … 49 │ 50  51 52 53  54 … 99 │ …       an event's place in its epoch of 50 says what it is
             P   A A A   B …  B │ P   A  A  A   B  …  B │

Which person or auction an event speaks of is drawn from those that are there at its number, half or three quarters of
the time from the "hot" one. The numbers are those of Beam's and Flink's generators (Tucker et al., "NEXMark: A
Benchmark for Queries over Data Streams", draft, 2002; Apache Beam, sdks/java/testing/nexmark, GeneratorConfig and
NexmarkConfiguration, "DEFAULT"). Pure: a number, its key and its time give one event, whichever process makes it.
"""

from __future__ import annotations

import json
import math
import random
from dataclasses import dataclass
from typing import Any

PERSONS, AUCTIONS, BIDS = 1, 3, 46
EPOCH = PERSONS + AUCTIONS + BIDS
FIRST_PERSON = FIRST_AUCTION = 1000
FIRST_CATEGORY, CATEGORIES = 10, 5
HOT_AUCTION, HOT_SELLER, HOT_BIDDER = 2, 4, 4  # one in so many is not the hot one
HOT_OF = 100  # so many ids share a hot one
IN_FLIGHT, ACTIVE = 100, 1000  # auctions and persons that others may speak of
AHEAD = 10  # persons and auctions that are spoken of before they are there
STATES = ("AZ", "CA", "ID", "OR", "WA", "WY")
CITIES = ("Phoenix", "Los Angeles", "San Francisco", "Boise", "Portland", "Bend", "Redmond", "Seattle", "Kent")
CHANNELS = ("Google", "Facebook", "Baidu", "Apple")
AUCTION_S = 5.0  # mean life of an auction


@dataclass(frozen=True, slots=True)
class There:
    """Who is there when event `number` comes: the newest person and auction, counted from 0."""

    person: int
    auction: int

    @classmethod
    def at(cls, number: int) -> There:
        """Count them (PersonGenerator.lastBase0PersonId, AuctionGenerator.lastBase0AuctionId)."""
        epoch, offset = divmod(number, EPOCH)
        person = epoch * PERSONS + min(offset, PERSONS - 1)
        if offset < PERSONS:
            return cls(person, epoch * AUCTIONS - 1)
        return cls(person, epoch * AUCTIONS + min(offset - PERSONS, AUCTIONS - 1))


def event(number: int, at_ms: int) -> dict[str, Any]:
    """Return the event of a number: "kind" is 0 for a person, 1 for an auction, 2 for a bid; times in ms since 1970."""
    offset, rng, there = number % EPOCH, random.Random(number), There.at(number)
    if offset < PERSONS:
        return {"kind": 0, "person": _person(rng, there, at_ms)}
    if offset < PERSONS + AUCTIONS:
        return {"kind": 1, "auction": _auction(rng, there, at_ms)}
    return {"kind": 2, "bid": _bid(rng, there, at_ms)}


def value(key: int, n: int, number: int, wall_us: int) -> bytes:
    """Return a record's value: the envelope of every record (key, its number, time), and the event."""
    envelope = {"k": str(key), "n": n, "t": wall_us}
    return json.dumps(envelope | event(number, wall_us // 1000), separators=(",", ":")).encode()


def _person(rng: random.Random, there: There, at_ms: int) -> dict[str, Any]:
    name = f"{rng.getrandbits(32):08x}"
    return {
        "id": FIRST_PERSON + there.person,
        "name": name,
        "emailAddress": f"{name}@nexmark.example",
        "creditCard": " ".join(f"{rng.randrange(10_000):04d}" for _ in range(4)),
        "city": rng.choice(CITIES),
        "state": rng.choice(STATES),
        "dateTime": at_ms,
    }


def _auction(rng: random.Random, there: There, at_ms: int) -> dict[str, Any]:
    initial = _price(rng)
    return {
        "id": FIRST_AUCTION + there.auction,
        "itemName": f"item {rng.getrandbits(32):x}",
        "description": f"{rng.getrandbits(160):x}",
        "initialBid": initial,
        "reserve": initial + _price(rng),
        "dateTime": at_ms,
        "expires": at_ms + 1 + rng.randrange(round(2000 * AUCTION_S)),
        "seller": FIRST_PERSON + _somebody(rng, there, hot=HOT_SELLER, which=0),
        "category": FIRST_CATEGORY + rng.randrange(CATEGORIES),
    }


def _bid(rng: random.Random, there: There, at_ms: int) -> dict[str, Any]:
    if rng.randrange(HOT_AUCTION):
        auction = there.auction // HOT_OF * HOT_OF
    else:
        oldest = max(there.auction - IN_FLIGHT, 0)
        auction = oldest + rng.randrange(there.auction - oldest + 1 + AHEAD)
    channel = rng.choice(CHANNELS) if rng.randrange(2) else f"channel-{rng.randrange(10_000)}"
    return {
        "auction": FIRST_AUCTION + auction,
        "bidder": FIRST_PERSON + _somebody(rng, there, hot=HOT_BIDDER, which=1),
        "price": _price(rng),
        "channel": channel,
        "url": f"https://www.nexmark.example/{rng.getrandbits(40):x}/item.htm",
        "dateTime": at_ms,
    }


def _somebody(rng: random.Random, there: There, *, hot: int, which: int) -> int:
    """Return a person, counted from 0: mostly the hot one, whose place in its hundred is `which`."""
    if rng.randrange(hot):
        return there.person // HOT_OF * HOT_OF + which
    active = min(there.person, ACTIVE)
    return there.person - active + rng.randrange(active + AHEAD)


def _price(rng: random.Random) -> int:
    """Return a price in cents: log-uniform from one to a million (PriceGenerator.nextPrice)."""
    return round(math.pow(10.0, rng.random() * 6.0) * 100.0)
