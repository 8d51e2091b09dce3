"""A job's lanes and curves in the report, from readings and topics that are known."""

from __future__ import annotations

import json

import pytest

from chaos.recording import Recording
from chaos.testing import RecordingBuilder
from gates.judge import judge
from reports.html import render
from reports.sections import streams
from reports.sections.faults import steps
from reports.sections.timeline import chart_data
from tests.reports.made import judged
from tests.two_loads import both


def looked(seconds=10, **readings):
    """A job that is looked at each second; `readings` are its name → second → value."""
    builder = RecordingBuilder()
    for second in range(seconds):
        for name, value in readings.items():
            text = str(second) if name == "checkpoint_duration" else "in" if name == "lag" else ""
            told = value(second)
            builder.reading(name.replace("_", "-"), "", told, text=text, why="" if told is not None else "timeout")
        builder.clock.advance(1)
    return builder


def produced(records=400):
    builder = RecordingBuilder()
    for number in range(records):
        builder.produce(number % 4)
        builder.clock.advance(0.01)
    builder.topics.pipe(delay_ms=500)
    return builder


def lane(recording, name):
    return next(one for one in streams.lanes(recording) if one["name"] == name)


def chart(recording, name):
    return next(one for one in streams.charts(recording) if one["name"] == name)


def test_a_run_without_a_job_has_neither_lanes_nor_curves():
    assert streams.lanes(Recording.of()) == []
    assert streams.charts(Recording.of()) == []


def test_a_job_runs_but_while_it_does_not_and_while_nobody_tells():
    builder = looked(flink_job_state=lambda second: {4: 0.0, 5: None}.get(second, 1.0))
    states = lane(builder.build(), "job")["states"]
    assert [(round(start), round(end), state) for start, end, state in states] == [
        (0, 4, "up"),
        (4, 6, "silent"),
        (6, 10, "up"),
    ]


def test_a_restart_is_marked_when_it_is_first_counted_also_across_silence():
    counted = {5: None, 6: 1.0, 7: 1.0, 8: 2.0, 9: 2.0}
    builder = looked(flink_job_state=lambda _: 1.0, flink_restarts=lambda second: counted.get(second, 0.0))
    assert [(round(at), mark) for at, mark in lane(builder.build(), "job")["marks"]] == [(6, "started"), (8, "started")]


def test_each_checkpoint_is_as_long_as_it_took_and_a_failed_one_is_marked():
    builder = looked(
        flink_job_state=lambda _: 1.0,
        checkpoint_duration=lambda _: 0.25,
        checkpoints_failed=lambda second: float(second > 3),
    )
    row = lane(builder.build(), "checkpoints")
    assert len(row["states"]) == 10
    assert {(round(end - start, 3), state) for start, end, state in row["states"]} == {(0.25, "work")}
    assert [(round(at), mark) for at, mark in row["marks"]] == [(4, "failed")]


def test_a_newest_checkpoint_that_stays_the_newest_is_drawn_once():
    builder = RecordingBuilder()
    for _ in range(5):
        builder.reading("flink-job-state", "", 1.0)
        builder.reading("checkpoint-duration", "", 0.1, text="7")
        builder.clock.advance(1)
    assert len(lane(builder.build(), "checkpoints")["states"]) == 1


def test_lag_has_a_gap_where_nobody_answered():
    builder = looked(lag=lambda second: None if second == 3 else float(second))
    (curve,) = chart(builder.build(), "lag")["curves"]
    assert curve["label"] == "in"
    assert curve["v"] == [0.0, 1.0, 2.0, None, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0]


def test_backpressure_has_a_curve_a_vertex():
    builder = RecordingBuilder()
    for vertex in ("Source", "Sink"):
        builder.reading("vertex-backpressure", vertex, 0.5)
    assert [one["label"] for one in chart(builder.build(), "backpressure")["curves"]] == ["Sink", "Source"]


def test_latency_is_split_at_the_log_the_operator_and_the_reader():
    curves = {one["label"]: one["v"] for one in chart(produced().build(), "split")["curves"]}
    assert set(curves) == {"acknowledged by the log", "at the operator of out", "read from out"}
    for label, ms in (("acknowledged by the log", 1), ("at the operator of out", 100), ("read from out", 500)):
        assert all(abs(value - ms) <= 1.5 for value in curves[label]), (label, curves[label])


def test_a_second_in_which_nothing_came_out_is_a_gap():
    builder = produced()
    for row in builder.topics.rows["out"]:
        if row["timestamp_ms"] // 1000 == builder.topics.rows["out"][250]["timestamp_ms"] // 1000:
            row["seen_ns"] = None
    (curve,) = (one for one in chart(builder.build(), "split")["curves"] if one["label"] == "read from out")
    assert None in curve["v"]
    assert any(value is not None for value in curve["v"])


def test_the_page_holds_them():
    builder = produced()
    builder.reading("flink-job-state", "", 1.0)
    text = render(*judged(builder.build(), ()))
    data = json.loads(text.split('<script type="application/json" id="data">')[1].split("</script>")[0])
    assert [one["name"] for one in data["charts"]] == ["split"]
    assert {"job", "checkpoints"} <= {one["name"] for one in data["lanes"]}


# ---------------------------------------------------------------- two loads


def test_the_second_load_has_charts_of_its_own_and_the_first_those_of_the_page():
    recording = both(slow_kv_s=0.3)
    judgement = judge(recording, [])
    data = chart_data(recording, judgement, steps(recording))
    named = {chart["name"]: chart for chart in data["charts"]}
    assert max(named["rate-kv"]["curves"][0]["v"]) == pytest.approx(200, rel=0.1)
    assert max(v for v in named["latency-kv"]["curves"][0]["v"] if v is not None) == pytest.approx(300, rel=0.01)
    assert max(data["series"]["served"]) == pytest.approx(50, rel=0.2)
    assert data["asked_per_s"] == 50
    assert not [name for name in chart_names(RecordingBuilder().build()) if name.startswith("rate-")]


def chart_names(recording):
    return [chart["name"] for chart in chart_data(recording, judge(recording, []), steps(recording))["charts"]]
