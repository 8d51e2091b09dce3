"""Each rule by the history that a checker without it gets wrong."""

from __future__ import annotations

import pytest
from notation import FAILED, UNKNOWN, append, cas, get, is_illegal, is_ok, judged, put, refused

from gates.linearizability import Answer, History, check

# ---------------------------------------------------------------- 1. real time


def test_operations_that_touch_are_concurrent():
    assert is_ok(put("a", 1, 5), get(None, 5, 6))


def test_operations_apart_by_a_nanosecond_are_ordered():
    assert is_illegal(put("a", 1, 4), get(None, 5, 6))


def test_a_client_may_overlap_itself():
    assert is_ok(put("a", 1, 9, client=1), get(None, 2, 3, client=1), get("a", 4, 5, client=1))


# ---------------------------------------------------------------- 2. unknown and failed


def test_an_unknown_write_may_take_effect_long_after_its_recorded_return():
    assert is_ok(put("a", 1, 2, **UNKNOWN), get(None, 3, 4), get("a", 5, 6))


def test_an_unknown_write_may_never_take_effect():
    assert is_ok(put("a", 1, 2, **UNKNOWN), get(None, 3, 4))


def test_an_unknown_write_does_not_come_before_its_call():
    assert is_illegal(get("a", 1, 2), put("a", 3, None, **UNKNOWN))


def test_an_unknown_write_seen_once_stays():
    assert is_illegal(put("a", 1, None, **UNKNOWN), get("a", 2, 3), get(None, 4, 5))


def test_an_unknown_get_saw_nothing():
    assert is_ok(put("a", 1, 2), get("nonsense", 3, 4, **UNKNOWN))


def test_a_failed_write_is_never_seen_and_the_reason_says_that_it_failed():
    result = judged(put("a", 1, 2, **FAILED), get("a", 3, 4))
    assert result.answer is Answer.ILLEGAL
    assert "failed" in result.reason
    assert [o.op for o in result.witness] == ["put", "get"]


def test_a_swap_does_not_expect_what_only_a_failed_write_wrote():
    assert is_illegal(put("a", 1, 2, **FAILED), cas("a", "b", 3, 4))


def test_a_failed_write_of_a_value_does_not_forbid_another_write_of_it():
    assert is_ok(put("a", 1, 2, **FAILED), put("a", 3, 4), get("a", 5, 6))


def test_a_value_from_nowhere_is_illegal_and_named():
    result = judged(put("a", 1, 2), get("ghost", 1, 4))
    assert result.answer is Answer.ILLEGAL
    assert 'nobody wrote "ghost"' in result.reason


# ---------------------------------------------------------------- 3. the first state


def test_every_key_starts_absent():
    assert is_ok(get(None, 1, 2), put("a", 3, 4))
    assert is_illegal(put("a", 1, 2), get("a", 3, 4), get(None, 5, 6))


def test_absence_does_not_come_back_while_a_value_is_read():
    assert is_illegal(put("a", 1, 9), get("a", 2, 3), get(None, 4, 5))


def test_a_swap_may_expect_absence_once():
    assert is_ok(cas(None, "a", 1, 2), get("a", 3, 4))
    assert is_illegal(cas(None, "a", 1, 2), cas(None, "b", 1, 2))


# ---------------------------------------------------------------- 4. which unknown writes took effect


def test_an_unknown_swap_that_was_seen_has_seen_what_it_expected():
    chain = (put("a", 1, 2, **UNKNOWN), cas("a", "b", 3, None, **UNKNOWN), get("b", 5, 6))
    assert is_ok(*chain)
    assert is_illegal(*chain, get(None, 7, 8))
    assert is_illegal(*chain, get("a", 7, 8))


def test_what_an_unknown_swap_expected_is_traced_through_other_unknown_swaps():
    chain = (put("a", 1, 2), cas("a", "b", 1, None, **UNKNOWN), cas("b", "c", 1, None, **UNKNOWN), get("c", 5, 6))
    assert is_ok(*chain)
    assert is_illegal(*chain, get("b", 7, 8))


def test_what_an_unknown_swap_expected_was_called_before_the_swap_was_seen():
    swap = cas("a", "b", 1, None, **UNKNOWN)
    assert is_ok(put("a", 4, None, **UNKNOWN), swap, get("b", 3, 4))
    assert is_illegal(put("a", 5, None, **UNKNOWN), swap, get("b", 3, 4))


def test_an_unknown_swap_that_was_seen_cannot_have_expected_a_value_from_nowhere():
    assert is_illegal(cas("ghost", "b", 1, None, **UNKNOWN), get("b", 5, 6))
    assert is_ok(cas("ghost", "b", 1, None, **UNKNOWN), get(None, 5, 6))


