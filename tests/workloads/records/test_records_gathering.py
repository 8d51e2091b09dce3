"""What may go to the log, and when: nothing of a partition before all that went earlier has been answered for."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from workloads.records.gathering import Gathering


def gathering(partitions=2, most=100, patience_ns=1000):
    return Gathering(partitions=partitions, most=most, patience_ns=patience_ns)


def test_what_waits_goes_at_once_when_its_partition_is_idle():
    some = gathering()
    for record, partition in (("a", 0), ("b", 1), ("c", 0)):
        assert some.add(record, partition, 0)
    assert list(some.take()) == [(0, "a"), (0, "c"), (1, "b")]
    assert some.waiting == 0


def test_what_came_later_waits_until_all_that_went_has_landed():
    some = gathering(partitions=1)
    some.add("a", 0, 0)
    some.add("b", 0, 0)
    list(some.take())
    some.add("c", 0, 0)
    some.landed(0)
    assert list(some.take()) == []
    some.landed(0)
    assert list(some.take()) == [(0, "c")]


def test_a_slow_partition_does_not_hold_another_up():
    some = gathering()
    some.add("a", 0, 0)
    list(some.take())
    some.add("b", 0, 0)
    some.add("c", 1, 0)
    assert list(some.take()) == [(1, "c")]


def test_too_many_are_refused_and_those_there_stay():
    some = gathering(most=1)
    assert some.add("a", 0, 0)
    assert not some.add("b", 1, 0)
    assert list(some.take()) == [(0, "a")]
    assert some.add("b", 1, 0)


def test_one_that_waited_too_long_is_given_up_and_its_followers_are_not():
    some = gathering(partitions=1, patience_ns=10)
    some.add("gone", 0, 0)
    list(some.take())
    some.add("old", 0, 0)
    some.add("young", 0, 5)
    assert list(some.expired(10)) == []
    assert list(some.expired(11)) == [(0, "old")]
    some.landed(0)
    assert list(some.take()) == [(0, "young")]


def test_the_rest_leaves_nothing_behind():
    some = gathering()
    some.add("a", 0, 0)
    some.add("b", 1, 0)
    assert list(some.rest()) == [(0, "a"), (1, "b")]
    assert some.waiting == 0
    assert list(some.take()) == []


@given(st.lists(st.one_of(st.tuples(st.just("add"), st.integers(0, 2)), st.sampled_from(["take", "land", "expire"]))))
def test_every_record_leaves_once_and_those_of_a_partition_in_order(steps):
    some, number, left, flying = gathering(partitions=3, patience_ns=3), 0, [], [0, 0, 0]
    for now, step in enumerate(steps):
        if step == "take":
            for partition, record in some.take():
                flying[partition] += 1
                left.append((partition, record))
        elif step == "land":
            for partition in range(3):
                if flying[partition]:
                    some.landed(partition)
                    flying[partition] -= 1
        elif step == "expire":
            left.extend(some.expired(now))
        else:
            some.add(number, step[1], now)
            number += 1
    left.extend(some.rest())
    assert sorted(record for _, record in left) == list(range(number))
    for partition in range(3):
        own = [record for there, record in left if there == partition]
        assert own == sorted(own)
