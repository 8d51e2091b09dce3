"""The generator as a child process, against a real etcd on loopback."""

from __future__ import annotations

import contextlib
import itertools
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
import raw_server as raw

from chaos.clock import NS
from chaos.errors import UsageError, WorkloadError
from chaos.model import Load, LoadStage, Outcome
from workloads.calibrate import calibrate, sustainable
from workloads.driver import LocustWorkload

PUTS = {"mix": {"put": 1.0, "get": 0.0, "cas": 0.0, "once": 0.0}}


def until(condition, seconds=20.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.02)


def table_of(folder, name="kv-0"):
    stream = pa.ipc.open_stream((folder / "samples" / f"{name}.arrow").read_bytes())
    batches = []
    with contextlib.suppress(pa.ArrowInvalid, OSError):  # a torn tail is what a kill leaves
        batches.extend(stream)
    return pa.Table.from_batches(batches, stream.schema)


def closed(folder, name="kv-0"):
    return json.loads((folder / "samples" / f"{name}.closed.json").read_text())


@pytest.fixture
def start(tmp_path):
    running = []

    def begin(endpoints, *, duration_s=None, **load):
        load = {"workload": "kv", "rate_per_s": 200.0, "users": 20, "stages": (LoadStage(),), **load}
        workload = LocustWorkload(subprocess.Popen)
        generator = workload.start(Load(**load), endpoints, tmp_path, 0, 1, tmp_path.name, duration_s=duration_s)
        running.append(generator)
        return generator

    yield begin
    for generator in running:
        generator.kill()


pytestmark = [pytest.mark.real, pytest.mark.alone]


def test_arrivals_are_the_schedule_and_the_recording_says_so(start, shared_etcd, tmp_path):
    generator = start(shared_etcd.endpoints, processes=2)
    until(lambda: generator.status().ok > 300)
    status = generator.status()
    generator.stop()
    parts = [table_of(tmp_path, f"kv-{k}") for k in (0, 1)]
    due = np.sort(np.concatenate([part["intended_ns"].to_numpy() for part in parts])) - generator.epoch_ns
    dropped = sum(closed(tmp_path, f"kv-{k}")["dropped"] for k in (0, 1))
    steps = np.rint(due / 5_000_000).astype(int)
    assert np.abs(due - steps * 5_000_000).max() <= 2  # one each 5 ms, to the nanosecond
    assert len(set(steps)) == len(steps)
    assert 0 <= steps[-1] - len(steps) <= dropped  # what is missing was counted; a drop may also come after the last
    assert (status.running, status.cpu_share > 0, status.p99_s > 0) == (True, True, True)
    assert generator.final_reads_complete


def test_a_closed_recording_is_whole_and_its_final_reads_agree(start, shared_etcd, tmp_path):
    mix = {"put": 0.3, "get": 0.3, "cas": 0.2, "once": 0.2}
    generator = start(shared_etcd.endpoints, settings={"mix": mix, "keys": 5})
    until(lambda: generator.status().ok > 300)
    generator.stop()
    table, end = table_of(tmp_path), closed(tmp_path)
    assert end["samples"] == table.num_rows == end["ok"] + end["failed"] + end["unknown"]
    assert end["intended"] == end["samples"] + end["dropped"]
    assert end["final_reads_complete"]
    once = {r["key"]: r["value"] for r in table.to_pylist() if "/o/" in r["key"]}
    final = {r["key"]: r["value"] for r in table_of(tmp_path, "final-kv-0").to_pylist()}
    assert once == final != {}
    assert set(table["op"].to_pylist()) == {"put", "get", "cas"}
    assert all(table["swapped"].to_numpy(zero_copy_only=False)[table["op"].to_numpy(zero_copy_only=False) == "cas"])


def test_a_stopped_server_makes_arrivals_late_and_drops_what_nobody_could_send(start, etcd_member, tmp_path):
    generator = start(etcd_member.endpoints, users=5, timeout_s=0.4, settings={**PUTS, "value_bytes": 16})
    until(lambda: generator.status().ok > 100)
    etcd_member.signal(signal.SIGSTOP)
    try:
        until(lambda: generator.status().dropped > 20)
        assert generator.status().unknown >= 5
    finally:
        etcd_member.signal(signal.SIGCONT)
    dropped_while_stopped, ok = generator.status().dropped, generator.status().ok
    until(lambda: generator.status().ok > ok + 200)
    generator.stop()
    table, end = table_of(tmp_path), closed(tmp_path)
    lateness = (table["call_ns"].to_numpy() - table["intended_ns"].to_numpy()) / NS
    assert end["dropped"] >= dropped_while_stopped > 20
    assert end["intended"] == end["samples"] + end["dropped"]
    assert 0.2 < lateness.max() < 3  # the timeout holds users up; patience bounds what waits
    latency = (table["return_ns"].to_numpy() - table["intended_ns"].to_numpy()) / NS
    assert latency.max() > 0.4


