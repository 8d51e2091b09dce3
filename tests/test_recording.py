"""A recording survives its writer: what was written whole can be read, and it says what is missing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from threading import Thread

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chaos import streams
from chaos.errors import RecordingError
from chaos.made import MadeTopics
from chaos.model import Event, EventKind, Reading
from chaos.recording import Recorder, Recording, plain, write_whole
from chaos.streams import NEVER_NS, READINGS, SAMPLES, UNREADABLE, as_numpy, read_stream, table_of

ROOT = Path(__file__).parent.parent


def note(number: int) -> Event:
    return Event(at_ns=number, kind=EventKind.NOTE, detail=f"é {number}", data={"n": number})


def stream(path: Path, rows: int, *, closed: bool = True, batches: int = 2) -> None:
    """Write samples as a generator does."""
    table = table_of([{"call_ns": n, "return_ns": n + 1, "key": f"run/r/{n}"} for n in range(rows)]).select(
        SAMPLES.names
    )
    with pa.ipc.new_stream(path, SAMPLES) as writer:
        for part in range(batches):
            writer.write_table(table.slice(part * rows // batches, rows // batches))
    if closed:
        facts = {
            "samples": rows,
            "dropped": 3,
            "intended": rows + 3,
            "last_flushed_ns": rows,
            "final_reads_complete": True,
        }
        path.with_suffix(".closed.json").write_text(json.dumps(facts))


@pytest.fixture
def folder(tmp_path):
    with Recorder(tmp_path / "run") as recorder:
        recorder.run(seed=7)
        recorder.event(Event(at_ns=1, kind=EventKind.RUN, detail="begin"))
        recorder.event(Event(at_ns=9, kind=EventKind.RUN, detail="complete"))
    stream(tmp_path / "run/samples/kv-0.arrow", 10)
    return tmp_path / "run"


def test_what_was_written_is_read_back(folder):
    recording = Recording.open(folder)
    assert recording.run == {"seed": 7}
    assert [event.detail for event in recording.events] == ["begin", "complete"]
    assert recording.samples.num_rows == 10
    assert set(recording.samples["generator"].to_pylist()) == {"kv-0"}
    assert recording.ends["kv-0"].dropped == 3
    assert recording.complete, recording.why_incomplete


def test_readings_come_back_as_they_were_with_none_for_no_answer(tmp_path):
    asked = (
        Reading(name="up", node="etcd1", at_ns=1, value=1.0),
        Reading(name="up", node="etcd2", at_ns=2, value=None, why="timeout", text="ü"),
    )
    with Recorder(tmp_path) as recorder:
        for reading in asked:
            recorder.reading(reading)
    assert Recording.open(tmp_path).readings == asked


def test_readings_are_on_disk_before_the_recorder_is_closed(tmp_path):
    with Recorder(tmp_path) as recorder:
        recorder.reading(Reading(name="up", node="etcd1", at_ns=1, value=1.0))
        deadline = time.monotonic() + 10
        while not Recording.open(tmp_path).readings and time.monotonic() < deadline:
            time.sleep(0.02)
        assert len(Recording.open(tmp_path).readings) == 1


def test_many_threads_write_whole_lines(tmp_path):
    with Recorder(tmp_path) as recorder:
        threads = [Thread(target=lambda k=k: [recorder.event(note(k * 100 + n)) for n in range(100)]) for k in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(event.at_ns for event in Recording.open(tmp_path).events) == list(range(400))


def test_closing_twice_is_closing_once(tmp_path):
    recorder = Recorder(tmp_path)
    recorder.close()
    recorder.close()
    assert not (tmp_path / ".reserve").exists()


def test_run_facts_add_up_and_are_never_half_written(tmp_path):
    with Recorder(tmp_path) as recorder:
        recorder.run(seed=1, target="netns")
        recorder.run(seed=2, array=np.float64(0.5), endless=float("inf"), path=Path("x"))
    facts = json.loads((tmp_path / "run.json").read_text())
    assert facts == {"seed": 2, "target": "netns", "array": 0.5, "endless": None, "path": "x"}
    assert not list(tmp_path.glob("*.draft"))


# ---------------------------------------------------------------- cut short


def test_a_torn_last_line_costs_that_line_only_and_is_told(folder):
    path = folder / "events.jsonl"
    path.write_bytes(path.read_bytes()[:-20])
    recording = Recording.open(folder)
    assert [event.detail for event in recording.events] == ["begin"]
    assert "events.jsonl:2: torn or not an event" in recording.why_incomplete
    assert any("the harness died" in why for why in recording.why_incomplete)


@settings(deadline=None, max_examples=60)  # the machine may be busy
@given(cut=st.integers(0, 4000))
def test_an_event_file_cut_anywhere_keeps_every_line_before_the_cut(tmp_path_factory, cut):
    folder = tmp_path_factory.mktemp("cut")
    lines = [json.dumps(plain(note(n)), ensure_ascii=False).encode() + b"\n" for n in range(20)]
    text = b"".join(lines)
    (folder / "events.jsonl").write_bytes(text[:cut])
    whole = text[:cut].count(b"\n")
    events = Recording.open(folder).events
    assert [event.at_ns for event in events][:whole] == list(range(whole))
    assert len(events) <= whole + 1
    torn = any("torn" in why for why in Recording.open(folder).why_incomplete)
    assert torn == (cut < len(text) and text[:cut] != b"" and not text[:cut].endswith(b"\n"))


@settings(deadline=None, max_examples=60)  # the machine may be busy
@given(share=st.floats(0, 1))
def test_a_stream_cut_anywhere_keeps_every_whole_batch(tmp_path_factory, share):
    path = tmp_path_factory.mktemp("cut") / "kv-0.arrow"
    stream(path, 12, closed=False, batches=3)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    table, _ = read_stream(path)
    rows = 0 if table is None else table.num_rows
    assert rows in {0, 4, 8, 12}
    if table is not None:
        assert table["call_ns"].to_pylist() == list(range(rows))


def test_a_torn_batch_is_told_and_what_is_before_it_is_read(folder):
    path = folder / "samples/kv-1.arrow"
    stream(path, 10, closed=False)
    path.write_bytes(path.read_bytes()[:-40])
    recording = Recording.open(folder)
    assert recording.samples.num_rows == 15
    assert "samples/kv-1.arrow was torn after batch 1" in recording.why_incomplete
    assert recording.cut_short == {"kv-1": 5}
    assert "generator kv-1 was cut short" in recording.why_incomplete


def test_a_generator_that_never_closed_makes_the_recording_incomplete(folder):
    (folder / "samples/kv-0.closed.json").unlink()
    recording = Recording.open(folder)
    assert not recording.complete
    assert recording.cut_short == {"kv-0": 10}


def test_samples_that_are_missing_behind_a_clean_close_are_told(folder):
    stream(folder / "samples/kv-1.arrow", 4)
    stream(folder / "samples/kv-1.arrow", 2, closed=False)
    why = Recording.open(folder).why_incomplete
    assert why == ("samples/kv-1.arrow has 2 samples, its writer counted 4",)


def test_final_reads_are_kept_apart_and_need_every_generator(folder):
    assert Recording.open(folder).final is None
    assert not Recording.open(folder).final_complete
    stream(folder / "samples/final-0.arrow", 4, closed=False)
    recording = Recording.open(folder)
    assert recording.final.num_rows == 4
    assert recording.samples.num_rows == 10
    assert recording.final_complete
    assert recording.complete, recording.why_incomplete
    (folder / "samples/kv-0.closed.json").unlink()
    assert not Recording.open(folder).final_complete


def test_torn_final_reads_are_not_complete(folder):
    path = folder / "samples/final-0.arrow"
    stream(path, 4, closed=False)
    path.write_bytes(path.read_bytes()[:-40])
    recording = Recording.open(folder)
    assert not recording.final_complete
    assert not recording.complete


@pytest.mark.parametrize(
    ("how", "said"), [("aborted", "aborted"), ("interrupted", "interrupted"), ("stopped early", "stopped early")]
)
def test_a_run_that_did_not_come_to_its_planned_end_is_incomplete(folder, how, said):
    events = (folder / "events.jsonl").read_text().replace('"complete"', f'"{how}"')
    (folder / "events.jsonl").write_text(events)
    assert said in Recording.open(folder).why_incomplete[0]


def test_a_folder_that_is_no_recording_is_refused(tmp_path):
    with pytest.raises(RecordingError, match="give a run's folder"):
        Recording.open(tmp_path)


def test_samples_of_another_version_are_refused_by_name(folder):
    pa.ipc.new_stream(folder / "samples/kv-9.arrow", pa.schema([("call_ns", pa.int64())])).close()
    with pytest.raises(RecordingError, match=r"kv-9.arrow lacks the columns intended_ns, return_ns"):
        _ = Recording.open(folder).samples


def test_a_recording_without_its_experiment_says_so(folder):
    with pytest.raises(RecordingError, match="has no experiment"):
        _ = Recording.open(folder).experiment


WRITER = """
    import itertools, sys
    from pathlib import Path
    from chaos.model import Event, EventKind, Reading
    from chaos.recording import Recorder
    recorder = Recorder(Path(sys.argv[1]))
    for n in itertools.count():
        recorder.event(Event(at_ns=n, kind=EventKind.NOTE, detail="x" * 200))
        recorder.reading(Reading(name="up", node="etcd1", at_ns=n, value=1.0))
        if n == 3000:
            print("going", flush=True)
