"""Who is hit: by role and seed, or as recorded."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaos.aiming import Aim, recorded_victims
from chaos.errors import HarnessError
from chaos.model import Event, EventKind, Node, Selector
from tests.staged import NODES, ToldStack, step

MEMBERS = NODES[:3]


@given(seed=st.integers(), occurrence=st.integers(0, 50), count=st.integers(1, 3))
def test_the_same_seed_picks_the_same_victims_whatever_the_order_of_candidates(seed, occurrence, count):
    one = step(on=Selector(role="member", count=count))
    chosen = Aim(seed=seed).choose(one, occurrence, MEMBERS)
    assert chosen == Aim(seed=seed).choose(one, occurrence, MEMBERS[::-1])
    assert len({node.name for node in chosen}) == count


def test_occurrences_are_drawn_apart():
    chosen = {Aim(seed=1).choose(step(), n, MEMBERS)[0].name for n in range(30)}
    assert chosen == {"n1", "n2", "n3"}


def test_no_candidate_no_victim():
    assert not Aim(seed=1).choose(step(), 0, ())


def test_fewer_candidates_than_asked_for_are_none():
    assert not Aim(seed=1).choose(step(on=Selector(role="member", count=3)), 0, MEMBERS[:2])


def test_recorded_victims_are_chosen_again_in_their_order():
    aim = Aim(seed=1, recorded={("cut", 2): ("n3", "n1")})
    assert [node.name for node in aim.choose(step(), 2, MEMBERS)] == ["n3", "n1"]


def test_an_occurrence_that_was_not_recorded_is_drawn():
    aim = Aim(seed=1, recorded={("cut", 2): ("n3",)})
    assert aim.choose(step(), 0, MEMBERS) == Aim(seed=1).choose(step(), 0, MEMBERS)


def test_a_recorded_victim_that_lost_its_role_is_refused_by_name():
    aim = Aim(seed=1, recorded={("cut", 0): ("n3",)})
    with pytest.raises(HarnessError, match="n3: recorded victim of cut, but not member now"):
        aim.choose(step(), 0, MEMBERS[:2])


def test_a_stack_that_knows_roles_is_asked():
    assert [node.name for node in Aim(seed=1).find(ToldStack(leader="n3"), Selector(role="leader"), 1.0)] == ["n3"]


def test_a_stack_that_knows_no_roles_finds_nobody():
    class Roleless:
        pass

    assert Aim(seed=1).find(Roleless(), Selector(role="leader"), 1.0) == ()


def test_recorded_victims_are_those_of_the_injections():
    hit = Event(at_ns=1, kind=EventKind.INJECT, step="cut", occurrence=1, data={"victims": ["n2"]})
    other = Event(at_ns=2, kind=EventKind.HEAL, step="cut", occurrence=1, data={"victims": ["n9"]})
    assert recorded_victims([hit, other, Event(at_ns=3, kind=EventKind.INJECT)]) == {("cut", 1): ("n2",)}


def test_nodes_of_another_zone_are_left_alone():
    zoned = [Node(name=f"z{n}", role="member", address="", zone="ab"[n % 2]) for n in range(6)]
    chosen = Aim(seed=1).choose(step(on=Selector(role="member", count=3, zone="a")), 0, zoned)
    assert {node.zone for node in chosen} == {"a"}
