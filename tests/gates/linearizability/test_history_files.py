"""Histories read from JSON lines and from a recording's samples, and the command's answer about them."""

from __future__ import annotations

import io
import json

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from notation import UNKNOWN, append, cas, get, put, refused

from chaos.errors import RecordingError, UsageError
from chaos.model import Outcome
from gates.linearizability import Answer, History, check, main_check

LINE = {"client": 3, "op": "put", "key": "x", "value": "a", "call_ns": 1, "return_ns": 2, "outcome": "ok"}


@pytest.fixture
def written(tmp_path):
    def write(*lines):
        path = tmp_path / "HISTORY.jsonl"
        path.write_text("".join(f"{x if isinstance(x, str) else json.dumps(x)}\n" for x in lines), encoding="utf-8")
        return path

    return write


def as_line(operation):
    names = ("client", "op", "key", "value", "expect", "swapped", "call_ns", "return_ns")
    return {**{n: getattr(operation, n) for n in names}, "outcome": operation.outcome.name.lower()}


def operations_of(history):
    return [history.operation(row) for row in range(len(history))]


def test_a_file_is_read_as_it_was_written(written):
    operations = [
        put("a", 1, 2, place=1),
        get(None, 1, 3, place=2),
        cas("a", 1.5, 3, 4, place=3),
        refused({"deep": [1]}, 3, 4, place=4),
        put(True, 5, None, place=5, client="late", **UNKNOWN),
        append("t", 6, 7, key="log", place=6),
    ]
    read = operations_of(History.read(written(*map(as_line, operations))))
    assert [json.dumps(as_line(o)) for o in read[:4]] == [json.dumps(as_line(o)) for o in operations[:4]]
    assert read[4].client == "late"
    assert read[4].return_ns is None
    assert [o.place for o in read] == [1, 2, 3, 4, 5, 6]


def test_blank_lines_are_skipped_but_counted(written):
    assert operations_of(History.read(written(LINE, "", LINE)))[1].place == 3


WRONG = [
    ("{", "not JSON"),
    ("[1]", "not an operation"),
    ({**LINE, "op": "putt"}, "no such op \"putt\"; is 'put' meant?"),
    ({**LINE, "op": ["put"]}, "no such op"),
    ({**LINE, "outcome": "maybe"}, "it is one of ok, failed, unknown"),
    ({k: v for k, v in LINE.items() if k != "value"}, "put has no 'value'"),
    ({k: v for k, v in LINE.items() if k != "key"}, "no 'key'"),
    ({**{k: v for k, v in LINE.items() if k != "call_ns"}, "call_n": 1}, "is 'call_n' meant?"),
    ({**LINE, "op": "cas", "swapped": True}, "cas has no 'expect'"),
    ({**LINE, "op": "cas", "expect": "q"}, '"swapped": true or false'),
    ({**LINE, "return_ns": 0}, "before its call"),
    ({**LINE, "return_ns": None}, "give 'return_ns', or say"),
    ({**LINE, "call_ns": 1.5}, "whole nanoseconds"),
    ({**LINE, "call_ns": True}, "whole nanoseconds"),
    ({**LINE, "call_ns": 1 << 70}, "64 bits"),
    ({**LINE, "key": ["x"]}, "text or a whole number"),
    ('{"client": 3, "op": "put", "key": "x", "value": NaN, "call_ns": 1, "return_ns": 2, "outcome": "ok"}', "NaN"),
    ({**LINE, "op": "append", "value": 7}, "its values are text"),
]


@pytest.mark.parametrize(("line", "what"), WRONG, ids=[what for _, what in WRONG])
def test_a_wrong_line_is_named_with_what_would_do(written, line, what):
    path = written(LINE, line)
    with pytest.raises(UsageError) as raised:
        History.read(path)
    assert f"{path}:2: " in str(raised.value)
    assert what in str(raised.value)


def test_all_wrong_lines_are_named_at_once(written):
    with pytest.raises(UsageError) as raised:
        History.read(written(LINE, "{", {**LINE, "op": "?"}, *["{"] * 60))
    lines = str(raised.value).splitlines()
    assert len(lines) == 51
    assert lines[-1].endswith("and 12 more lines are wrong")


def test_a_missing_file_is_wrong_use(tmp_path):
    with pytest.raises(UsageError, match="can't be read"):
        History.read(tmp_path / "none.jsonl")


def test_a_failed_or_unknown_operation_may_return_before_its_call(written):
    assert len(History.read(written({**LINE, "return_ns": 0, "outcome": "unknown"}))) == 1


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from([*LINE, "expect", "swapped"]), json_values))
def test_any_object_is_read_or_refused_by_name(tmp_path_factory, fields):
    path = tmp_path_factory.mktemp("any") / "h.jsonl"
    path.write_text(json.dumps({**LINE, **fields}), encoding="utf-8")
    try:
        history = History.read(path)
    except UsageError as error:
        refusal = str(error)
    else:
        refusal = ""
        assert len(history) == 1
        assert check(history).answer in Answer
    assert not refusal or refusal.startswith(f"{path}:1: ")


