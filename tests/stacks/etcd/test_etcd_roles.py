from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from chaos.stacks.etcd import roles
from chaos.stacks.etcd.client import MemberStatus


def says(member_id, *, leader, term):
    return MemberStatus(
        member_id=member_id,
        leader=leader,
        raft_term=term,
        raft_index=9,
        applied_index=9,
        revision=3,
        version="3.5.35",
        db_size_bytes=1,
    )


HEALTHY = {"a": says(1, leader=2, term=7), "b": says(2, leader=2, term=7), "c": says(3, leader=2, term=7)}


def test_the_leader_is_who_says_so_of_itself():
    assert roles.leader(HEALTHY) == "b"
    assert roles.followers(HEALTHY) == ("a", "c")
    assert roles.not_ready(HEALTHY, ("a", "b", "c")) == ""


def test_a_leader_cut_off_loses_to_the_higher_term():
    seen = {**HEALTHY, "a": says(1, leader=1, term=8), "c": says(3, leader=1, term=8)}
    assert roles.leader(seen) == "a"
    assert roles.followers(seen) == ("c",)
    assert "b: does not follow a" in roles.not_ready(seen, ("a", "b", "c"))


def test_a_leader_that_nobody_heard_of_itself_is_nobody():
    assert roles.leader({k: v for k, v in HEALTHY.items() if k != "b"}) is None
    assert roles.followers({"a": HEALTHY["a"]}) == ()
    assert roles.not_ready({"a": HEALTHY["a"]}, ("a",)) == "nobody leads"


def test_no_leader_is_not_a_member_without_an_id():
    assert roles.leader({"a": says(0, leader=0, term=1)}) is None


def test_silence_is_not_readiness():
    assert roles.not_ready({"b": HEALTHY["b"]}, ("a", "b")) == "a: no answer"


def test_a_quorum_is_counted_of_all_members_not_of_those_that_answer():
    two = {k: HEALTHY[k] for k in ("a", "b")}
    assert roles.has_quorum(two, 3)
    assert not roles.has_quorum(two, 4)
    assert not roles.has_quorum({"b": HEALTHY["b"]}, 3)
    assert not roles.has_quorum({}, 1)


@given(
    st.dictionaries(
        st.sampled_from("abcde"),
        st.builds(says, st.integers(0, 3), leader=st.integers(0, 3), term=st.integers(1, 3)),
    )
)
def test_leader_and_followers_are_never_the_same_and_agree(statuses):
    first, others = roles.leader(statuses), roles.followers(statuses)
    assert first not in others
    assert (first is None) <= (others == ())
    assert all(statuses[n].raft_term == statuses[first].raft_term for n in others)
    if roles.not_ready(statuses, tuple(statuses)) == "":
        assert roles.has_quorum(statuses, len(statuses))


def test_a_leader_is_made_by_a_move_and_a_follower_by_moving_it_away():
    assert roles.successor("leader", ["c"], HEALTHY) == "c"
    assert roles.successor("leader", ["b"], HEALTHY) == ""
    assert roles.successor("leader", ["gone"], HEALTHY) == ""
    assert roles.successor("follower", ["b"], HEALTHY) == "a"
    assert roles.successor("follower", ["a", "b"], HEALTHY) == "c"
    assert roles.successor("follower", ["a", "b", "c"], HEALTHY) == ""
    assert roles.successor("follower", ["a"], HEALTHY) == ""
    assert roles.successor("member", ["b"], HEALTHY) == ""
