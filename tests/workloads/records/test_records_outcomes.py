"""What an error says of a record: the table, and that its names are librdkafka's."""

from __future__ import annotations

import pytest
from confluent_kafka import KafkaError

from chaos.model import Outcome
from workloads.records.outcomes import NEVER_SENT, REFUSED_BEFORE_APPENDING, REFUSED_FOR_WHAT_IT_IS, outcome


@pytest.mark.parametrize("retried", [True, False])
@pytest.mark.parametrize(
    ("error", "went"),
    [
        ("", Outcome.OK),
        ("_QUEUE_FULL", Outcome.FAILED),
        ("_PURGE_QUEUE", Outcome.FAILED),
        ("MSG_SIZE_TOO_LARGE", Outcome.FAILED),
        ("_MSG_TIMED_OUT", Outcome.UNKNOWN),
        ("_PURGE_INFLIGHT", Outcome.UNKNOWN),
        ("_TRANSPORT", Outcome.UNKNOWN),
        ("REQUEST_TIMED_OUT", Outcome.UNKNOWN),
        ("NOT_ENOUGH_REPLICAS_AFTER_APPEND", Outcome.UNKNOWN),
        ("OUT_OF_ORDER_SEQUENCE_NUMBER", Outcome.UNKNOWN),
        ("an error of next year", Outcome.UNKNOWN),
    ],
)
def test_what_an_error_says_of_a_record(error, went, retried):
    assert outcome(error, retried=retried)[0] is went


@pytest.mark.parametrize("error", sorted(REFUSED_BEFORE_APPENDING))
def test_a_refusal_of_the_moment_proves_nothing_where_an_earlier_try_may_have_been_written(error):
    assert outcome(error, retried=False)[0] is Outcome.FAILED
    assert outcome(error, retried=True)[0] is Outcome.UNKNOWN


@pytest.mark.parametrize("error", sorted({*NEVER_SENT, *REFUSED_FOR_WHAT_IT_IS, *REFUSED_BEFORE_APPENDING}))
def test_every_row_is_an_error_that_there_is_and_says_why(error):
    assert KafkaError(getattr(KafkaError, error)).name() == error
    assert outcome(error, retried=False)[1]
