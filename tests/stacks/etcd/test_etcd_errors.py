from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaos.model import Outcome
from chaos.stacks.etcd.errors import ROWS, Code, outcome


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.code.name}-{row.message or 'any'}")
def test_each_row_is_what_outcome_answers_and_has_a_reason(row):
    assert outcome(row.code, row.message, True) == (row.outcome, row.why)
    assert row.why


def test_no_error_is_listed_twice():
    assert len({(row.code, row.message) for row in ROWS}) == len(ROWS)


def test_an_answer_is_ok():
    assert outcome(0, "", True)[0] is Outcome.OK


@given(st.sampled_from(list(Code)[1:]), st.text())
def test_what_never_left_the_client_has_failed(code, message):
    assert outcome(code, message, False)[0] is Outcome.FAILED


@given(st.integers(min_value=1, max_value=1000), st.text())
def test_an_error_nobody_knows_is_unknown(code, message):
    known = {(row.code, row.message) for row in ROWS} | {(row.code, message) for row in ROWS if not row.message}
    if (code, message) not in known:
        assert outcome(code, message, True)[0] is Outcome.UNKNOWN


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (Code.UNAVAILABLE, "etcdserver: leader changed"),
        (Code.UNAVAILABLE, "etcdserver: request timed out"),
        (Code.UNAVAILABLE, "etcdserver: no leader, says a proxy"),  # more than etcd's whole text
        (Code.DEADLINE_EXCEEDED, "deadline exceeded"),
        (Code.UNAVAILABLE, "connection reset by peer"),
        (Code.RESOURCE_EXHAUSTED, "etcdserver: mvcc: database space exceeded"),
        (Code.RESOURCE_EXHAUSTED, "grpc: received message larger than max"),
        (Code.INTERNAL, "stream terminated by RST_STREAM"),
    ],
)
def test_what_may_have_been_applied_is_never_called_failed(code, message):
    assert outcome(code, message, True)[0] is Outcome.UNKNOWN


def test_too_many_requests_is_refused_before_it_is_proposed():
    assert outcome(8, "etcdserver: too many requests", True)[0] is Outcome.FAILED
