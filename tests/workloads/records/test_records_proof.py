"""Whether a topic was read whole, from offsets alone; what its records say; when a job's output is at rest."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaos.clock import ns
from chaos.streams import TOPIC, read_topics
from workloads.records.proof import Ends, Look, closed
from workloads.records.settling import Rest
from workloads.records.topics import CORRUPT, Records, Seen, content, table, write


def ends(*high, stable=None, begin=0):
    """Return the ends of a topic whose partitions end at `high`."""
    high = dict(enumerate(high))
    return Ends(begin=dict.fromkeys(high, begin), last_stable=stable or high, high=high)


def look(*high, **more):
    """Return a sound reading of a topic without transactions; `more` is what is wrong with it."""
    found = ends(*high)
    sound = Look(
        topic="in",
        isolation="read_committed",
        before=found,
        after=found,
        reached=dict(found.high),
        records=dict(found.high),
        dense=True,
    )
    return replace(sound, **more)


def test_a_topic_that_was_read_to_its_ends_is_complete():
    end = closed(look(40, 0, 7))
    assert (end.complete, end.why, end.settled, end.records) == (True, "", True, 47)
    assert end.to_json()["end"] == {"0": 40, "1": 0, "2": 7}


@pytest.mark.parametrize(
    ("seen", "says"),
    [
        (look(40, reached={0: 17}), "in/0 was read to 17 of 40"),
        (look(40, 40, reached={0: 40}), "in/1 was not read to its end at 40"),
        (look(40, records={0: 38}), "in/0 gave 38 records for 40 offsets"),
        (look(40, before=ends(40, begin=3), records={0: 37}), "in/0 begins at 3: what was before it is gone"),
        (look(40, after=ends(42)), "in/0 grew from 40 to 42 while it was read"),
        (look(40, after=ends(38)), "in/0 shrank from 40 to 38 while it was read"),
        (look(40, before=None, after=None), "in: nobody said where it ends"),
        (look(40, after=None), "in: nobody said afterwards whether it still ends there"),
        (look(), "in: no partitions"),
        (look(40, trouble="in/0: Local: Bad message format"), "in/0: Local: Bad message format"),
    ],
)
def test_a_reading_that_is_not_whole_says_why(seen, says):
    end = closed(seen)
    assert not end.complete
    assert end.why == says


def test_a_topic_with_transactions_may_have_offsets_without_records():
    assert closed(look(40, records={0: 31}, dense=False)).complete


def test_an_open_transaction_leaves_a_complete_reading_unsettled():
    found = ends(40, 40, stable={0: 40, 1: 12})
    seen = look(40, 40, before=found, after=found, reached={0: 40, 1: 12}, dense=False)
    end = closed(seen)
    assert (end.complete, end.settled) == (True, False)
    assert end.why == "in/1 has a transaction open at 12, its high watermark is 40"
    assert end.end == {0: 40, 1: 12}


def test_a_reader_of_everything_ends_at_the_high_watermark():
    found = ends(40, stable={0: 12})
    seen = look(40, isolation="read_uncommitted", before=found, after=found, reached={0: 12}, dense=False)
    assert closed(seen).why.startswith("in/0 was read to 12 of 40")


def test_what_a_job_still_owes_is_told_and_leaves_the_reading_complete():
    end = closed(look(40), late="2 of 4 end markers have come out")
    assert (end.complete, end.late, end.why) == (True, "2 of 4 end markers have come out", end.late)


@given(st.lists(st.integers(0, 50), min_size=1, max_size=4), st.data())
def test_only_a_reading_to_every_end_is_complete(high, data):
    reached = {p: data.draw(st.integers(0, offset)) for p, offset in enumerate(high)}
    seen = look(*high, reached=reached, records=reached)
    assert closed(seen).complete == (reached == dict(enumerate(high)))


# ---------------------------------------------------------------- what records say


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b'{"k":"17","n":5,"t":1}', (17, 5, None, None, None)),
        (b'{"k":"17","n":5,"count":6,"t":1,"worked_ms":8,"job":"v1"}', (17, 5, 6, None, 8)),
        (b'{"k":"17","n":5,"count":6,"worked_ms":"8"}', CORRUPT),
        (b'{"k":"17","window_ms":3000,"count":6,"job":"v1"}', (17, None, 6, 3000, None)),
        (b'{"k":"-2","n":0,"t":1}', (-2, 0, None, None, None)),
        (None, CORRUPT),
        (b"", CORRUPT),
        (b"\xff\xfe", CORRUPT),
        (b'{"k":"17"}', CORRUPT),
        (b'{"k":"17","n":"5"}', CORRUPT),
        (b'{"k":"17","n":5.5}', CORRUPT),
        (b'{"k":"17","n":true}', CORRUPT),
        (b'{"k":"17","window_ms":3000}', CORRUPT),
        (b'{"k":"x","n":5}', CORRUPT),
        (b'{"k":"99999999999","n":5}', CORRUPT),
        (b'{"k":"1","n":99999999999999999999}', CORRUPT),
        (b"[1]", CORRUPT),
        (b"7", CORRUPT),
    ],
)
def test_what_a_record_says_or_that_it_can_not_be_read(text, says):
    assert content(text) == says


@given(st.binary(max_size=40))
def test_nothing_that_a_log_holds_makes_reading_break_down(text):
    assert len(content(text)) == len(CORRUPT)


def three() -> Records:
    records = Records()
    records.add(0, 0, 1000, b'{"k":"4","n":0,"count":1,"worked_ms":9}')
    records.add(1, 7, 1001, b"not json")
    records.add(0, 3, 1002, b'{"k":"4","window_ms":1000,"count":2}')
    return records


def test_a_topic_is_written_and_read_back_with_when_its_records_were_seen(tmp_path):
    seen = {0: Seen(np.array([0, 2], np.int64), np.array([50, 60], np.int64))}
    end = closed(look(4, 8, records={0: 2, 1: 1}, dense=False))
    write(tmp_path, "out", table(three(), seen), end)
    back = read_topics(tmp_path)["out"]
    assert back.table.schema.equals(TOPIC)
    assert back.table.to_pylist() == [
        dict(zip(TOPIC.names, row, strict=True))
        for row in [
            (0, 0, 1000, 4, 0, 1, None, 9, 50),
            (1, 7, 1001, None, None, None, None, None, None),
            (0, 3, 1002, 4, None, 2, 1000, None, None),
        ]
    ]
    assert (back.note, back.why_unproven) == ("", "")
    assert (back.end.end, back.end.complete, back.end.records) == ({0: 4, 1: 8}, True, 3)


def test_a_topic_of_which_nothing_could_be_read_is_told_of_all_the_same(tmp_path):
    end = closed(look(4, before=None, after=None, records={}))
    write(tmp_path, "out", table(Records(), {}), end)
    assert "nobody said where it ends" in read_topics(tmp_path)["out"].why_unproven
    assert json.loads((tmp_path / "out.closed.json").read_text())["complete"] is False


@given(st.sets(st.integers(0, 60)), st.sets(st.integers(0, 60)))
def test_each_record_that_was_seen_bears_its_own_time_and_no_other_does(read, seen):
    records = Records()
    for offset in sorted(read):
        records.add(0, offset, 0, b'{"k":"1","n":0}')
    live = np.array(sorted(seen), np.int64)
    found = table(records, {0: Seen(live, live * 10)})["seen_ns"].to_pylist()
    assert found == [offset * 10 if offset in seen else None for offset in sorted(read)]


def test_a_reader_that_stops_early_reached_no_further_than_its_last_record():
    records = three()
    records.cut(2)
    assert (len(records), records.reached()) == (2, {0: 1, 1: 8})
    assert isinstance(table(records, {}), pa.Table)


# ---------------------------------------------------------------- when a job's output is at rest


def looks(*steps, markers_due=4, quiet_s=2.0):
    """Return what is said of each (second, ends, markers)."""
    rest, said = Rest(quiet_s=quiet_s, markers_due=markers_due), []
    for at_s, found, markers in steps:
        rest.look(ns(at_s), {"out": found}, markers)
        said.append(rest.why)
    return said


def test_an_output_is_at_rest_when_it_has_stood_still_with_every_marker_out():
    said = looks((10, ends(5), 4), (11, ends(6), 4), (12.9, ends(6), 4), (13.1, ends(6), 4))
    assert said == ["out grew less than 2 s ago"] * 3 + [""]


def test_a_marker_that_is_missing_keeps_an_output_from_rest():
    assert looks((10, ends(5), 3), (20, ends(5), 3))[-1] == "3 of 4 end markers have come out"


def test_an_open_transaction_keeps_an_output_from_rest():
    held = ends(5, stable={0: 4})
    assert looks((10, held, 4), (20, held, 4))[-1] == "a transaction is open on out"


def test_an_output_that_nobody_knows_the_end_of_is_not_at_rest():
    assert looks((10, ends(5), 4), (20, None, 4))[-1] == "nobody says where out ends"


def test_where_no_markers_were_sent_none_are_waited_for():
    assert looks((10, ends(5), 0), (13, ends(5), 0), markers_due=0)[-1] == ""
