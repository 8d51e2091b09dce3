import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chaos import units


@pytest.mark.parametrize(("number", "text"), [(0, "0 steps"), (1, "1 step"), (2, "2 steps"), (12_000, "12,000 steps")])
def test_one_is_counted_as_one(number, text):
    assert units.counted(number, "step") == text


DURATIONS = {
    "500ms": 0.5,
    "1500ms": 1.5,
    "8s": 8,
    "2m": 120,
    "1h": 3600,
    "1h30m": 5400,
    "1h30m5s": 5405,
    "1m500ms": 60.5,
    "0s": 0,
    "0.25s": 0.25,
    "250us": 0.00025,
    "10ns": 1e-8,
    "1.5h": 5400,
}
RATES = {"800/s": 800, "50k/s": 50_000, "1.5M/s": 1_500_000, "0.5/s": 0.5, "2G/s": 2e9}
BIT_RATES = {"10Mbit/s": 1e7, "1Gbit/s": 1e9, "64kbit/s": 64_000, "9600bit/s": 9600, "1.5Mbit/s": 1.5e6}
SHARES = {"5%": 0.05, "0%": 0, "100%": 1, "0.1%": 0.001, "33.3%": 0.333, "45%": 0.45}
SIZES = {
    "64KiB": 65536,
    "1GB": 10**9,
    "1GiB": 2**30,
    "0B": 0,
    "512B": 512,
    "1.5kB": 1500,
    "2TiB": 2 * 2**40,
    "3MB": 3 * 10**6,
}

REFUSALS = {
    units.parse_duration: {
        "5 sec": "'5 sec' is not a duration; did you mean '5s'?",
        "5sec": "'5sec' is not a duration; did you mean '5s'?",
        "5 s": "'5 s' is not a duration; did you mean '5s'?",
        "5S": "'5S' is not a duration; did you mean '5s'?",
        "5 seconds": "'5 seconds' is not a duration; did you mean '5s'?",
        "10 minutes": "'10 minutes' is not a duration; did you mean '10m'?",
        "10min": "'10min' is not a duration; did you mean '10m'?",
        "2 hours": "'2 hours' is not a duration; did you mean '2h'?",
        "50 msec": "'50 msec' is not a duration; did you mean '50ms'?",
        "50MS": "'50MS' is not a duration; did you mean '50ms'?",
        "50µs": "'50µs' is not a duration; did you mean '50us'?",
        "1,5s": "'1,5s' is not a duration; did you mean '1.5s'?",
        "8": "'8' has no unit, and a duration needs one; write 8s or 8ms",
        "0": "'0' has no unit, and a duration needs one; write 0s or 0ms",
        "": "'' is not a duration; write e.g. 500ms, 8s, 1h30m",
        "soon": "'soon' is not a duration; write e.g. 500ms, 8s, 1h30m",
        "-5s": "'-5s' is not a duration; write e.g. 500ms, 8s, 1h30m",
        "30m1h": "'30m1h' is not a duration; write the greater unit first and each once, e.g. 1h30m",
        "1s1s": "'1s1s' is not a duration; write the greater unit first and each once, e.g. 1h30m",
    },
    units.parse_rate: {
        "800": "'800' has no unit, and a rate needs one; write 800/s",
        "800 rps": "'800 rps' is not a rate; did you mean '800/s'?",
        "800 per second": "'800 per second' is not a rate; did you mean '800/s'?",
        "800/sec": "'800/sec' is not a rate; did you mean '800/s'?",
        "50K/s": "'50K/s' is not a rate; did you mean '50k/s'?",
        "fast": "'fast' is not a rate; write e.g. 800/s, 50k/s",
    },
    units.parse_bit_rate: {
        "10Mbps": "'10Mbps' is not a bit rate; did you mean '10Mbit/s'?",
        "10mbit": "'10mbit' is not a bit rate; did you mean '10Mbit/s'?",
        "10 Mbit/s": "'10 Mbit/s' is not a bit rate; did you mean '10Mbit/s'?",
        "1.25MB/s": "'1.25MB/s' counts bytes, and links are counted in bits; write 10Mbit/s",
        "100KB/s": "'100KB/s' counts bytes, and links are counted in bits; write 800kbit/s",
        "10": "'10' has no unit, and a bit rate needs one; write 10bit/s",
    },
    units.parse_share: {
        "0.05": "'0.05' has no unit, and a share needs one; write 5%",
        "1": "'1' has no unit, and a share needs one; write 100%",
        "0": "'0' has no unit, and a share needs one; write 0%",
        ".5": "'.5' has no unit, and a share needs one; write 50%",
        "5": "'5' has no unit, and a share needs one; write 5%",
        "5 %": "'5 %' is not a share; did you mean '5%'?",
        "5 percent": "'5 percent' is not a share; did you mean '5%'?",
        "101%": "'101%' is more than everything; write a share from 0% to 100%",
        "half": "'half' is not a share; write e.g. 5%",
    },
    units.parse_size: {
        "64K": "'64K' is not a size; did you mean '64KiB'?",
        "64kib": "'64kib' is not a size; did you mean '64KiB'?",
        "1gb": "'1gb' is not a size; did you mean '1GB'?",
        "1 GB": "'1 GB' is not a size; did you mean '1GB'?",
        "100": "'100' has no unit, and a size needs one; write 100B",
        "100 bytes": "'100 bytes' is not a size; did you mean '100B'?",
        "big": "'big' is not a size; write e.g. 64KiB, 1GB",
    },
}