def test_an_unknown_write_that_nobody_saw_forbids_nothing():
    assert is_ok(put("a", 1, 2), put("b", 3, None, **UNKNOWN), get("a", 4, 5), get("a", 6, 7))


# ---------------------------------------------------------------- 5. chains of swaps


def test_two_swaps_of_one_value_contradict():
    assert is_illegal(put("a", 1, 2), cas("a", "b", 3, 9), cas("a", "c", 3, 9))


def test_one_of_two_swaps_of_a_value_may_be_unknown_and_without_effect():
    assert is_ok(put("a", 1, 2), cas("a", "b", 3, 9), cas("a", "c", 3, 9, **UNKNOWN), get("b", 10, 11))


def test_swaps_that_go_round_in_a_circle_contradict():
    assert is_illegal(cas("a", "b", 1, 9), cas("b", "a", 1, 9))
    assert is_illegal(put("z", 1, 9), cas("a", "b", 1, 9), cas("b", "c", 1, 9), cas("c", "a", 1, 9))


def test_a_swap_does_not_return_before_the_write_that_it_found():
    assert is_illegal(cas("a", "b", 1, 2), put("a", 3, 4))
    assert is_ok(cas("a", "b", 1, 3), put("a", 3, 4))


def test_a_read_of_a_value_does_not_follow_the_swap_that_ended_it():
    assert is_ok(put("a", 1, 2), cas("a", "b", 3, 6), get("a", 5, 7))
    assert is_illegal(put("a", 1, 2), cas("a", "b", 3, 4), get("a", 5, 6))


def test_the_order_in_a_chain_holds_across_several_swaps():
    assert is_illegal(put("a", 1, 9), cas("a", "b", 1, 9), cas("b", "c", 1, 3), get("a", 4, 9))


def test_nothing_comes_between_a_swap_and_what_it_found():
    assert is_ok(put("a", 1, 2), put("q", 1, 9), cas("a", "b", 5, 6))
    assert is_illegal(put("a", 1, 2), put("q", 3, 4), cas("a", "b", 5, 6))


# ---------------------------------------------------------------- 6. zones


def test_two_forward_zones_that_overlap_contradict():
    assert is_illegal(put("a", 1, 2), put("b", 3, 4), get("a", 5, 6), get("b", 7, 8))


def test_two_forward_zones_that_touch_are_fine():
    assert is_ok(put("a", 1, 2), get("a", 5, 6), put("b", 1, 5), get("b", 7, 8))


def test_a_backward_zone_inside_a_forward_zone_contradicts():
    result = judged(put("a", 1, 2), put("b", 3, 4), get("a", 5, 6))
    assert result.answer is Answer.ILLEGAL
    assert [o.value for o in result.witness] == ["a", "b", "a"]


@pytest.mark.parametrize(("call", "end"), [(2, 4), (3, 5), (1, 3), (1, 9)])
def test_a_backward_zone_that_reaches_an_edge_of_a_forward_zone_is_fine(call, end):
    assert is_ok(put("a", 1, 2), put("b", call, end), get("a", 5, 6))


def test_keys_are_judged_apart():
    assert is_ok(put("a", 1, 2), put("b", 3, 4, key="y"), get("a", 5, 6), get(None, 1, 2, key="y"))


def test_a_long_forward_zone_is_seen_past_short_ones_of_other_keys():
    others = [op for n in range(4) for op in (put(f"o{n}", 1, 2, key=f"k{n}"), get(f"o{n}", 8, 9, key=f"k{n}"))]
    assert is_illegal(*others, put("a", 1, 2), put("b", 3, 4), get("a", 5, 6))


# ---------------------------------------------------------------- 7. refused swaps


def test_a_refused_swap_contradicts_a_value_that_was_there_all_along():
    result = judged(put("a", 1, 2), get("a", 3, 4), refused("a", 5, 6), get("a", 7, 8))
    assert result.answer is Answer.ILLEGAL
    assert "not swapped" in result.reason
    assert result.methods["search"] == 0
    assert len(result.witness) <= 4


def test_a_refused_swap_of_absence_contradicts_a_key_that_was_absent():
    assert is_illegal(refused(None, 1, 2), get(None, 3, 4))
    assert is_ok(refused(None, 1, 9), put("a", 2, 3))


def test_a_refused_swap_may_stand_before_or_after_the_value_it_expected():
    assert is_ok(put("a", 1, 5), refused("a", 4, 6))
    assert is_ok(put("a", 1, 2), refused("a", 3, 6), put("b", 5, 8))
    assert is_ok(refused("ghost", 1, 2))


