"""Records on a real broker: what generators and the observer leave in a recording is what is in the log."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from small_job import SmallJob

from chaos.clock import NS
from chaos.errors import UsageError, WorkloadError
from chaos.model import Load, LoadStage, Outcome
from chaos.streams import read_topics
from tests.lone_broker import lone_broker
from workloads.calibrate import calibrate
from workloads.driver import LocustWorkload

pytestmark = [pytest.mark.real, pytest.mark.alone]


NEVER_SENT = "_TIMED_OUT_QUEUE"  # it waited until its time was over, for those before it to be sent


def until(condition, seconds=60.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.02)


def rows_of(folder, *names):
    tables = [pa.ipc.open_stream((folder / "samples" / f"{name}.arrow").read_bytes()).read_all() for name in names]
    return [row for table in tables for row in table.to_pylist()]


def errors_of(rows, outcome):
    return {row["error"].partition(":")[0] for row in rows if row["outcome"] == outcome}


def closed(folder, name):
    return json.loads((folder / "samples" / f"{name}.closed.json").read_text())


def topic_of(folder, name):
    return read_topics(folder / "topics")[name]


def identities(rows):
    return sorted((int(row["key"]), int(row.get("n") if "n" in row else row["value"])) for row in rows)


def assert_without_holes(records):
    """Say that of each key the numbers are 0, 1, 2, … in the order of the log."""
    found: dict[int, list[int]] = {}
    for record in records:
        found.setdefault(record["key"], []).append(record["n"])
    assert all(numbers == list(range(len(numbers))) for numbers in found.values())


@pytest.fixture
def start(tmp_path):
    running = []

    def begin(broker, *, duration_s=None, folder=tmp_path, **load):
        load = {"rate_per_s": 400.0, "users": 8, "timeout_s": 20.0, "stages": (LoadStage(),), **load}
        generator = LocustWorkload(subprocess.Popen).start(
            Load(workload="records", **load), broker.endpoints, folder, 0, 1, "run", duration_s=duration_s
        )
        running.append(generator)
        return generator

    yield begin
    for generator in running:
        generator.kill()


def test_what_was_sent_is_in_the_log_and_the_recording_proves_it(start, broker, topics, tmp_path):
    (name,) = topics("in")
    generator = start(broker, processes=2, settings={"topic": name, "keys": 10})
    until(lambda: generator.status().ok > 800)
    generator.stop()
    assert generator.final_reads_complete
    assert [child._process._process.returncode for child in generator.children] == [0, 0, 0]  # by themselves
    rows, topic = rows_of(tmp_path, "records-0", "records-1"), topic_of(tmp_path, name)
    records = topic.table.to_pylist()
    assert topic.why_unproven == ""
    assert identities(rows) == identities(records)
    assert_without_holes(records)
    assert {row["op"] for row in rows} == {"produce"}
    assert {row["outcome"] for row in rows} == {Outcome.OK}
    at = {(record["partition"], record["offset"]): record for record in records}
    wall_ns = closed(tmp_path, "records-0")["wall_ns"]
    for row in rows:
        place, _, partition = row["endpoint"].rpartition("/")
        record = at[int(partition), row["revision"]]
        assert (place, record["key"], record["n"]) == (name, int(row["key"]), int(row["value"]))
        assert int(partition) == record["key"] % 4
        assert abs(record["timestamp_ms"] - (row["intended_ns"] + wall_ns) / 1e6) < 5


def test_arrivals_are_the_schedule_to_the_nanosecond(start, broker, topics, tmp_path):
    (name,) = topics("in")
    generator = start(broker, processes=2, duration_s=1.0, settings={"topic": name})
    until(lambda: not generator.status().running)
    generator.stop()
    ends = [closed(tmp_path, f"records-{index}") for index in (0, 1)]
    assert sum(end["intended"] for end in ends) == 399  # due at 2.5, 5, … 997.5 ms
    due = np.sort([row["intended_ns"] for row in rows_of(tmp_path, "records-0", "records-1")]) - generator.epoch_ns
    steps = np.rint(due / 2_500_000)
    assert np.abs(due - steps * 2_500_000).max() <= 2
    assert len(set(steps)) == len(steps) == 399 - sum(end["dropped"] for end in ends)


def test_a_stopped_broker_makes_records_late_and_keeps_nobody_from_sending(start, topics, broker, tmp_path):
    (name,) = topics("in")
    generator = start(broker, users=2, settings={"topic": name})
    until(lambda: generator.status().ok > 200)
    broker.process.send_signal(signal.SIGSTOP)
    try:
        before = generator.status()
        until(lambda: generator.status().at_ns > before.at_ns + 2 * NS)
        during = generator.status()
    finally:
        broker.process.send_signal(signal.SIGCONT)
    assert during.offered_per_s < 50  # no report has come: rows are made of reports
    until(lambda: generator.status().ok > during.ok + 600)
    generator.stop()
    rows, records = rows_of(tmp_path, "records-0"), topic_of(tmp_path, name).table.to_pylist()
    assert closed(tmp_path, "records-0")["dropped"] == 0
    assert max(row["return_ns"] - row["intended_ns"] for row in rows) > 1.5 * NS
    assert max(row["call_ns"] - row["intended_ns"] for row in rows) < 1.5 * NS
    assert identities(row for row in rows if row["outcome"] == Outcome.OK) == identities(records)


def test_records_that_nobody_answers_become_unknown_and_those_that_find_no_room_failed(start, topics, broker, tmp_path):
    (name,) = topics("in")
    generator = start(broker, timeout_s=0.8, settings={"topic": name, "queue": 100})
    until(lambda: generator.status().ok > 100)
    broker.process.send_signal(signal.SIGSTOP)
    try:
        until(lambda: generator.status().unknown > 50)
        until(lambda: generator.status().failed > 50)
    finally:
        broker.process.send_signal(signal.SIGCONT)
    ok = generator.status().ok
    until(lambda: generator.status().ok > ok + 200)
    generator.stop()
    rows, records = rows_of(tmp_path, "records-0"), topic_of(tmp_path, name).table.to_pylist()
    assert errors_of(rows, Outcome.UNKNOWN) == {"_MSG_TIMED_OUT"}
    assert {"_QUEUE_FULL"} <= errors_of(rows, Outcome.FAILED) <= {"_QUEUE_FULL", NEVER_SENT}
    told = {(int(row["key"]), int(row["value"])): row["outcome"] for row in rows if row["outcome"] != Outcome.FAILED}
    in_log = identities(records)
    assert len(set(in_log)) == len(in_log)
    assert {name for name, outcome in told.items() if outcome == Outcome.OK} <= set(in_log) <= set(told)
    assert topic_of(tmp_path, name).why_unproven == ""


def test_a_broker_that_is_killed_and_comes_back_costs_time_and_no_record(start, tmp_path):
    with lone_broker() as broker:
        broker.topic("in")
        generator = start(broker, settings={"topic": "in"})
        until(lambda: generator.status().ok > 300)
        broker.kill()
        broker.start()
        ok = generator.status().ok
        until(lambda: generator.status().ok > ok + 1200)
        generator.stop()
        rows, topic = rows_of(tmp_path, "records-0"), topic_of(tmp_path, "in")
        records = topic.table.to_pylist()
        assert topic.why_unproven == ""
        assert identities(row for row in rows if row["outcome"] == Outcome.OK) == identities(records)
        assert_without_holes(records)


def test_a_generator_that_skips_numbers_leaves_holes_in_the_log(start, broker, topics, tmp_path):
    (name,) = topics("in")
    generator = start(broker, settings={"topic": name, "keys": 4, "sabotage": "skip-ids"})
    until(lambda: generator.status().ok > 500)
    generator.stop()
    topic = topic_of(tmp_path, name)
    assert topic.why_unproven == ""
    with pytest.raises(AssertionError):
        assert_without_holes(topic.table.to_pylist())


def test_a_reader_that_stops_early_is_found_out_by_the_offsets(start, broker, topics, tmp_path):
    (name,) = topics("in")
    generator = start(broker, settings={"topic": name, "sabotage": "stop-early"})
    until(lambda: generator.status().ok > 300)
    generator.stop()
    topic = topic_of(tmp_path, name)
    assert not generator.final_reads_complete
    assert not topic.end.complete
    assert " was read to " in topic.why_unproven or "was not read to its end" in topic.why_unproven
    assert topic.table.num_rows < len(rows_of(tmp_path, "records-0"))


# ---------------------------------------------------------------- what a job makes of it


@pytest.fixture
def job(broker, topics):
    """Return the names of a job's topics, and the job, under way."""
    source, sink = topics("in", "out")
    running = SmallJob(broker.address, source, sink).start()
    yield source, sink, running
    running.stop()


