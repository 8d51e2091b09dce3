"""Spans follow what was seen, not what was planned."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chaos.clock import NS
from chaos.model import Cut, Event, EventKind, Proof, Span, StackAction
from chaos.testing import RecordingBuilder
from chaos.windows import Windows, union, windows


def at(seconds: float) -> int:
    return int(1000 * NS + seconds * NS)


def seen(builder: RecordingBuilder) -> Windows:
    return builder.build().windows


def test_without_steps_the_steady_window_is_the_whole_run():
    builder = RecordingBuilder()
    builder.traffic(5)
    spans = seen(builder)
    assert spans.steady == spans.run == (at(0), at(5))
    assert spans.faults == spans.recoveries == ()


def test_steady_fault_and_recovery_follow_each_other():
    builder = RecordingBuilder()
    builder.traffic(4)
    with builder.fault("cut", "etcd1", action=Cut(peers=("etcd2",))):
        builder.traffic(2)
    builder.traffic(3)
    spans = seen(builder)
    assert spans.steady == (at(0), at(4))
    assert spans.select(Span.FAULT) == [(at(4), at(6))]
    assert spans.select(Span.RECOVERY) == [(at(6), at(9))]
    assert spans.faults[0].healed
    assert spans.faults[0].kinds == ("cut",)


def test_a_fault_begins_when_its_effect_was_seen_and_steady_ends_when_it_was_asked_for():
    builder = RecordingBuilder()
    builder.traffic(4)
    with builder.fault("cut", "etcd1", confirmed=None):
        builder.traffic(1)
        builder.evidence(EventKind.CONFIRM, "confirm", "etcd1", Proof.CONFIRMED, step="cut")
        builder.traffic(1)
    spans = seen(builder)
    assert spans.steady == (at(0), at(4))
    assert spans.select(Span.FAULT) == [(at(5), at(6))]


def test_a_fault_whose_heal_was_never_proved_lasts_to_the_end_and_has_no_recovery():
    for proof in (None, Proof.MISMATCH, Proof.INCONCLUSIVE):
        builder = RecordingBuilder()
        builder.traffic(4)
        with builder.fault("cut", "etcd1", healed=proof):
            builder.traffic(1)
        builder.traffic(3)
        spans = seen(builder)
        assert not spans.faults[0].healed
        assert spans.select(Span.FAULT) == [(at(4), at(8))]
        assert spans.select(Span.RECOVERY) == []


def test_a_heal_counts_only_when_every_victim_is_whole():
    builder = RecordingBuilder()
    builder.traffic(4)
    with builder.fault("cut", "etcd1", "etcd2", healed=None):
        builder.traffic(1)
    builder.evidence(EventKind.HEAL, "heal", "etcd1", Proof.CONFIRMED, step="cut")
    builder.traffic(3)
    assert not seen(builder).faults[0].healed


def test_the_last_victim_ends_the_fault():
    builder = RecordingBuilder()
    with builder.fault("cut", "etcd1", "etcd2", healed=None):
        builder.traffic(1)
    builder.evidence(EventKind.HEAL, "heal", "etcd1", Proof.CONFIRMED, step="cut")
    builder.traffic(2)
    builder.evidence(EventKind.HEAL, "heal", "etcd2", Proof.CONFIRMED, step="cut")
    builder.traffic(1)
    assert seen(builder).faults[0].end_ns == at(3)


def test_a_heal_first_unproved_and_then_proved_is_a_heal():
    builder = RecordingBuilder()
    with builder.fault("cut", "etcd1", healed=Proof.INCONCLUSIVE):
        builder.traffic(1)
    builder.traffic(1)
    builder.evidence(EventKind.HEAL, "heal", "etcd1", Proof.CONFIRMED, step="cut")
    assert seen(builder).faults[0].end_ns == at(2)


def test_an_operation_of_the_stack_lasts_from_the_asking_to_its_end():
    builder = RecordingBuilder()
    builder.traffic(2)
    with builder.fault("restart", "etcd1", action=StackAction(operation="restart"), confirmed=None, healed=None):
        builder.traffic(3)
    builder.evidence(EventKind.CONFIRM, "confirm", "etcd1", Proof.CONFIRMED, step="restart")
    builder.traffic(1)
    spans = seen(builder)
    assert spans.select(Span.FAULT) == [(at(2), at(5))]
    assert spans.faults[0].healed


def test_overlapping_faults_are_one_window_and_recovery_waits_for_the_last():
    builder = RecordingBuilder()
    builder.traffic(1)
    with builder.fault("outer", "etcd1"):
        builder.traffic(1)
        with builder.fault("inner", "etcd2"):
            builder.traffic(1)
        builder.traffic(1)
    builder.traffic(2)
    spans = seen(builder)
    assert spans.select(Span.FAULT) == [(at(1), at(4))]
    assert [(r.step, r.start_ns) for r in spans.recoveries] == [("outer", at(4))]


def test_recovery_ends_where_the_next_fault_is_asked_for():
    builder = RecordingBuilder()
    for occurrence in range(3):
        with builder.fault("kill", "etcd1", occurrence=occurrence):
            builder.traffic(1)
        builder.traffic(2)
    spans = seen(builder)
    assert spans.select(Span.RECOVERY) == [(at(1), at(3)), (at(4), at(6)), (at(7), at(9))]


def test_a_run_that_never_held_its_load_has_no_windows():
    spans = windows([Event(at_ns=1, kind=EventKind.RUN, detail="begin")])
    assert spans.run is spans.steady is None
    assert all(spans.select(span) == [] for span in Span)


def test_a_run_without_an_end_ends_with_its_last_event():
    builder = RecordingBuilder()
    builder.traffic(3)
    assert builder.build(complete=False).windows.run == (at(0), at(3))


@pytest.mark.parametrize("phase", ["drain", "final reads", "tear-down"])
def test_traffic_ends_with_the_first_ending_phase(phase):
    builder = RecordingBuilder()
    builder.traffic(3)
    builder.phase(phase)
    builder.clock.advance(5)
    builder.event(EventKind.RUN, "complete")
    assert builder.build(end=False).windows.run == (at(0), at(3))


TIMES = st.integers(0, 60)


@given(st.lists(st.tuples(TIMES, TIMES)), TIMES, TIMES)
def test_a_union_is_sorted_disjoint_inside_and_covers_what_its_parts_cover(spans, start, end):
    merged = union(spans, within=(start, end))
    edges = [edge for span in merged for edge in span]
    assert edges == sorted(set(edges))
    covered = {t for a, b in merged for t in range(a, b)}
    assert covered == {t for a, b in spans for t in range(max(a, start), min(b, end))}


@settings(deadline=None)  # the machine may be busy
@given(st.permutations(range(30)))
def test_the_order_in_which_events_were_written_does_not_matter(order):
    builder = RecordingBuilder(rate_per_s=1)
    builder.traffic(2)
    with builder.fault("cut", "etcd1"):
        builder.traffic(2)
    builder.traffic(2)
    events = [event for event in builder.build().events if event.kind is not EventKind.VERSION]
    shuffled = [events[place] for place in order if place < len(events)]
    assert windows(shuffled) == windows(events)


def test_a_healed_fault_that_nothing_follows_is_known_unless_another_covers_it():
    builder = RecordingBuilder()
    builder.traffic(4)
    with builder.fault("outer", "etcd1"):
        with builder.fault("inner", "etcd2"):
            builder.traffic(1)
        builder.traffic(1)
    assert [fault.step for fault in seen(builder).unfollowed] == ["outer"]