def test_a_member_killed_in_the_middle_leaves_unknown_and_then_failed_operations(start, etcd_member, tmp_path):
    generator = start(etcd_member.endpoints, closed_loop=True, rate_per_s=None, users=10, settings=PUTS)
    until(lambda: generator.status().ok > 50)
    etcd_member.kill()
    until(lambda: generator.status().failed > 10)
    generator.drain()
    generator.close()
    rows = table_of(tmp_path).to_pylist()
    unknown = [r for r in rows if r["outcome"] == Outcome.UNKNOWN]
    failed = [r for r in rows if r["outcome"] == Outcome.FAILED]
    assert unknown
    assert all("refused" in r["error"] for r in failed)
    retired = {r["client"]: r["call_ns"] for r in unknown}
    assert not [r for r in rows if r["client"] in retired and r["call_ns"] > retired[r["client"]]]
    assert not closed(tmp_path)["final_reads_complete"]  # nobody asked for them


def test_final_reads_that_find_nobody_are_said_to_be_incomplete(start, etcd_member, tmp_path):
    generator = start(etcd_member.endpoints, settings={"mix": {"put": 0.0, "get": 0.0, "cas": 0.0, "once": 1.0}})
    until(lambda: generator.status().ok > 10)
    etcd_member.kill()
    generator.drain()
    assert generator.read_back(0.3) is False
    generator.close()
    assert closed(tmp_path)["final_reads_complete"] is False


def test_a_killed_generator_is_noticed_and_leaves_a_readable_stream(start, shared_etcd, tmp_path):
    generator = start(shared_etcd.endpoints)
    until(lambda: generator.status().ok > 150)
    os.kill(generator.children[0]._process.pid, signal.SIGKILL)
    until(lambda: not generator.status().running)
    assert "generator kv-0 ended by signal 9" in generator.status().why
    assert table_of(tmp_path).num_rows > 50
    assert not (tmp_path / "samples" / "kv-0.closed.json").exists()
    with pytest.raises(WorkloadError, match="ended by signal 9"):
        generator.stop()


def test_a_generator_ends_with_its_driver(shared_etcd, tmp_path):
    code = f"""
import subprocess, sys, time
from pathlib import Path
from chaos.model import Load
from workloads.driver import LocustWorkload
load = Load(workload="kv", rate_per_s=50.0, users=5)
workload, folder = LocustWorkload(subprocess.Popen), Path({str(tmp_path)!r})
generator = workload.start(load, {shared_etcd.endpoints!r}, folder, 0, 1, "run")
print(generator.children[0]._process.pid, flush=True)
time.sleep(60)
"""
    driver = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    child = int(driver.stdout.readline())
    driver.kill()
    driver.wait()
    driver.stdout.close()
    until(lambda: not alive(child), seconds=5)
    assert not (tmp_path / "samples" / "kv-0.closed.json").exists()


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_statuses_come_each_second(start, shared_etcd):
    generator, seen = start(shared_etcd.endpoints), set()
    first = generator.status().at_ns
    until(lambda: seen.add(generator.children[0].status.at_ns) or len(seen) >= 4)
    ordered = sorted(seen)
    assert first <= ordered[-1]
    gaps = [(b - a) / NS for a, b in itertools.pairwise(ordered[1:])]
    assert all(0.9 < gap < 3 for gap in gaps)


def test_a_throttled_generator_offers_less_than_was_asked(start, shared_etcd):
    honest = start(shared_etcd.endpoints)
    until(lambda: honest.status().offered_per_s > 190)
    honest.stop()
    throttled = start(shared_etcd.endpoints, settings={"sabotage": "throttle"})
    until(lambda: throttled.status().ok > 150)
    assert throttled.status().offered_per_s < 0.95 * 200


def test_a_load_ends_by_itself_after_its_duration(start, shared_etcd, tmp_path):
    generator = start(shared_etcd.endpoints, duration_s=0.5)
    until(lambda: not generator.status().running)
    generator.stop()
    assert closed(tmp_path)["intended"] == 99  # due at 5, 10, … 495 ms


def test_every_operation_arrives_once_even_where_nobody_answers(start, tmp_path):
    with raw.Server(raw.close) as server:
        load = {"settings": {**PUTS, "pause_s": 0.0}, "users": 5, "rate_per_s": 100.0}
        generator = start({"etcd1": server.address}, duration_s=1.0, **load)
        until(lambda: not generator.status().running)
        generator.drain()
        generator.close()
        assert len(server.requests) == table_of(tmp_path).num_rows > 50


def test_the_check_on_doubled_requests_sees_a_generator_that_retries(start, tmp_path):
    with raw.Server(raw.close) as server:
        load = {"settings": {**PUTS, "sabotage": "retry"}, "users": 5, "rate_per_s": 100.0}
        generator = start({"etcd1": server.address}, duration_s=1.0, **load)
        until(lambda: not generator.status().running)
        generator.drain()
        generator.close()
        assert len(server.requests) == 2 * table_of(tmp_path).num_rows > 0


