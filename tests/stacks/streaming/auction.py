"""What Nexmark's queries say of some events, computed again: plainly, from the events alone."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import NamedTuple

WINDOW_MS, SLIDE_MS = 10_000, 2_000


class Event(NamedTuple):
    """A record of the input: its place (key, n), its time in ms, and what it tells."""

    key: str
    n: int
    at_ms: int
    value: dict


def persons(events):
    return [(event, event.value["person"]) for event in events if event.value["kind"] == 0]


def auctions(events):
    return [(event, event.value["auction"]) for event in events if event.value["kind"] == 1]


def bids(events):
    return [(event, event.value["bid"]) for event in events if event.value["kind"] == 2]


def window(at_ms):
    return at_ms // WINDOW_MS * WINDOW_MS


def sliding(at_ms):
    newest = at_ms // SLIDE_MS * SLIDE_MS
    return range(newest - WINDOW_MS + SLIDE_MS, newest + 1, SLIDE_MS)


def q0(events):
    return Counter((event.key, event.n, str(event.value["kind"])) for event in events)


def q2(events):
    return Counter((event.key, event.n, str(bid["price"])) for event, bid in bids(events) if bid["auction"] % 123 == 0)


def q3(events):
    there = {person["id"]: person for _, person in persons(events) if person["state"] in ("OR", "ID", "CA")}
    sold = [
        (event, there[a["seller"]]) for event, a in auctions(events) if a["category"] == 10 and a["seller"] in there
    ]
    return Counter((event.key, event.n, f"{p['name']}, {p['city']}, {p['state']}") for event, p in sold)


def q5(events):
    counted = defaultdict(Counter)
    for event, bid in bids(events):
        for begin in sliding(event.at_ms):
            counted[begin][bid["auction"]] += 1
    hot = [(begin, each, max(each.values())) for begin, each in counted.items()]
    return Counter(
        (str(auction), begin, most) for begin, each, most in hot for auction in each if each[auction] == most
    )


def q7(events):
    highest = defaultdict(int)
    for event, bid in bids(events):
        highest[window(event.at_ms)] = max(highest[window(event.at_ms)], bid["price"])
    return Counter(
        (event.key, event.n, str(bid["price"]))
        for event, bid in bids(events)
        for begin, most in highest.items()
        if bid["price"] == most and begin - 1 <= event.at_ms <= begin + WINDOW_MS - 1  # as the query's BETWEEN has it
    )


def q8(events):
    came = {(person["id"], window(event.at_ms)) for event, person in persons(events)}
    sold = Counter((auction["seller"], window(event.at_ms)) for event, auction in auctions(events))
    return Counter((str(who), begin, sold[who, begin]) for who, begin in came if sold[who, begin])


def q12(events):
    """Bids of everybody; which ten seconds of the machine's clock they fell into, nobody can know beforehand."""
    return Counter(str(bid["bidder"]) for _, bid in bids(events))
