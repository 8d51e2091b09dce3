"""Who is what, read from brokers that contradict each other; and what is missing, in words."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chaos.errors import UsageError
from chaos.stacks.kafka import roles
from chaos.stacks.kafka.client import Metadata, Partition, Quorum, View

NAMES = ("kafka1", "kafka2", "kafka3")
WHOLE = Partition(index=0, leader=1, replicas=(1, 2, 3), in_sync=(3, 1, 2))


def view(controller, epoch=None, *, of=2, brokers=(1, 2, 3), topics=None, log_ends=None):
    told = None
    if epoch is not None:
        ends = log_ends or dict.fromkeys((1, 2, 3), 50)
        told = Quorum(leader=of, epoch=epoch, high_watermark=50, log_ends=ends)
    metadata = Metadata(brokers=frozenset(brokers), topics=topics if topics is not None else {"in": (WHOLE,)})
    return View(metadata=metadata, controller=controller, quorum=told)


SOUND = {"kafka1": view(2), "kafka2": view(2, 7), "kafka3": view(2)}


def test_the_active_controller_is_the_one_that_tells_of_the_quorum():
    assert roles.active(SOUND) == "kafka2"
    assert roles.active({"kafka1": view(2)}) is None
    assert roles.active({}) is None


def test_of_two_that_think_they_are_the_newer_epoch_counts():
    parted = {"kafka1": view(1, 6, of=1), "kafka2": view(2, 7), "kafka3": view(2)}
    assert roles.active(parted) == "kafka2"
    assert roles.has_quorum(parted, 3)


def test_one_that_nobody_else_follows_has_no_quorum():
    assert not roles.has_quorum({"kafka1": view(1, 6, of=1), "kafka3": view(-1)}, 3)
    assert roles.has_quorum(SOUND, 3)
    assert not roles.has_quorum({}, 3)


def test_who_leads_a_partition_is_for_the_active_controller_s_node_to_say():
    stale = replace(WHOLE, leader=3)
    seen = {**SOUND, "kafka1": view(2, topics={"in": (stale,)})}
    assert roles.leader_of(seen, "in", 0) == 1
    assert roles.leader_of(seen, "in", 9) is None
    assert roles.leader_of(seen, "out", 0) is None
    nobody = view(2, 7, topics={"in": (replace(WHOLE, leader=-1),)})
    assert roles.leader_of({"kafka2": nobody}, "in", 0) is None
    assert roles.leader_of({"kafka1": view(2)}, "in", 0) is None


def test_a_partition_is_named_by_topic_and_number():
    assert roles.partition_of("in/2") == ("in", 2)
    assert roles.partition_of("a.b/11") == ("a.b", 11)
    for wrong in ("in", "", "in/x", "/2", "in/-1"):
        with pytest.raises(UsageError, match="is no partition; write topic/number"):
            roles.partition_of(wrong)


def test_internal_topics_are_nobody_s_to_aim_at():
    topics = {"in": (WHOLE,), "__consumer_offsets": (WHOLE,)}
    assert [topic for topic, _ in roles.led({"kafka2": view(2, 7, topics=topics)})] == ["in"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"kafka3": None}, "kafka3: no answer"),
        ({"kafka2": view(2)}, "no controller is active"),
        ({"kafka1": view(-1)}, "kafka1: kafka2 is not its active controller"),
        ({"kafka1": view(2, brokers=(1, 2))}, "kafka1: does not know of all brokers"),
        ({}, ""),
    ],
)
def test_what_keeps_brokers_from_being_a_cluster_is_said(change, said):
    seen = {name: one for name, one in {**SOUND, **change}.items() if one is not None}
    assert roles.not_together(seen, NAMES) == said


def test_topics_that_lack_something_are_named():
    found = Metadata(brokers=frozenset((1, 2, 3)), topics={"in": (WHOLE, replace(WHOLE, index=1, in_sync=(1, 2)))})
    assert roles.lacking_topics(found, {"in": 2}) == "not all replicas are in sync: in/1"
    assert roles.lacking_topics(found, {"in": 4, "out": 1}) == "no topic in, out"
    led_by_none = Metadata(brokers=frozenset((1, 2, 3)), topics={"in": (replace(WHOLE, leader=-1),)})
    assert roles.not_in_sync(led_by_none) == "not all replicas are in sync: in/0"
    assert roles.lacking_topics(Metadata(brokers=frozenset(), topics={"in": (WHOLE,)}), {"in": 1}) == ""


def test_a_broker_is_back_when_its_replicas_and_its_vote_are():
    assert roles.not_back(SOUND, NAMES, "kafka1") == ""
    assert roles.not_back({"kafka2": view(2, 7)}, NAMES, "kafka1") == "kafka1, kafka3: no answer"
    behind = {**SOUND, "kafka2": view(2, 7, topics={"in": (replace(WHOLE, in_sync=(2, 3)),)})}
    assert roles.not_back(behind, NAMES, "kafka1") == "not all replicas are in sync: in/0"
    slow = {**SOUND, "kafka2": view(2, 7, log_ends={1: 40, 2: 50, 3: 50})}
    assert roles.not_back(slow, NAMES, "kafka1") == "kafka1: the quorum's log ends at 40 of 50"
