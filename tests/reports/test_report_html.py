"""The page, read as a browser's parser reads it: nothing missing, nothing that breaks out, nothing from elsewhere."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from made import ALL, crash_loop, cut_short, doubled, judged, nothing, sound, violated

from chaos.clock import ns
from chaos.model import Decision, Event, EventKind, NamedGate, Proof, Signal, Status
from chaos.recording import Recorder, Recording
from chaos.streams import SAMPLES
from chaos.testing import RecordingBuilder
from gates.judge import Judgement, judge_set
from gates.ledger import Ledger
from reports import REPORTS
from reports.html import SCRIPTS, render, render_set
from reports.sections import actions, verdicts
from reports.sections.environment import commands
from reports.sections.faults import steps
from reports.sections.ledger import ledgers
from reports.sections.replicas import replicas
from reports.sections.validity import facts
from reports.sections.witness import drawing

VOID = {"meta", "link", "br", "input"}


class Page(HTMLParser):
    """A document's elements, its text without scripts and styles, and what is left open at its end."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.scripts: list[str] = []
        self.wrong: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)

    def handle_data(self, data):
        if self.open[-1:] == ["script"]:
            self.scripts.append(data)
        elif self.open[-1:] != ["style"]:
            self.words.append(data)

    @property
    def text(self):
        return re.sub(r"\s+", " ", "".join(self.words))

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]

    def data(self):
        return json.loads(self.scripts[0])


@pytest.fixture(scope="module", params=ALL)
def drawn(request):
    recording, judgement = ALL[request.param]()
    return render(recording, judgement), judgement


def test_every_recording_can_be_drawn_and_is_a_well_formed_document(drawn):
    text, _ = drawn
    page = Page(text)
    assert text.startswith("<!DOCTYPE html>")
    assert page.wrong == []
    assert page.open == []


def test_every_gate_is_named_with_its_verdict_in_words(drawn):
    text, judgement = drawn
    page = Page(text)
    for verdict in judgement.verdicts:
        assert verdict.gate in page.text
        assert verdict.status.name.lower() in page.text
        assert re.sub(r"\s+", " ", verdict.summary.partition(verdicts.ALONE)[2] or verdict.summary) in page.text


def test_the_decision_is_the_heading(drawn):
    text, judgement = drawn
    assert f"<h1>{judgement.decision.value}</h1>" in text


def test_nothing_is_loaded_from_anywhere(drawn):
    page = Page(drawn[0])
    for tag, attributes in page.elements:
        assert "src" not in attributes, tag
        assert tag not in {"iframe", "object", "embed", "base", "img"}
        for address in (attributes.get("href") or "", attributes.get("action") or ""):
            assert not re.match(r"(?i)\s*(https?:|//|javascript:|file:)", address), address
    for style in re.findall(r"<style>(.*?)</style>", drawn[0], re.DOTALL):
        assert not re.search(r"@import|url\((?!#)", style)