def settings_of(job, **more):
    source, sink, _ = job
    return {"topic": source, "read": (sink,), "markers": True, "quiet_s": 1.0, **more}


def test_a_jobs_output_is_seen_live_and_read_whole_once_its_markers_are_out(start, broker, job, tmp_path):
    generator = start(broker, settings=settings_of(job))
    until(lambda: generator.status().ok > 600)
    generator.stop()
    source, sink = (topic_of(tmp_path, name) for name in job[:2])
    assert (source.why_unproven, sink.why_unproven, generator.final_reads_complete) == ("", "", True)
    records, out = source.table.to_pylist(), sink.table.to_pylist()
    assert sorted(record["key"] for record in out if record["key"] < 0) == [-4, -3, -2, -1]
    assert identities(records) == identities(out)
    assert all(record["count"] == record["n"] + 1 and record["seen_ns"] for record in out)
    assert all(record["count"] is None and record["seen_ns"] is None for record in records)
    due = {(int(row["key"]), int(row["value"])): row["intended_ns"] for row in rows_of(tmp_path, "records-0")}
    late_s = [(r["seen_ns"] - due[r["key"], r["n"]]) / NS for r in out if r["key"] >= 0]
    assert 0 < min(late_s) < max(late_s) < 10
    last_ms = max(record["timestamp_ms"] for record in records if record["key"] >= 0)
    assert min(record["timestamp_ms"] for record in records if record["key"] < 0) > last_ms + 30_000