def table(parse, cases):
    return [pytest.param(parse, text, value, id=text) for text, value in cases.items()]


@pytest.mark.parametrize(
    ("parse", "text", "value"),
    [
        *table(units.parse_duration, DURATIONS),
        *table(units.parse_rate, RATES),
        *table(units.parse_bit_rate, BIT_RATES),
        *table(units.parse_share, SHARES),
        *table(units.parse_size, SIZES),
    ],
)
def test_a_text_with_its_unit_becomes_a_number(parse, text, value):
    assert parse(text) == value


@pytest.mark.parametrize(
    ("parse", "text", "message"), [case for parse, cases in REFUSALS.items() for case in table(parse, cases)]
)
def test_a_refusal_says_what_would_do(parse, text, message):
    with pytest.raises(ValueError, match=r".") as refusal:
        parse(text)
    assert str(refusal.value) == message


@pytest.mark.parametrize(
    ("parse", "text"),
    [
        (parse, text)
        for parse, cases in REFUSALS.items()
        for text, message in cases.items()
        if "write e.g" not in message
    ],
)
def test_the_guess_in_a_refusal_can_itself_be_read(parse, text):
    with pytest.raises(ValueError, match=r".") as refusal:
        parse(text)
    said = str(refusal.value)
    guess = said.rsplit("did you mean '", 1)[1].rstrip("'?") if "did you mean" in said else said.rsplit(" ", 1)[1]
    assert math.isfinite(parse(guess))


positive = st.floats(min_value=0, max_value=1e7, allow_nan=False, allow_subnormal=False)


@given(positive)
@settings(deadline=None)
def test_a_duration_reads_as_it_was_written(seconds):
    assert units.parse_duration(units.format_duration(seconds)) == seconds


@given(positive)
@settings(deadline=None)
def test_a_rate_reads_as_it_was_written(rate):
    assert units.parse_rate(units.format_rate(rate)) == rate


@given(positive)
@settings(deadline=None)
def test_a_bit_rate_reads_as_it_was_written(rate):
    assert units.parse_bit_rate(units.format_bit_rate(rate)) == rate


@given(st.floats(min_value=0, max_value=1, allow_subnormal=False))
@settings(deadline=None)
def test_a_share_reads_as_it_was_written(share):
    assert units.parse_share(units.format_share(share)) == share


@given(st.integers(min_value=0, max_value=2**50))
@settings(deadline=None)
def test_a_size_reads_as_it_was_written(size):
    assert units.parse_size(units.format_size(size)) == size


PARSERS = (units.parse_duration, units.parse_rate, units.parse_bit_rate, units.parse_share, units.parse_size)


@given(st.sampled_from(PARSERS), st.text(max_size=20))
@settings(deadline=None)
def test_any_text_is_read_or_refused_and_nothing_else_happens(parse, text):
    try:
        assert parse(text) >= 0
    except ValueError as refusal:
        assert ";" in str(refusal)  # noqa: PT017 either way is right, and both are checked


@given(st.sampled_from(PARSERS), st.from_regex(r"\A[0-9]{1,4}([.,][0-9]{1,3})?[ ]?[a-zA-Z%/µ]{0,8}\Z"))
@settings(deadline=None)
def test_what_looks_like_a_number_with_a_unit_is_read_or_refused(parse, text):
    try:
        assert parse(text) >= 0
    except ValueError as refusal:
        assert repr(text)[1:-1] in str(refusal)  # noqa: PT017 as above


@pytest.mark.parametrize(
    ("field", "key", "unit"),
    [
        ("limit_s", "limit", units.DURATION),
        ("down_for_s", "down-for", units.DURATION),
        ("rate_bit_s", "rate", units.BIT_RATE),
        ("floor_per_s", "floor", units.RATE),
        ("limit_share", "limit", units.SHARE),
        ("quota_bytes", "quota", units.SIZE),
        ("from_", "from", None),
        ("stops_run", "stops-run", None),
        ("peers", "peers", None),
    ],
)
def test_a_field_name_says_key_and_unit(field, key, unit):
    assert units.split_name(field) == (key, unit)


def test_milliseconds_and_nanoseconds_are_durations_by_another_factor():
    assert [units.split_name(name)[1].factor for name in ("limit_ms", "limit_ns", "limit_s")] == [1e3, 1e9, 1]