def test_a_refused_swap_may_see_a_write_that_is_called_as_it_returns():
    result = judged(put("a", 1, 2), refused("a", 3, 5), put("b", 5, 8))
    assert result.answer is Answer.OK
    assert result.methods["search"] == 0


def test_a_refused_swap_with_no_write_to_end_its_value_is_illegal():
    assert is_illegal(put("a", 1, 2), refused("a", 3, 4))
    assert is_illegal(put("a", 1, 2), refused("a", 3, 4), put("b", 5, 6))


def test_an_unseen_unknown_write_may_be_what_a_refused_swap_saw():
    result = judged(put("a", 1, 2), put("b", 1, None, **UNKNOWN), refused("a", 5, 6))
    assert result.answer is Answer.OK
    assert result.methods["search"] == 1


def test_a_refused_swap_may_have_seen_any_of_the_writes_of_a_repeated_value_gone():
    assert is_ok(put("a", 1, 2), put("b", 3, 4), refused("a", 5, 6), put("a", 7, 8))
    assert is_illegal(put("a", 1, 2), put("b", 3, 4), put("a", 5, 6), refused("a", 7, 8))
    assert is_illegal(put("a", 1, 2), refused("a", 3, 4), put("a", 5, 6))


def test_refused_swaps_keep_their_own_order():
    early = (put("a", 1, 2), put("b", 3, 20))
    assert is_ok(*early, refused("a", 4, 8), refused("b", 4, 7))
    assert is_ok(*early, refused("b", 4, 7), refused("a", 9, 12))
    assert is_illegal(*early, refused("a", 4, 7), refused("b", 9, 12))


# ---------------------------------------------------------------- 8. what the fast path can't decide


def test_a_value_written_twice_may_be_read_from_either():
    result = judged(put("a", 1, 2), put("b", 3, 4), put("a", 5, 6), get("a", 7, 8))
    assert result.answer is Answer.OK
    assert result.methods == {"blocks": 0, "search": 1}
    assert is_illegal(put("a", 1, 2), put("a", 3, 4), put("b", 5, 6), get("a", 7, 8))


def test_a_repeated_value_that_nobody_reads_stays_on_the_fast_path():
    result = judged(put("a", 1, 2), put("a", 3, 4), put("b", 5, 6), get("b", 7, 8))
    assert result.answer is Answer.OK
    assert result.methods == {"blocks": 1, "search": 0}
    assert is_illegal(put("b", 1, 2), put("a", 3, 4), put("a", 5, 6), get("b", 7, 8))


def test_a_swap_to_the_same_value_changes_nothing():
    assert is_ok(put("a", 1, 2), cas("a", "a", 3, 4), cas("a", "a", 5, 6), get("a", 7, 8))
    assert is_illegal(put("a", 1, 2), put("b", 3, 4), cas("a", "a", 5, 6))


def test_null_may_be_written():
    assert is_ok(put("a", 1, 2), put(None, 3, 4), get(None, 5, 6))
    assert is_illegal(put("a", 1, 2), put(None, 3, 4), get("a", 5, 6))


def test_empty_text_is_a_value_of_its_own_where_nothing_is_appended():
    assert is_ok(put("", 1, 2), get("", 3, 4))
    assert is_illegal(put("", 1, 2), get(None, 3, 4))


def test_only_the_offending_key_is_searched():
    result = judged(put("a", 1, 2), put("a", 3, 4), get("a", 5, 6), *(put(f"{n}", 1, 2, key=f"k{n}") for n in range(5)))
    assert result.methods == {"blocks": 5, "search": 1}


# ---------------------------------------------------------------- 9. values, appends


@pytest.mark.parametrize("other", [1.0, True, "1", [1], {"n": 1}])
def test_values_are_compared_as_typed_json(other):
    assert is_ok(put(1, 1, 2), get(1, 3, 4))
    assert is_illegal(put(1, 1, 2), get(other, 3, 4))


def test_objects_are_equal_whatever_the_order_of_their_members():
    assert is_ok(put({"a": 1, "b": [2]}, 1, 2), get({"b": [2], "a": 1}, 3, 4))


def test_appends_are_read_as_one_text():
    assert is_ok(get(None, 1, 2), append("a", 3, 4), append("b", 3, 5), get("ba", 6, 7))
    assert is_ok(get("", 1, 2), append("a", 3, 4))
    assert is_illegal(append("a", 1, 2), append("b", 3, 4), get("ba", 5, 6))
    assert is_illegal(append("a", 1, 2), get("", 3, 4))


