"""The fast path, the search and brute force agree on random tiny histories with ties, unknowns and chains."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import KINDS, explained, tiny

from chaos.model import Outcome
from gates.linearizability import Answer, History, check
from gates.linearizability.roles import roles_of
from gates.linearizability.search import Budget
from gates.linearizability.steps import rows_of, search_of

BATCH = 2_000  # tiny histories, each on a key of its own


def searched(history):
    """Return the answers of the search alone, one a key; it must not run out of its budget."""
    roles = roles_of(history)
    nowhere = set(history.key[roles.never_written()].tolist())  # judged before either path
    answers = []
    for key in range(len(history.keys)):
        budget = Budget(now=lambda: 0.0, until=1.0, memory_bytes=1 << 28)
        answer = search_of(roles, rows_of(roles, key)).run(budget).answer
        answers.append(Answer.ILLEGAL if key in nowhere else answer)
    return answers


def batch(seed):
    rng = random.Random(seed)
    kinds = sorted(KINDS)
    return [tiny(rng, kinds[n % len(kinds)], key=f"k{n}") for n in range(BATCH)]


def agree(seed):
    """Check a batch: the legal ones as one history, which must be ok; the illegal ones each alone."""
    histories = batch(seed)
    legal = [explained(operations) for operations in histories]
    whole = History.of([o for operations in histories for o in operations])
    assert searched(whole) == [Answer.OK if fine else Answer.ILLEGAL for fine in legal]
    good = [o for operations, fine in zip(histories, legal, strict=True) if fine for o in operations]
    assert check(History.of(good)).answer is Answer.OK
    bad = [operations for operations, fine in zip(histories, legal, strict=True) if not fine]
    assert len(bad) > BATCH // 20
    for operations in bad:
        result = check(History.of(operations))
        assert result.answer is Answer.ILLEGAL, operations
        assert result.witness, operations


@pytest.mark.parametrize("seed", range(4))
def test_fast_path_search_and_brute_force_agree(seed):
    agree(seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 146))
def test_fast_path_search_and_brute_force_agree_on_a_hundred_thousand(seed):
    agree(seed)


def test_a_witness_without_swaps_is_illegal_by_itself():
    found = 0
    for seed in range(1_500):
        operations = tiny(random.Random(seed), "unique")
        result = check(History.of(operations))
        if result.answer is Answer.ILLEGAL:
            found += 1
            assert not explained(result.witness), (seed, result)
            assert len(result.witness) <= 6
    assert found > 15


def test_a_searched_witness_is_illegal_by_itself():
    found = 0
    for seed in range(1_000):
        result = check(History.of(tiny(random.Random(seed), "repeats")))
        if result.answer is Answer.ILLEGAL and "no order" in result.reason:
            found += 1
            assert not explained(result.witness), (seed, result)
    assert found > 15


# ---------------------------------------------------------------- properties

histories = st.builds(
    lambda seed, kind: tiny(random.Random(seed), kind), st.integers(0, 10**9), st.sampled_from(sorted(KINDS))
)


def answer(operations):
    return check(History.of(operations)).answer


@settings(deadline=None)
@given(histories)
def test_the_order_of_lines_does_not_matter(operations):
    assert answer(operations) is answer(operations[::-1])


@settings(deadline=None)
@given(histories, st.integers(1, 10**6), st.integers(-(10**15), 10**15))
def test_only_the_order_of_times_matters(operations, factor, offset):
    moved = [
        replace(o, call_ns=o.call_ns * factor + offset, return_ns=o.return_ns * factor + offset) for o in operations
    ]
    assert answer(operations) is answer(moved)


@settings(deadline=None)
@given(histories, st.data())
def test_longer_operations_never_make_a_good_history_bad(operations, data):
    if answer(operations) is Answer.OK:
        longer = [replace(o, return_ns=o.return_ns + data.draw(st.integers(0, 9))) for o in operations]
        assert answer(longer) is Answer.OK


@settings(deadline=None)
@given(histories, st.data())
def test_doubt_never_makes_a_good_history_bad(operations, data):
    if answer(operations) is Answer.OK:
        doubted = [replace(o, outcome=Outcome.UNKNOWN) if data.draw(st.booleans()) else o for o in operations]
        seen = any(o.op == "cas" and not o.swapped for o in operations)  # a refused swap may be an unknown one
        assert seen or answer(doubted) is Answer.OK


@settings(deadline=None)
@given(histories)
def test_without_its_gets_a_good_history_stays_good(operations):
    if answer(operations) is Answer.OK:
        assert answer([o for o in operations if o.op != "get"] or operations) is Answer.OK


@settings(deadline=None)
@given(histories)
def test_a_cut_short_recording_only_ever_takes_certainty_away(operations):
    certain, doubtful = answer(operations), check(History.of(operations), cut_short={"g": 0}).answer
    assert doubtful is certain or (certain is Answer.ILLEGAL and doubtful is not certain)


@settings(deadline=None)
@given(st.lists(histories, min_size=1, max_size=4))
def test_keys_are_independent(several):
    named = [replace(o, key=f"k{n}") for n, operations in enumerate(several) for o in operations]
    answers = [answer(operations) for operations in several]
    assert (answer(named) is Answer.OK) == all(one is Answer.OK for one in answers)


@settings(deadline=None)
@given(histories)
def test_rows_choose_the_same_operations_as_building_anew(operations):
    history, rng = History.of(operations), np.random.default_rng(1)
    chosen = rng.random(len(history)) < 0.5
    kept = [history.operation(int(row)) for row in np.flatnonzero(chosen)]
    again = history.rows(chosen)
    assert [again.operation(row) for row in range(len(again))] == kept
