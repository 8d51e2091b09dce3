from __future__ import annotations

import itertools
import random

import pytest

from chaos.model import Outcome
from chaos.stacks.etcd.errors import outcome
from workloads import etcd_messages as etcd
from workloads.kv import Keys, KvClient, Site, client_numbers, short
from workloads.readback import ReadBack
from workloads.sabotage import AckBeforeWrite, StaleReads
from workloads.settings import KvSettings, Mix
from workloads.unary import CallError, Unary


class Script:
    """A transport that plays a list of answers and errors, and keeps what was asked."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.asked = []
        self.closed = 0

    def call(self, method, message):
        self.asked.append((method, message))
        answer = self.answers.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def close(self):
        self.closed += 1


TIMEOUT = CallError(4, "no answer within 1 s", sent=True)
REFUSED = CallError(14, "connection refused", sent=False)


def make_site(dial, rows, *, members=("etcd1", "etcd2", "etcd3"), pauses=None, **settings):
    return Site(
        settings=KvSettings(**settings),
        members=members,
        dial=dial,
        keys=Keys(run_id="run", registers=settings.get("keys", 100)),
        clients=client_numbers(0, 1),
        record=rows.extend,
        outcome=outcome,
        pause=(pauses if pauses is not None else []).append,
    )


def client_of(script, rows, *, number=0, **settings):
    dialled = []
    site = make_site(lambda member: dialled.append(member) or script, rows, **settings)
    client = KvClient(site, number, random.Random(1))
    client.dialled = dialled
    return client


def test_an_answered_put_is_recorded_with_its_revision():
    rows = []
    client_of(Script(etcd.put_response(7)), rows).put(5)
    (row,) = rows
    assert (row.op, row.value, row.revision, row.outcome, row.client, row.endpoint) == ("put", "0-1", 7, 0, 0, "etcd1")
    assert row.intended_ns == 5 < row.call_ns <= row.return_ns
    assert row.key.startswith("run/r/")


def test_in_a_closed_loop_an_operation_is_due_when_it_is_called():
    rows = []
    client_of(Script(etcd.put_response(7)), rows).put(None)
    assert rows[0].intended_ns == rows[0].call_ns


def test_an_unknown_outcome_retires_the_client_and_closes_its_connection():
    rows, script = [], Script(TIMEOUT, etcd.put_response(2))
    client = client_of(script, rows, pinned_share=1.0)
    client.put(1)
    client.put(2)
    assert [(r.client, r.outcome, r.error) for r in rows] == [
        (0, Outcome.UNKNOWN, "no answer within 1 s"),
        (1, Outcome.OK, ""),
    ]
    assert rows[1].value == "1-1"
    assert script.closed == 1
    assert client.dialled == ["etcd1", "etcd1"]


def test_a_refused_connection_fails_for_certain_and_keeps_the_client():
    rows, pauses = [], []
    site = make_site(lambda _: Script(REFUSED), rows, pauses=pauses)
    client = KvClient(site, 0, random.Random(1))
    client.put(1)
    client.put(2)
    assert [(r.client, r.outcome) for r in rows] == [(0, Outcome.FAILED)] * 2
    assert pauses == [site.settings.pause_s] * 2


def test_a_roaming_user_moves_on_after_an_error_and_a_pinned_one_stays():
    rows = []
    roaming = client_of(Script(REFUSED, REFUSED, REFUSED, REFUSED), rows, pinned_share=0.0)
    pinned = client_of(Script(REFUSED, REFUSED), rows, pinned_share=1.0)
    for _ in range(4):
        roaming.put(1)
    for _ in range(2):
        pinned.put(1)
    assert [r.endpoint for r in rows] == ["etcd1", "etcd2", "etcd3", "etcd1", "etcd1", "etcd1"]


def test_users_are_pinned_in_the_share_that_was_asked():
    rows = []
    site = make_site(lambda _: Script(), rows, pinned_share=0.25)
    users = [KvClient(site, n, random.Random(n)) for n in range(60)]
    assert sum(u._pinned for u in users) == 15
    assert {u.member for u in users if u._pinned} == {"etcd1", "etcd2", "etcd3"}


def test_a_call_ended_from_outside_never_returned_and_is_unknown():
    rows = []
    with pytest.raises(KeyboardInterrupt):
        client_of(Script(KeyboardInterrupt()), rows).put(1)
    assert (rows[0].outcome, rows[0].return_ns) == (Outcome.UNKNOWN, None)


def test_an_answer_that_cannot_be_read_leaves_the_outcome_unknown():
    rows = []
    client_of(Script(b"\xff"), rows).put(1)
    assert rows[0].outcome == Outcome.UNKNOWN
    assert "can't be read" in rows[0].error


def test_operations_come_in_the_shares_of_the_mix():
    rows, counts = [], {}
    client = client_of(Script(), rows, mix=Mix(put=0.5, get=0.3, cas=0.0, once=0.2))
    client._kinds = tuple(
        lambda _, k=k: counts.update({k: counts.get(k, 0) + 1}) for k in ("put", "get", "cas", "once")
    )
    for _ in range(10_000):
        client.operate(1)
    assert "cas" not in counts
    assert [counts[k] / 10_000 for k in ("put", "get", "once")] == pytest.approx([0.5, 0.3, 0.2], abs=0.02)


def test_write_once_keys_never_repeat_within_or_across_processes():
    parts = [Keys(run_id="run", registers=1, index=k, processes=3) for k in range(3)]
    keys = [part.fresh() for part in parts for _ in range(50)]
    assert len(set(keys)) == len(keys)
    assert all(key.startswith("run/o/") for key in keys)


def test_client_numbers_never_repeat_across_processes():
    numbers = [n for k in range(3) for n in itertools.islice(client_numbers(k, 3), 50)]
    assert len(set(numbers)) == len(numbers)


def test_padding_is_left_out_of_the_recording_only_where_it_is_ours():
    assert short("3-1.......", 10) == "3-1"
    assert short("3-1.....", 10) == "3-1....."
    assert short("3-100000000000", 10) == "3-100000000000"


def test_a_put_acknowledged_before_it_is_written_is_sent_with_the_next_call():
    script = Script(b"", b"read")
    lying = AckBeforeWrite(script, random.Random(1))
    assert etcd.read_put(lying.call(etcd.PUT, b"write")) == 0
    assert script.asked == []
    assert lying.call(etcd.RANGE, b"x") == b"read"
    assert script.asked == [(etcd.PUT, b"write"), (etcd.RANGE, b"x")]


def test_a_stale_read_is_a_serializable_one():
    script = Script(b"", b"")
    lying = StaleReads(script)
    lying.call(etcd.RANGE, etcd.range_request("k"))
    lying.call(etcd.PUT, b"p")
    assert script.asked == [(etcd.RANGE, etcd.range_request("k", serializable=True)), (etcd.PUT, b"p")]


def read_back(keys, dial, rows, *, seconds=30.0):
    import time

    work = ReadBack(
        keys=keys,
        members=("etcd1", "etcd2"),
        dial=dial,
        clients=itertools.count(),
        record=rows.append,
        short=lambda v: short(v, 32),
        pause=lambda _: None,
        deadline_ns=time.monotonic_ns() + int(seconds * 1e9),
    )
    work.run(0)
    return work.complete


def test_final_reads_move_to_another_member_until_all_is_read():
    answer = etcd.field(1, b"\x18\x05") + etcd.field(3, etcd.field(1, b""))
    rows, scripts = [], {"etcd1": Script(REFUSED), "etcd2": Script(answer)}
    assert read_back(["run/o/0"], scripts.__getitem__, rows)
    assert [(r.endpoint, r.key, r.value, r.revision) for r in rows] == [("etcd2", "run/o/0", None, 5)]


def test_final_reads_that_run_out_of_time_are_not_complete():
    rows = []
    assert not read_back(["run/o/0"], lambda _: Script(TIMEOUT), rows, seconds=0.05)
    assert rows == []


@pytest.mark.real
class TestAgainstEtcd:
    @pytest.fixture
    def rows(self):
        return []

    @pytest.fixture
    def client(self, shared_etcd, rows, request):
        site = make_site(lambda _: Unary(shared_etcd.address, timeout_s=5), rows, members=("etcd1",), keys=1)
        site.keys.run_id = request.node.name
        client = KvClient(site, 0, random.Random(1))
        yield client
        client.close()

    def test_a_get_reads_what_the_put_wrote(self, client, rows):
        client.get(1)
        client.put(2)
        client.get(3)
        assert [(r.op, r.value, r.consistency) for r in rows] == [
            ("get", None, "linearizable"),
            ("put", "0-1", ""),
            ("get", "0-1", "linearizable"),
        ]

    def test_a_swap_of_a_register_not_seen_yet_is_a_get_and_then_swaps_from_nothing(self, client, rows):
        client.cas(1)
        client.cas(2)
        client.cas(3)
        assert [(r.op, r.expect, r.value, r.swapped) for r in rows] == [
            ("get", None, None, None),
            ("cas", None, "0-1", True),
            ("cas", "0-1", "0-2", True),
        ]

    def test_a_swap_that_met_another_value_is_recorded_as_the_get_that_it_is(self, client, rows):
        client.put(1)
        other = KvClient(client._site, 1, random.Random(2))
        other.put(2)
        client.cas(3)
        client.cas(4)
        other.close()
        assert [(r.op, r.value, r.expect) for r in rows[2:]] == [("get", "1-1", None), ("cas", "0-3", "1-1")]

    def test_final_reads_see_every_write_once_key(self, client, rows, shared_etcd):
        for n in range(70):
            client.once(n)
        keys = [*client._site.keys.once, "absent"]
        found = []
        assert read_back(keys, lambda _: Unary(shared_etcd.address, timeout_s=5), found)
        assert {r.key: r.value for r in found} == {**{r.key: r.value for r in rows}, "absent": None}

    def test_a_batch_is_one_transaction_and_a_row_for_each_key(self, shared_etcd, rows):
        dial = lambda _: Unary(shared_etcd.address, timeout_s=5)  # noqa: E731
        client = KvClient(make_site(dial, rows, members=("etcd1",), keys=20, batch=10), 0, random.Random(1))
        client.put(1)
        client.close()
        assert len({r.key for r in rows}) == len({r.value for r in rows}) == 10
        assert len({(r.revision, r.call_ns, r.return_ns) for r in rows}) == 1

    def test_a_guarded_put_is_recorded_as_a_put_and_as_unknown_once_a_guard_exists(self, shared_etcd, rows):
        dial = lambda _: Unary(shared_etcd.address, timeout_s=5)  # noqa: E731
        client = KvClient(make_site(dial, rows, members=("etcd1",), guards=8), 0, random.Random(1))
        client.put(1)
        intruder = dial("etcd1")
        intruder.call(etcd.PUT, etcd.put_request(client._site.keys.guards(8)[5], "written by nobody of ours"))
        client.put(2)
        intruder.close()
        client.close()
        assert [(r.op, r.outcome) for r in rows] == [("put", Outcome.OK), ("put", Outcome.UNKNOWN)]
        assert "a condition that always holds did not" in rows[1].error