"""


@pytest.mark.real
def test_a_writer_killed_by_sigkill_leaves_a_readable_recording(tmp_path):
    writer = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(WRITER), str(tmp_path / "run")], cwd=ROOT, stdout=subprocess.PIPE
    )
    try:
        assert writer.stdout.readline() == b"going\n"
        deadline = time.monotonic() + 20
        while len(read_stream(tmp_path / "run/readings.arrow")[0] or ()) == 0 and time.monotonic() < deadline:
            time.sleep(0.02)
    finally:
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        writer.stdout.close()
    recording = Recording.open(tmp_path / "run")
    assert [event.at_ns for event in recording.events] == list(range(len(recording.events)))
    assert len(recording.events) > 3000
    assert [reading.at_ns for reading in recording.readings] == list(range(len(recording.readings)))
    assert recording.readings
    assert not recording.complete


def probed(folder: Path, times: int = 3) -> Path:
    """Write a complete recording with so many readings, and return the file that holds them."""
    with Recorder(folder, free_bytes_min=0) as recorder:
        recorder.run(torn_down=True)
        for n in range(times):
            recorder.reading(Reading(name="up", node="etcd1", at_ns=n, value=1.0))
        recorder.event(Event(at_ns=times, kind=EventKind.RUN, detail="complete"))
    assert Recording.open(folder).why_incomplete == ()
    return folder / "readings.arrow"


def test_readings_that_were_torn_are_read_as_far_as_they_are_whole_and_told_of(tmp_path):
    path = probed(tmp_path)
    path.write_bytes(path.read_bytes()[:-20])
    recording = Recording.open(tmp_path)
    assert recording.why_incomplete == ("readings.arrow was torn after batch 0",)
    assert not recording.complete


def test_readings_that_are_not_there_are_told_of(tmp_path):
    probed(tmp_path).unlink()
    recording = Recording.open(tmp_path)
    assert recording.readings == ()
    assert recording.why_incomplete == ("readings.arrow is missing",)


# ---------------------------------------------------------------- space

FULL_DISK = """
    import sys
    from pathlib import Path
    from chaos.errors import RecordingError
    from chaos.model import Event, EventKind, Reading
    from chaos.recording import Recorder, Recording
    folder = Path(sys.argv[1]) / "run"
    recorder = Recorder(folder, free_bytes_min=0)
    wrote = 0
    try:
        for wrote in range(100_000):
            recorder.event(Event(at_ns=wrote, kind=EventKind.NOTE, detail="x" * 1000))
    except RecordingError as error:
        print("told:", error)
    assert "No space left" in recorder.why_no_space()
    try:
        recorder.check_space()
    except RecordingError:
        print("refused")
    recorder.event(Event(at_ns=wrote + 1, kind=EventKind.HEAL, detail="healed from the reserve"))
    recorder.reading(Reading(name="up", node="etcd1", at_ns=1, value=1.0))
    recorder.run(ended="full")
    recorder.close()
    recording = Recording.open(folder)
    assert [event.at_ns for event in recording.events] == list(range(wrote + 2)), len(recording.events)
    assert recording.run == {"ended": "full"}
    assert len(recording.readings) == 1
    print("readable", recording.events[-1].detail)