def test_an_append_that_was_read_stays():
    assert is_illegal(append("a", 1, None, **UNKNOWN), get("a", 2, 3), append("b", 4, 5), get("b", 6, 7))
    assert is_ok(append("a", 1, None, **UNKNOWN), append("b", 4, 5), get("b", 6, 7), get("ba", 8, 9))


def test_reads_of_an_appended_text_only_grow():
    assert is_illegal(append("a", 1, 2), append("b", 1, 9), get("ab", 3, 4), get("a", 5, 6))


def test_an_append_that_returned_is_in_every_later_text():
    result = judged(append("a", 1, 2), append("b", 1, 9), get("b", 3, 9))
    assert result.answer is Answer.ILLEGAL
    assert [o.op for o in result.witness] == ["append", "get"]


def test_appends_mix_with_puts_and_swaps():
    assert is_ok(append("a", 1, 2), cas("a", "q", 3, 4), append("b", 5, 6), get("qb", 7, 8))
    assert is_illegal(append("a", 1, 2), put("q", 3, 4), append("b", 5, 6), get("ab", 7, 8))


# ---------------------------------------------------------------- 10. cut-short recordings


LOST = {"cut_short": {"g1": 50}}


def test_a_value_that_a_cut_short_generator_may_have_written_is_no_proof():
    assert judged(put("a", 1, 2), get("late", 60, 61), **LOST).answer is Answer.OK


def test_a_violation_that_rests_on_a_lost_write_is_unknown():
    result = judged(put("a", 1, 2), get("late", 3, 4), **LOST)
    assert result.answer is Answer.UNKNOWN
    assert "g1 was cut short" in result.reason
    again = judged(get("late", 60, 61), put("a", 62, 63), get("late", 64, 65), **LOST)
    assert again.answer is Answer.UNKNOWN


def test_a_violation_among_recorded_values_stays_illegal_in_a_cut_short_recording():
    stale = (put("a", 1, 2), put("b", 3, 4), get("a", 5, 6))
    assert judged(*stale, get("late", 60, 61), **LOST).answer is Answer.ILLEGAL
    assert judged(put("f", 1, 2, **FAILED), get("f", 3, 4), **LOST).answer is Answer.ILLEGAL


def test_a_swap_from_a_lost_value_still_counts_as_a_write():
    swap = cas("late", "b", 60, 61)
    assert judged(swap, get("b", 62, 63), **LOST).answer is Answer.OK
    assert judged(swap, put("c", 64, 65), get("b", 66, 67), **LOST).answer is Answer.ILLEGAL


def test_a_refused_swap_may_have_seen_a_lost_write():
    around = (put("a", 1, 2), get("a", 3, 4), refused("a", 60, 61))
    assert judged(*around, get("a", 70, 71)).answer is Answer.ILLEGAL
    assert judged(*around, get("a", 70, 71), **LOST).answer is Answer.UNKNOWN


def test_the_earliest_flush_of_several_counts():
    assert judged(get("late", 60, 61), cut_short={"g1": 90, "g2": 50}).answer is Answer.OK
    assert judged(get("late", 60, 61), cut_short={"g1": 90}).answer is Answer.UNKNOWN


# ---------------------------------------------------------------- silence, budget


def test_an_empty_history_proves_nothing():
    result = check(History.of([]))
    assert result.answer is Answer.UNKNOWN
    assert "no operations" in result.reason


def test_a_history_of_failures_only_is_fine_but_is_counted():
    assert judged(put("a", 1, 2, **FAILED)).answer is Answer.OK


def _hopeless():
    """One read that nothing explains, after so many concurrent repeats that all orders can't be tried."""
    crowd = [put(f"v{n % 9}", 1, 100) for n in range(40)] + [get(f"v{n % 9}", 1, 100) for n in range(40)]
    return [*crowd, put("end", 200, 201), cas("end", "end", 300, 301), get("v1", 400, 401)]


def test_a_search_out_of_time_is_unknown_and_says_how_far_it_got():
    ticks = iter(range(10**9))
    result = check(History.of(_hopeless()), budget_s=20, now=lambda: float(next(ticks)))
    assert result.answer is Answer.UNKNOWN
    assert "time" in result.reason
    assert "operations placed" in result.reason


def test_a_search_out_of_memory_is_unknown():
    result = check(History.of(_hopeless()), budget_bytes=50_000)
    assert result.answer is Answer.UNKNOWN
    assert "memory" in result.reason


def test_a_violation_on_one_key_counts_although_another_ran_out_of_budget():
    stale = (put("a", 1, 2, key="y"), put("b", 3, 4, key="y"), get("a", 5, 6, key="y"))
    result = check(History.of([*_hopeless(), *stale]), budget_bytes=50_000)
    assert result.answer is Answer.ILLEGAL
    assert result.key == "y"