def test_an_output_whose_transaction_stays_open_is_not_settled(start, broker, job, tmp_path):
    generator = start(broker, settings=settings_of(job, settle_s=3.0))
    until(lambda: generator.status().ok > 300)
    job[2].hold = True
    generator.stop()
    sink = topic_of(tmp_path, job[1])
    assert (sink.end.complete, sink.end.settled) == (True, False)
    assert "a transaction" in sink.why_unproven
    end = json.loads((tmp_path / "topics" / f"{job[1]}.closed.json").read_text())
    assert end["late"] == "0 of 4 end markers have come out"
    assert not generator.final_reads_complete


@pytest.mark.parametrize(("isolation", "doubled"), [("read_committed", False), ("read_uncommitted", True)])
def test_what_a_job_took_back_is_shown_to_readers_of_everything_only(start, broker, job, isolation, doubled, tmp_path):
    job[2].abort = True
    generator = start(broker, settings=settings_of(job, isolation=isolation, markers=False))
    until(lambda: generator.status().ok > 300)
    generator.stop()
    sink = topic_of(tmp_path, job[1])
    assert sink.end.complete
    assert (sink.table.num_rows > 0) == doubled


# ---------------------------------------------------------------- what can't be


def test_a_topic_that_is_not_there_is_named(start, broker):
    with pytest.raises(WorkloadError, match="nowhere"):
        start(broker, settings={"topic": "nowhere"})


def test_a_log_is_flooded_by_nobody_and_rehearsed_by_nobody(start, broker, tmp_path):
    with pytest.raises(UsageError, match=r"records go at a stated rate.*rate: 2000/s"):
        start(broker, closed_loop=True, rate_per_s=None)
    load = Load(workload="records", calibrated_share=0.5)
    with pytest.raises(UsageError, match=r"a log takes what nobody can read in time.*rate: 2000/s"):
        calibrate(LocustWorkload(subprocess.Popen), load, broker.endpoints, tmp_path, 1)


def test_generators_and_observer_end_with_their_driver(broker, topics, tmp_path):
    (name,) = topics("in")
    code = f"""
import subprocess, time
from pathlib import Path
from chaos.model import Load
from workloads.driver import LocustWorkload
load = Load(workload="records", rate_per_s=50.0, users=5, settings={{"topic": {name!r}}})
generator = LocustWorkload(subprocess.Popen).start(load, {broker.endpoints!r}, Path({str(tmp_path)!r}), 0, 1, "run")
print(*(child._process.pid for child in generator.children), flush=True)
time.sleep(60)
"""
    driver = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    children = [int(pid) for pid in driver.stdout.readline().split()]
    driver.kill()
    driver.wait()
    driver.stdout.close()
    assert len(children) == 2
    until(lambda: not any(alive(pid) for pid in children))
    assert not list(tmp_path.rglob("*.closed.json"))


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_an_observer_that_dies_is_noticed(start, broker, topics, tmp_path):
    (name,) = topics("in")
    generator = start(broker, settings={"topic": name})
    until(lambda: generator.status().ok > 50)
    os.kill(generator.children[-1]._process.pid, signal.SIGKILL)
    until(lambda: not generator.status().running)
    assert "records-observer ended by signal 9" in generator.status().why
    with pytest.raises(WorkloadError, match="ended by signal 9"):
        generator.stop()
    assert not (tmp_path / "topics").exists()


def test_a_log_that_is_gone_when_it_is_read_is_told_of(start, tmp_path):
    with lone_broker() as broker:
        broker.topic("in")
        generator = start(broker, timeout_s=1.0, settings={"topic": "in"})
        until(lambda: generator.status().ok > 50)
        broker.kill()
        generator.drain()
        assert generator.read_back(2.0) is False
        generator.close()
    topic = topic_of(tmp_path, "in")
    assert topic.end.why == "in: nobody said where it ends"
    assert not topic.end.complete
    rows = rows_of(tmp_path, "records-0")
    assert {Outcome.OK, Outcome.UNKNOWN} <= {row["outcome"] for row in rows}
    assert errors_of(rows, Outcome.FAILED) <= {NEVER_SENT}