"""


@pytest.mark.real
def test_a_full_disk_is_told_and_the_heals_are_still_recorded(tmp_path):
    """A small tmpfs in a mount namespace of its own; it goes with the process."""
    unshare = ["unshare", "--mount", *(["--user", "--map-root-user"] if os.geteuid() else [])]
    mount = f'mount -t tmpfs -o size=4m tmpfs {tmp_path} && exec {sys.executable} -c "$0" {tmp_path}'
    done = subprocess.run(
        [*unshare, "sh", "-c", mount, textwrap.dedent(FULL_DISK)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "told: " in done.stdout
    assert "No space left on device; make room and run again" in done.stdout
    assert "refused" in done.stdout
    assert "readable healed from the reserve" in done.stdout


def test_a_recording_over_its_cap_is_refused(tmp_path):
    with Recorder(tmp_path, cap_bytes=100_000, free_bytes_min=0) as recorder:
        (tmp_path / ".reserve").unlink()
        recorder.check_space()
        (tmp_path / "logs/etcd1.log").write_bytes(b"x" * 100_001)
        with pytest.raises(RecordingError, match=r"its cap is 100,000"):
            recorder.check_space()


def test_too_little_free_disk_is_refused_and_a_smaller_wish_is_not(tmp_path):
    with Recorder(tmp_path, free_bytes_min=1 << 60) as recorder:
        with pytest.raises(RecordingError, match="bytes are free"):
            recorder.check_space()
        assert recorder.why_no_space(0) == ""


def test_a_folder_that_cannot_be_made_is_the_harness_s_trouble(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RecordingError, match="can't be begun"):
        Recorder(tmp_path / "file" / "run")


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path):
    write_whole(tmp_path / "a.json", "old")
    with pytest.raises(UnicodeEncodeError):
        write_whole(tmp_path / "a.json", "\ud800")
    assert (tmp_path / "a.json").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


# ---------------------------------------------------------------- columns


def test_columns_are_arrays_with_never_for_a_null_time_and_none_for_a_null_text():
    recording = Recording.of(
        samples=[{"call_ns": 1, "return_ns": None, "outcome": 2}, {"call_ns": 2, "return_ns": 5, "value": "a"}]
    )
    call_ns, return_ns, value, generator = recording.columns("call_ns", "return_ns", "value", "generator")
    assert call_ns.tolist() == [1, 2]
    assert return_ns.tolist() == [NEVER_NS, 5]
    assert value.tolist() == [None, "a"]
    assert generator.tolist() == ["kv-0", "kv-0"]


def test_columns_of_nothing_are_empty():
    assert [len(column) for column in Recording.of().columns("call_ns", "op", "value")] == [0, 0, 0]


def test_a_null_number_of_a_reading_is_not_a_zero():
    table = pa.Table.from_pylist([{"name": "x", "value": None}], schema=READINGS)
    assert np.isnan(as_numpy(table["value"])[0])


# ---------------------------------------------------------------- logs that were read back


@pytest.fixture
def logged(folder):
    made = MadeTopics()
    for number in range(30):
        made.append("in", key=number % 3, n=number // 3, timestamp_ms=number)
    made.append("in", key=None, partition=1)
    made.write(folder)
    return folder


@pytest.mark.parametrize("mapped", [False, True])
def test_a_topic_is_read_back_with_its_ends_and_nulls_have_their_stand_ins(logged, monkeypatch, mapped):
    monkeypatch.setattr(streams, "MAPPED_BYTES", 0 if mapped else 1 << 30)
    recording = Recording.open(logged)
    topic = recording.topic("in")
    assert recording.complete, recording.why_incomplete
    assert recording.topic("out") is None
    assert topic.why_unproven == ""
    assert topic.end.high == {0: 20, 1: 11}
    key, n, count = topic.columns("key", "n", "count")
    assert (key[:4].tolist(), n[3]) == ([0, 1, 2, 0], 1)
    assert (key[-1], n[-1]) == (UNREADABLE, NEVER_NS)
    assert (count == NEVER_NS).all()


def test_a_topic_whose_reader_was_cut_short_leaves_the_recording_incomplete(logged):
    (logged / "topics/in.closed.json").unlink()
    recording = Recording.open(logged)
    assert recording.why_incomplete == ("the reader of topic in was cut short",)
    assert recording.topic("in").table.num_rows == 31


def test_a_torn_topic_keeps_what_is_whole_and_says_so(logged):
    path = logged / "topics/in.arrow"
    path.write_bytes(path.read_bytes()[:-300])
    recording = Recording.open(logged)
    assert recording.why_incomplete == ("topics/in.arrow was torn after batch 0",)
    assert recording.topic("in").why_unproven == "topics/in.arrow was torn after batch 0"


def test_a_topic_with_fewer_records_than_its_reader_counted_is_told(logged):
    path = logged / "topics/in.closed.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"records": 32}))
    assert Recording.open(logged).why_incomplete == ("topics/in.arrow has 31 records, its reader counted 32",)


def test_a_reader_that_ended_early_leaves_the_recording_whole_and_the_topic_unproven(logged):
    path = logged / "topics/in.closed.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"complete": False, "why": "timeout"}))
    recording = Recording.open(logged)
    assert recording.complete
    assert recording.topic("in").why_unproven == "in was not read to its end: timeout"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"complete": true}', '{"complete": true, "records": 1, "end": 3}'])
def test_an_end_that_can_not_be_read_is_none(logged, text):
    (logged / "topics/in.closed.json").write_text(text)
    assert Recording.open(logged).topic("in").end is None


def test_a_topic_of_another_version_is_refused(logged):
    with pa.ipc.new_stream(logged / "topics/in.arrow", pa.schema([("key", pa.int32())])):
        pass
    with pytest.raises(RecordingError, match=r"^topics/in\.arrow lacks the columns partition, offset, "):
        Recording.open(logged).topic("in")