def test_acknowledged_writes_that_were_never_sent_are_missing_in_the_final_reads(start, shared_etcd, tmp_path):
    settings = {"mix": {"put": 0.0, "get": 0.0, "cas": 0.0, "once": 1.0}, "sabotage": "ack-before-write"}
    generator = start(shared_etcd.endpoints, settings=settings)
    until(lambda: generator.status().ok > 300)
    generator.stop()
    acknowledged = {r["key"] for r in table_of(tmp_path).to_pylist() if r["outcome"] == Outcome.OK}
    absent = {r["key"] for r in table_of(tmp_path, "final-kv-0").to_pylist() if r["value"] is None}
    assert acknowledged & absent


def test_a_generator_that_cannot_write_says_why_and_ends(start, shared_etcd, tmp_path):
    (tmp_path / "samples").mkdir()
    (tmp_path / "samples" / "kv-0.arrow").symlink_to("/dev/full")
    with pytest.raises(WorkloadError, match="No space left on device"):
        start(shared_etcd.endpoints)


def test_a_disk_that_fills_up_during_the_run_ends_the_generator_and_spoils_nothing(shared_etcd, tmp_path):
    limited = lambda argv, **popen: subprocess.Popen(["prlimit", "--fsize=60000", *argv], **popen)  # noqa: E731
    load = Load(workload="kv", rate_per_s=500.0, users=20)
    generator = LocustWorkload(limited).start(load, shared_etcd.endpoints, tmp_path, 0, 1, tmp_path.name)
    try:
        until(lambda: not generator.status().running)
        assert "samples can't be written" in generator.status().why
    finally:
        generator.kill()
    assert table_of(tmp_path).num_rows > 100
    assert not (tmp_path / "samples" / "kv-0.closed.json").exists()


def test_what_cannot_be_a_load_is_refused_before_anything_starts(start):
    with pytest.raises(UsageError, match="needs a rate"):
        start({"etcd1": "h:1"}, rate_per_s=None)
    with pytest.raises(UsageError, match="no endpoints"):
        start({})
    with pytest.raises(UsageError, match="1 users can't fill 2 processes"):
        start({"etcd1": "h:1"}, users=1, processes=2)


def test_a_calibration_finds_a_rate_that_the_stack_keeps_up_with(shared_etcd, tmp_path):
    load = Load(workload="kv", calibrated_share=0.6, users=30)
    found = calibrate(
        LocustWorkload(subprocess.Popen),
        load,
        shared_etcd.endpoints,
        tmp_path,
        1,
        ramp_s=2.0,
        greatest_per_s=400.0,
        limit_s=0.5,
    )
    assert 100 <= found.rate_per_s <= 400
    assert json.loads((tmp_path / "calibration.json").read_text())["rate_per_s"] == found.rate_per_s


def test_a_calibration_of_a_stack_that_never_answers_is_an_error(tmp_path):
    load = Load(workload="kv", calibrated_share=0.6, users=5, timeout_s=0.1)
    with raw.Server() as server:
        endpoints = {"etcd1": server.address}
        with pytest.raises(WorkloadError, match="p99 never stayed below"):
            calibrate(LocustWorkload(subprocess.Popen), load, endpoints, tmp_path, 1, ramp_s=1.0, greatest_per_s=200.0)


def ramp(until_s, latency_s=0.002, slope=1000.0, ramp_s=4.0):
    """Return due times of a ramp to 4000/s, and latencies that are too long from `until_s` on."""
    due = np.sqrt(2 * np.arange(1, slope * ramp_s**2 / 2) / slope)
    return due, np.where(due < until_s, latency_s, 1.0)


@pytest.mark.parametrize(("gives_in_s", "rate"), [(1.0, 1000.0), (2.5, 2500.0), (9.0, 4000.0), (0.1, 0.0)])
def test_the_sustainable_rate_is_where_the_ramp_was_when_the_stack_gave_in(gives_in_s, rate):
    found = sustainable(*ramp(gives_in_s), ramp_s=4.0, greatest_per_s=4000.0, limit_s=0.05)
    assert found.rate_per_s == pytest.approx(rate)
    assert found.limited == (rate < 4000)


def test_one_hiccup_of_the_machine_does_not_end_a_calibration():
    due, latency = ramp(9.0)
    latency[(due > 1.0) & (due < 1.2)] = 1.0
    assert sustainable(due, latency, ramp_s=4.0, greatest_per_s=4000.0, limit_s=0.05).rate_per_s == 4000.0


def test_arrivals_without_an_answer_end_a_calibration():
    due, latency = ramp(9.0)
    answered = due < 2.0
    found = sustainable(due[answered], latency[answered], ramp_s=4.0, greatest_per_s=4000.0, limit_s=0.05)
    assert found.rate_per_s == pytest.approx(2000.0)