# ---------------------------------------------------------------- samples

SCHEMA = pa.schema(
    [
        ("intended_ns", pa.int64()),
        ("call_ns", pa.int64()),
        ("return_ns", pa.int64()),
        ("client", pa.int32()),
        ("endpoint", pa.dictionary(pa.int32(), pa.string())),
        ("op", pa.dictionary(pa.int32(), pa.string())),
        ("consistency", pa.dictionary(pa.int32(), pa.string())),
        ("key", pa.string()),
        ("value", pa.string()),
        ("expect", pa.string()),
        ("swapped", pa.bool_()),
        ("revision", pa.int64()),
        ("outcome", pa.int8()),
        ("error", pa.dictionary(pa.int32(), pa.string())),
    ]
)


def sample(operation, consistency="linearizable"):
    names = ("call_ns", "return_ns", "client", "op", "key", "value", "expect", "swapped")
    row = {**{n: getattr(operation, n) for n in names}, "outcome": int(operation.outcome)}
    return {**row, "intended_ns": operation.call_ns, "endpoint": "e", "consistency": consistency, "error": ""}


def table(*rows):
    return pa.Table.from_pylist(list(rows), schema=SCHEMA)


def test_samples_are_read_as_operations():
    operations = [put("a", 1, 2), get("a", 3, 4), cas("a", "b", 5, 6), put("c", 7, None, **UNKNOWN)]
    read = operations_of(History.from_samples(table(*map(sample, operations))))
    assert [str(o) for o in read] == [str(o) for o in operations]
    assert [o.place for o in read] == [0, 1, 2, 3]


def test_samples_of_several_generators_are_one_history():
    tables = [table(sample(put("a", 1, 2))), table(sample(put("b", 3, 4)), sample(get("a", 5, 6)))]
    result = check(History.from_samples(pa.concat_tables(tables)))
    assert result.answer is Answer.ILLEGAL


def test_a_sample_of_a_refused_swap_needs_no_value():
    rows = [sample(put("a", 1, 2)), {**sample(refused("a", 3, 4)), "value": None}, sample(get("a", 5, 6))]
    assert check(History.from_samples(table(*rows))).answer is Answer.ILLEGAL


def test_serializable_reads_may_be_stale():
    writes = [sample(put("a", 1, 2)), sample(put("b", 3, 4))]
    stale = get("a", 5, 6)
    assert check(History.from_samples(table(*writes, sample(stale)))).answer is Answer.ILLEGAL
    assert check(History.from_samples(table(*writes, sample(stale, "serializable")))).answer is Answer.OK


def test_no_samples_are_no_operations():
    assert len(History.from_samples(table())) == 0


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"return_ns": 0}, "row 0 .put. is ok but returns before its call"),
        ({"return_ns": None}, "is ok but returns before its call, or never"),
        ({"op": "del"}, "no such op 'del'"),
        ({"op": "cas"}, "does not say whether it swapped"),
        ({"value": None}, "writes null"),
    ],
)
def test_samples_that_cannot_be_true_are_refused(change, what):
    with pytest.raises(RecordingError, match=what):
        History.from_samples(table({**sample(put("a", 1, 2)), **change}))


# ---------------------------------------------------------------- the command


def said(path, budget_s=10):
    out = io.StringIO()
    code = main_check(path, budget_s, out)
    return code, out.getvalue()


def test_the_command_says_ok(written):
    code, text = said(written(LINE))
    assert code == 0
    assert text.startswith("ok")


def test_the_command_draws_the_witness_of_an_illegal_history(written):
    stale = [put("a", 1, 2), put("b", 3, 4), get("a", 5, 6, client=7)]
    code, text = said(written(*map(as_line, stale)))
    assert code == 10
    assert text.startswith("illegal: key")
    drawn = text.splitlines()[-3:]
    assert ['put "a"' in drawn[0], 'put "b"' in drawn[1], 'get → "a"' in drawn[2]] == [True] * 3
    assert [line.index("├") for line in drawn] == sorted(line.index("├") for line in drawn)
    assert drawn[2].split()[:2] == ["3", "7"]


def test_the_command_says_why_it_is_unknown(written):
    code, text = said(written(""))
    assert code == 11
    assert text.startswith("unknown: the history has no operations")


def test_an_unknown_operation_is_drawn_without_an_end(written):
    lines = [as_line(put("a", 1, None, **UNKNOWN)), as_line(get("a", 2, 3)), as_line(get(None, 4, 5))]
    _, text = said(written(*lines))
    assert 'put "a" (unknown)' in text
    assert "…\n" in text


def test_outcomes_are_named_as_the_model_names_them():
    assert [o.name.lower() for o in Outcome] == ["ok", "failed", "unknown"]