def test_a_policy_forbids_every_request_and_every_other_script(drawn):
    policy = next(m["content"] for m in Page(drawn[0]).all("meta") if m.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'")
    assert "unsafe-inline" not in policy.split("script-src")[1]
    assert policy.count("sha256-") == len(SCRIPTS)


def test_every_link_inside_the_page_leads_somewhere(drawn):
    page = Page(drawn[0])
    names = {attributes["id"] for _, attributes in page.elements if attributes.get("id")}
    assert {a["href"][1:] for a in page.all("a") if a["href"].startswith("#")} <= names
    ids = [attributes["id"] for _, attributes in page.elements if attributes.get("id")]
    assert len(ids) == len(set(ids))


EVIL = "</script><b>x</b><script>alert(1)</script>&\"'"


def test_names_of_a_recording_cannot_break_out():
    recording, judgement = violated(step=EVIL)
    run = {**recording.run, "experiment": EVIL, "path": EVIL, "git_sha": EVIL, "versions_asked": {EVIL: EVIL}}
    page = Page(render(replace(recording, run=run), replace(judgement, experiment=EVIL, sentence=f"hold: {EVIL}")))
    assert page.wrong == []
    assert not any("alert(1)" in script for script in page.scripts[1:])
    assert page.data()["steps"] == [EVIL]
    assert "</script><b>x</b>" in page.text
    assert len(page.scripts) == 1 + len(SCRIPTS)


# ---------------------------------------------------------------- parts


def test_the_page_says_how_to_run_and_to_judge_it_again():
    recording, judgement = sound()
    run = {"path": "experiments/etcd/kill.yaml", "seed": 9, "target_name": "netns", "versions_asked": {"etcd": "3.5.1"}}
    text = Page(render(replace(recording, run=run), judgement)).text
    assert "chaosgate run experiments/etcd/kill.yaml --seed 9 --target netns --version etcd=3.5.1" in text
    assert "chaosgate judge RUN" in text
    replay = run | {"replay_of": "2026-kill-1", "replay_from": "runs/2026-kill-1", "versions_given": {}}
    again = "chaosgate run experiments/etcd/kill.yaml --replay runs/2026-kill-1 --target netns"
    assert commands(replace(recording, run=replay))[0] == ("run it again", again)
    cell = run | {"experiment": "kill[version=3.5.1,seed=9]", "versions_given": {}}
    all_cells = ("run it again, with all of its matrix", "chaosgate run experiments/etcd/kill.yaml --target netns")
    assert commands(replace(recording, run=cell))[0] == all_cells
    assert commands(Recording(folder=Path("/a/my runs/b"), run={}, events=()))[1][1] == "chaosgate judge 'my runs/b'"


def test_the_first_violation_is_drawn_with_its_context():
    recording, judgement = violated()
    found = drawing(recording, judgement)
    assert found.key == "run/r/17"
    assert [bar.label for bar in found.bars if not bar.context][-1] == "get → 3-41"
    assert any(bar.context and bar.open_end for bar in found.bars)
    assert [name for _, _, name in found.bands] == ["cut on etcd1"]
    assert all(0 <= bar.x <= found.width and bar.x + bar.width <= found.width for bar in found.bars)
    assert "The first violation" in Page(render(recording, judgement)).text


def test_without_a_violation_nothing_is_drawn():
    recording, judgement = sound()
    assert drawing(recording, judgement) is None
    assert "The first violation" not in render(recording, judgement)


def test_lost_writes_are_listed():
    text = Page(render(*violated())).text
    assert "Writes that are not as clients were told" in text
    assert "run/o/1" in text


def test_the_replica_that_differs_is_named_with_its_first_revision():
    recording, judgement = violated()
    assert replicas(recording).odd == ["etcd2"]
    text = Page(render(recording, judgement)).text
    assert "etcd2 does not hold what the others hold. etcd2 differs from revision 1001 on" in text


def test_equal_replicas_are_not_accused():
    recording, judgement = sound()
    assert replicas(recording).odd == []
    assert "no difference" in Page(render(recording, judgement)).text


def test_a_silent_member_is_not_a_different_one():
    builder = RecordingBuilder()
    builder.replicas(1, {"etcd1": 1.0, "etcd2": None, "etcd3": 1.0})
    found = replicas(builder.build())
    assert [cell.silent for cell in found.rounds[0].cells] == [False, True, False]
    assert found.odd == []


def test_a_fault_that_was_not_as_asked_is_said_to_be_so():
    builder = RecordingBuilder()
    builder.traffic(3)
    with builder.fault("kill", "etcd1", confirmed=Proof.MISMATCH, healed=None):
        builder.traffic(1)
    row = steps(builder.build())[0].rows[0]
    assert row.proof is Proof.MISMATCH
    assert row.heal_proof is Proof.INCONCLUSIVE
    assert not row.sound
    assert "mismatch" in Page(render(*judged(builder.build()))).text


def test_a_fault_confirmed_on_one_of_two_victims_is_not_confirmed():
    builder = RecordingBuilder()
    with builder.fault("kill", "etcd1", "etcd2", confirmed=None):
        builder.evidence(EventKind.CONFIRM, "confirm", "etcd1", Proof.CONFIRMED, step="kill")
    assert steps(builder.build())[0].rows[0].proof is Proof.INCONCLUSIVE


def test_a_watch_that_broke_makes_a_confirmed_fault_unsound():
    builder = RecordingBuilder()
    with builder.fault("kill", "etcd1"):
        builder.evidence(EventKind.CONFIRM, "watch", "etcd1", Proof.MISMATCH, step="kill")
    row = steps(builder.build())[0].rows[0]
    assert (row.proof, row.watch_broken, row.sound) == (Proof.CONFIRMED, 1, False)


def test_a_crash_loop_is_one_row_with_counts():
    recording, judgement = crash_loop()
    (step,) = steps(recording)
    assert step.folded
    assert step.proofs == {"confirmed": 120}
    assert step.victims == {"etcd1": 40, "etcd2": 40, "etcd3": 40}
    text = render(recording, judgement)
    assert "etcd1 × 40, etcd2 × 40, etcd3 × 40" in Page(text).text
    assert len(Page(text).data()["faults"]) == 120
    assert len(text) < 1_000_000


def test_the_bands_are_the_faults_of_the_windows():
    recording, judgement = sound()
    (band,) = Page(render(recording, judgement)).data()["faults"]
    (fault,) = recording.windows.faults
    start_ns = recording.windows.run[0]
    assert band["start"] == pytest.approx((fault.start_ns - start_ns) / 1e9, abs=1e-4)
    assert band["end"] == pytest.approx((fault.end_ns - start_ns) / 1e9, abs=1e-4)
    assert band["healed"]


def test_a_recording_that_was_cut_short_says_so_first():
    recording, judgement = cut_short()
    text = Page(render(recording, judgement)).text
    assert judgement.decision is Decision.CANNOT_TELL
    assert "cut short" in text
    assert next(fact for fact in facts(recording, steps(recording)) if fact.name == "Recording").good is False


def test_a_recording_of_nothing_has_no_charts_but_a_page():
    page = Page(render(*nothing()))
    assert page.data()["series"] is None
    assert "No fault was injected." in page.text


def test_load_below_what_was_asked_is_marked():
    builder = RecordingBuilder(rate_per_s=100)
    builder.traffic(5, rate_per_s=50)
    fact = next(one for one in facts(builder.build(), []) if one.name == "Load in steady")
    assert fact.good is False


def test_a_run_that_does_not_count_shows_what_each_gate_said_alone():
    recording, judgement = cut_short()
    rows = {row.name: row for row in verdicts.rows(judgement)}
    assert rows["acknowledged-writes"].status is Status.INCONCLUSIVE
    assert rows["acknowledged-writes"].alone
    assert "alone it said" in Page(render(recording, judgement)).text


def test_values_bounds_and_intervals_stand_in_their_columns():
    rows = {row.name: row for row in verdicts.rows(violated()[1])}
    assert rows["errors"].bound == "≤ 10 %"
    assert re.fullmatch(r"[\d.]+ % to [\d.]+ %", rows["errors"].interval)
    assert rows["errors"].bullet.value > rows["errors"].bullet.bound
    assert (rows["p99-under-fault"].value, rows["p99-under-fault"].bullet.value) == ("never", 100.0)
    assert rows["floor"].bound == "≥ 50/s"
    assert rows["floor"].bullet.floor
    assert (rows["linearizable"].value, rows["linearizable"].bullet) == ("violated", None)


@pytest.mark.parametrize(
    ("action", "words"),
    [
        ({"kind": "signal", "signal": "KILL", "process": ""}, "SIGKILL to every process of the stack"),
        ({"kind": "cut", "peers": ["etcd2"], "direction": "in"}, "hears nothing from etcd2"),
        (
            {"kind": "stack", "operation": "replace", "arguments": {"version": "3.6"}},
            "replace by the stack (version 3.6)",
        ),
        (
            {"kind": "shape", "direction": "in", "impairment": {"delay_s": 0.1, "jitter_s": 0.02, "loss": 0.05}},
            "delay 100 ms ± 20 ms, loss 5 % on what it receives",
        ),
        ({"kind": "something new"}, "something new"),
    ],
)
def test_actions_are_put_into_words(action, words):
    assert actions.described([action]) == words


def test_victims_that_are_each_others_peers_are_described_once():
    loss = {"kind": "shape", "direction": "in", "impairment": {"loss": 0.05}}
    said = actions.described([{**loss, "peers": ["a"]}, {**loss, "peers": ["b"]}])
    assert said == "loss 5 % on what it receives (with its peers)"


@pytest.mark.parametrize(("backends", "named"), [(["tap"], "tap"), (["nft", "nft"], "nft"), ([], "not told")])
def test_a_fault_names_the_backend_that_made_it(backends, named):
    recording, _ = violated()
    told = [
        replace(e, data={**e.data, "backends": backends}) if e.kind is EventKind.INJECT else e for e in recording.events
    ]
    assert steps(replace(recording, events=tuple(told)))[0].backend == named


# ---------------------------------------------------------------- size, files, sets


def million(n=1_000_000):
    """Make a recording of a million operations over ten minutes."""
    builder = RecordingBuilder()
    zero = builder.clock.now_ns()
    builder.clock.advance(600)
    times = zero + np.arange(n, dtype=np.int64) * 600_000
    given = {"intended_ns": times, "call_ns": times, "return_ns": times + ns(0.004), "outcome": np.zeros(n, np.int8)}
    word = pa.DictionaryArray.from_arrays(np.zeros(n, np.int32), pa.array(["get"]))
    given |= dict.fromkeys(("endpoint", "op", "consistency", "error"), word)
    samples = pa.table({f.name: given.get(f.name, pa.nulls(n, f.type)) for f in SAMPLES}).cast(SAMPLES)
    recording = builder.build()
    return Recording.of(events=recording.events, samples=samples, run=recording.run)


def test_a_million_operations_make_a_small_file():
    text = render(*judged(million(), gates=()))
    assert len(text.encode()) < 3_000_000
    rates = Page(text).data()["series"]
    assert sum(rates["served"]) * rates["bucket_s"] == pytest.approx(1_000_000, rel=0.01)


def test_files_of_a_recording_are_linked_relative_to_it(tmp_path):
    folder = tmp_path / "run"
    with Recorder(folder) as recorder:
        recorder.run(experiment="x", seed=3)
        recorder.event(Event(at_ns=1, kind=EventKind.RUN, detail="begin"))
    (folder / "evidence" / "a b#1.pcap").write_bytes(b"x" * 2000)
    links = {a["href"] for a in Page(render(*judged(Recording.open(folder)))).all("a")}
    assert {"evidence/a%20b%231.pcap", "run.json", "events.jsonl"} <= links
    assert not any(link.startswith("/") for link in links)


def test_the_html_report_is_in_the_table_and_its_assets_are_package_data():
    assert REPORTS["html"] is render
    assert "MIT License" in files("reports").joinpath("assets", "uplot", "LICENSE").read_text()


def test_a_set_has_one_decision_and_a_link_for_each_run():
    runs = [replace(violated()[1], experiment="partition"), replace(sound()[1], experiment="kill")]
    folders = [Path("runs/20260101T000000Z-partition-aa"), Path("runs/20260101T000100Z-kill-bb")]
    text = render_set(judge_set(runs, ["partition", "kill", "never-run"]), folders)
    page = Page(text)
    assert (page.wrong, page.open) == ([], [])
    assert "<h1>hold</h1>" in text
    assert [a["href"] for a in page.all("a")[1:]] == [f"{folder.name}/report.html" for folder in folders]
    assert "never-run" in page.text
    assert "not run" in page.text


def test_a_run_without_a_folder_has_no_link_and_takes_nobody_elses():
    runs = [replace(sound()[1], experiment=name) for name in ("a", "b")]
    page = Page(render_set(judge_set(runs), [Path("20260101T000000Z-b-aa")]))
    assert [a["href"] for a in page.all("a")[1:]] == ["20260101T000000Z-b-aa/report.html"]
    assert page.all("h1") == [{}]


def test_an_empty_set_cannot_tell():
    text = render_set(judge_set([]), [])
    assert "<h1>cannot tell</h1>" in text
    assert "Nothing was run." in text


def test_a_set_cannot_be_broken_out_of():
    one: Judgement = replace(sound()[1], experiment=EVIL, sentence=f"hold: {EVIL}")
    page = Page(render_set(judge_set([one], [EVIL, "x" + EVIL]), [Path(f"0-{EVIL.replace('/', '_')}-1")]))
    assert page.wrong == []
    assert page.all("script") == page.all("b")[:0]


def test_a_signal_is_a_kill_by_default():
    assert actions.described([{"kind": Signal.kind, "signal": Signal().signal}]).startswith("SIGKILL")


# ---------------------------------------------------------------- a ledger


def test_a_ledger_tells_the_counts_and_the_first_records_of_each_kind():
    recording, judgement = doubled()
    (table,) = ledgers(judgement)
    assert table.counts[0] == ("records in", "200")
    assert [(row.kind, row.alike, row.key, row.n, row.place) for row in table.rows] == [
        ("lost", "1", "2", "2", "in/0 offset 5"),
        ("doubled", "1", "1", "5", "out/1 offset 100"),
    ]
    text = " ".join(Page(render(recording, judgement)).words)
    assert "Ledger: exactly-once" in text
    assert "it never came out" in text


def test_a_ledger_without_a_fault_says_so():
    builder = RecordingBuilder()
    for number in range(200):
        builder.produce(number % 4)
    builder.topics.pipe()
    recording, judgement = judged(builder.build(), [NamedGate(name="exactly-once", gate=Ledger(output="out"))])
    assert "nothing wrong was found between the logs" in " ".join(Page(render(recording, judgement)).words)


def test_what_others_have_published_stands_beside_our_value_and_says_that_their_machines_are_others():
    recording, judgement = sound()
    gate = judgement.verdicts[1].gate
    text = render(recording, replace(judgement, published={gate: "93.5 % <b>of</b> 2244, arXiv:2602.03189"}))
    said = "published: 93.5 % &lt;b&gt;of&lt;/b&gt; 2244, arXiv:2602.03189. On other hardware"
    assert text.count(said) == 1
    assert "published:" not in render(recording, judgement)
