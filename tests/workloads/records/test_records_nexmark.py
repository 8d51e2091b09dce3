"""Events of the auction house: who speaks of whom, in the published shares."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workloads.records import nexmark
from workloads.records.topics import content

NUMBERS = range(20_000)
EVENTS = [nexmark.event(number, 1_700_000_000_000) for number in NUMBERS]


def of(kind):
    return [event[kind] for event in EVENTS if kind in event]


def test_persons_auctions_and_bids_are_one_to_three_to_forty_six():
    assert Counter(event["kind"] for event in EVENTS) == {0: 400, 1: 1200, 2: 18_400}


def test_ids_are_unique_and_rise_by_one():
    for kind, first in (("person", nexmark.FIRST_PERSON), ("auction", nexmark.FIRST_AUCTION)):
        ids = [one["id"] for one in of(kind)]
        assert ids == list(range(first, first + len(ids)))


@given(st.integers(0, 10**9), st.integers(0, 2**41))
def test_an_event_is_the_same_whoever_makes_it(number, at_ms):
    assert nexmark.event(number, at_ms) == nexmark.event(number, at_ms)


def test_an_auction_and_a_bid_speak_of_persons_that_are_there_or_about_to_be():
    newest = 0
    for event in EVENTS:
        newest = max(newest, event.get("person", {}).get("id", 0))
        spoken = event.get("auction", {}).get("seller") or event.get("bid", {}).get("bidder")
        if spoken:
            assert nexmark.FIRST_PERSON <= spoken <= newest + nexmark.AHEAD


def test_a_bid_is_on_an_auction_that_is_in_flight_or_on_the_hot_one():
    for number, event in zip(NUMBERS, EVENTS, strict=True):
        if "bid" in event:
            newest = nexmark.There.at(number).auction + nexmark.FIRST_AUCTION
            behind = newest - event["bid"]["auction"]
            assert -nexmark.AHEAD <= behind <= nexmark.IN_FLIGHT


@pytest.mark.parametrize(("kind", "of_whom", "share"), [("bid", "auction", 1 / 2), ("bid", "bidder", 3 / 4)])
def test_the_hot_one_has_its_published_share(kind, of_whom, share):
    first = {"auction": nexmark.FIRST_AUCTION, "bidder": nexmark.FIRST_PERSON + 1}[of_whom]
    hot = [(one[of_whom] - first) % nexmark.HOT_OF == 0 for one in of(kind)]
    assert sum(hot) / len(hot) == pytest.approx(share, abs=0.03)


def test_prices_are_log_uniform_from_a_dollar_to_a_million():
    prices = sorted(one["price"] for one in of("bid"))
    assert prices[0] >= 100
    assert prices[-1] <= 10**8
    assert prices[len(prices) // 2] == pytest.approx(10**5, rel=0.15)


def test_an_auction_ends_after_it_began_and_is_of_a_category_that_there_is():
    assert {one["category"] for one in of("auction")} == set(range(10, 15))
    assert all(0 < one["expires"] - one["dateTime"] <= 10_000 for one in of("auction"))


def test_a_value_is_read_as_any_record_is():
    for number in range(60):
        text = nexmark.value(7, 3, number, 1_700_000_000_000_000)
        assert content(text)[:2] == (7, 3)
        assert json.loads(text)["t"] == 1_700_000_000_000_000
