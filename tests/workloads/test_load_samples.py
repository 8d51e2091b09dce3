from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from chaos.clock import NS
from chaos.model import LoadStatus, Outcome
from chaos.streams import read_samples
from workloads.samples import SCHEMA, Row, SampleWriter
from workloads.tally import Tally, combined, quantile

ROW = Row(1, 2, 3, 4, "etcd1", "put", "", "k", "v", revision=7)


def read(path):
    with pa.ipc.open_stream(path.read_bytes()) as stream:
        return stream.read_all()


def test_rows_come_back_over_batches_whose_dictionaries_grow(tmp_path):
    writer = SampleWriter(tmp_path, "kv-0")
    rows = [
        ROW,
        ROW._replace(endpoint="etcd2", op="cas", expect="v", swapped=True),
        ROW._replace(return_ns=None, outcome=Outcome.UNKNOWN, error="no answer", value=None, revision=None),
        ROW._replace(endpoint="etcd1", op="get", consistency="linearizable"),
    ]
    for row in rows:
        writer.add(row)
        writer.flush(9)
    writer.close(10)
    table = read(writer.path)
    assert table.schema == SCHEMA
    assert [Row(**r) for r in table.to_pylist()] == rows


def test_a_clean_end_is_marked_with_its_counts(tmp_path):
    writer = SampleWriter(tmp_path, "kv-0")
    writer.add(ROW)
    assert not (tmp_path / "kv-0.closed.json").exists()
    writer.close(10, dropped=3, intended=4, final_reads_complete=True)
    assert json.loads((tmp_path / "kv-0.closed.json").read_text()) == {
        "samples": 1,
        "last_flushed_ns": 10,
        "dropped": 3,
        "intended": 4,
        "final_reads_complete": True,
    }


def test_a_ramps_samples_are_the_runs_and_its_end_is_no_generators(tmp_path):
    for name, dropped in (("kv-0", 0), ("ramp-kv-0", 7)):
        writer = SampleWriter(tmp_path, name)
        writer.add(ROW)
        writer.close(10, dropped=dropped, intended=1, final_reads_complete=True)
    parts = read_samples(tmp_path)
    assert parts.samples.num_rows == 2
    assert list(parts.ends) == ["kv-0"]
    assert parts.notes == ()
    (tmp_path / "ramp-kv-0.closed.json").unlink()
    assert read_samples(tmp_path).notes == ("samples/ramp-kv-0.arrow was not closed",)


def test_a_killed_writer_leaves_every_flushed_batch(tmp_path):
    code = f"""
import sys, time
from pathlib import Path
from workloads.samples import Row, SampleWriter
writer = SampleWriter(Path({str(tmp_path)!r}), "kv-0")
for n in range(10**9):
    for m in range(50):
        writer.add(Row(n, n, n, n % 7, f"etcd{{m % 3}}", "put", "", str(m), str(n)))
    writer.flush(n)
    if n == 5:
        print("go", flush=True)
"""
    writer = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert writer.stdout.readline() == b"go\n"
    os.kill(writer.pid, signal.SIGKILL)
    writer.wait()
    writer.stdout.close()
    stream, batches = pa.ipc.open_stream((tmp_path / "kv-0.arrow").read_bytes()), []
    with contextlib.suppress(pa.ArrowInvalid, OSError):  # the torn tail
        batches.extend(stream)
    assert len(batches) >= 6
    assert [batch.num_rows for batch in batches[:2]] == [0, 50]  # the first one brings the schema
    assert not (tmp_path / "kv-0.closed.json").exists()


@given(st.lists(st.integers(), min_size=1, max_size=60).map(sorted), st.sampled_from([0.5, 0.9, 0.99, 1.0]))
def test_a_quantile_is_the_least_value_that_covers_its_share(values, share):
    found = quantile(values, share)
    assert sum(v <= found for v in values) >= share * len(values)
    assert sum(v < found for v in values) < share * len(values)


def test_each_second_counts_for_itself_and_totals_go_on():
    tally = Tally(began_ns=0)
    tally.count(ROW._replace(intended_ns=0, call_ns=1_000_000, return_ns=5_000_000))
    tally.count(ROW._replace(intended_ns=0, call_ns=3_000_000, return_ns=None, outcome=Outcome.UNKNOWN))
    first = tally.status(NS, dropped=2)
    second = tally.status(2 * NS, dropped=2)
    assert (first["ok"], first["unknown"], first["dropped"]) == (1, 1, 2)
    assert (first["rate_per_s"], first["offered_per_s"], first["p99_s"]) == (1.0, 2.0, 0.005)
    assert (first["lag_p50_s"], first["lag_p99_s"]) == (0.001, 0.003)
    assert (second["ok"], second["rate_per_s"], second["p99_s"]) == (1, 0.0, None)
    assert tally.totals(2 * NS)["lag_max_s"] == 0.003


def test_processes_add_up_and_one_that_died_ends_the_whole():
    fine = LoadStatus(at_ns=1, running=True, rate_per_s=10, ok=5, cpu_share=0.5, p99_s=0.1, offered_per_s=10)
    dead = LoadStatus(at_ns=1, running=False, ok=1, cpu_share=0.7, why="killed")
    whole = combined([fine, dead])
    assert (whole.ok, whole.rate_per_s, whole.cpu_share, whole.p99_s) == (6, 10, 0.7, 0.1)
    assert (whole.running, whole.why) == (False, "killed")
    assert combined([fine, fine]).running


def test_a_status_of_several_is_as_old_as_the_oldest_of_them():
    old, new = (LoadStatus(at_ns=at_ns, running=True) for at_ns in (1, 9))
    assert combined([new, old]).at_ns == 1
