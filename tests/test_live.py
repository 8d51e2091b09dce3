"""What is shown while a run goes on: one block on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from chaos import live
from chaos.live import LiveProgress, load_text, panel, plain_line, remaining
from chaos.model import LoadStatus
from chaos.stage import Progress


def progress(**fields):
    usual = {"experiment": "leader-kill", "phase": "fault", "at_s": 12.0, "duration_s": 30.0}
    return Progress(**{**usual, **fields})


LOAD = LoadStatus(at_ns=1, running=True, rate_per_s=1204.4, p99_s=0.0142)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"at_s": None}, ""),
        ({"at_s": -3.2}, "starts in 3 s"),
        ({"at_s": 12.0}, "18 s left"),
        ({"at_s": 31.0}, "0 s left"),
    ],
)
def test_the_countdown_counts_to_t_0_and_then_to_the_end(fields, said):
    assert remaining(progress(**fields)) == said


def test_load_is_rate_and_p99_and_no_answer_is_not_a_zero():
    assert load_text(progress(load=LOAD)) == "1,204/s   p99 14 ms"
    assert load_text(progress(load=LoadStatus(at_ns=1, running=True))) == "0/s"
    assert load_text(progress(load=None)) == ""


def test_a_plain_line_has_everything_and_no_colours():
    line = plain_line(progress(load=LOAD, in_force=("kill", "slow"), note="waiting"))
    for part in ("leader-kill", "fault", "18 s left", "1,204/s", "in force: kill, slow", "waiting"):
        assert part in line
    assert "\x1b" not in line


def lines_of(changes, monkeypatch, every_s=3600.0):
    monkeypatch.setattr(live, "PLAIN_EVERY_S", every_s)
    out = io.StringIO()
    with LiveProgress(Console(file=out, width=200)) as shown:
        for change in changes:
            shown(change)
    return out.getvalue().splitlines()


def test_off_a_terminal_a_line_is_said_when_phase_or_faults_change(monkeypatch):
    changes = [progress(at_s=1.0), progress(at_s=2.0), progress(in_force=("kill",)), progress(phase="drain")]
    lines = lines_of(changes, monkeypatch)
    assert len(lines) == 3
    assert "in force: kill" in lines[1]
    assert "drain" in lines[2]


def test_off_a_terminal_something_is_said_now_and_then(monkeypatch):
    assert len(lines_of([progress()] * 3, monkeypatch, every_s=-1.0)) == 3


def test_the_name_of_a_cell_is_said_whole(monkeypatch):
    (line,) = lines_of([progress(experiment="cut[version=3.5.1]", note="read [/x]")], monkeypatch)
    assert "cut[version=3.5.1]" in line
    assert "read [/x]" in line


def test_a_long_line_is_not_broken_in_a_log(monkeypatch):
    note = "word " * 80
    (line,) = lines_of([progress(note=note.strip())], monkeypatch)
    assert line.count("word") == 80


def test_on_a_terminal_one_block_is_drawn_again_and_taken_away():
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=160, color_system="truecolor", legacy_windows=False)
    with LiveProgress(console) as shown:
        shown(progress(load=LOAD, in_force=("kill",)))
    assert "\x1b[" in out.getvalue()
    assert "leader-kill" in out.getvalue()


def test_the_block_shows_name_phase_bar_countdown_load_and_faults():
    console = Console(width=160, no_color=True)
    with console.capture() as captured:
        console.print(panel(progress(load=LOAD, in_force=("kill",), note="etcd1 is down")))
    text = captured.get()
    for part in ("leader-kill", "fault", "━", "18 s left", "1,204/s   p99 14 ms", "kill", "etcd1 is down"):
        assert part in text


def test_a_run_that_has_not_begun_has_an_empty_bar():
    console = Console(width=160, no_color=True)
    with console.capture() as captured:
        console.print(panel(progress(at_s=None, duration_s=0.0)))
    assert "leader-kill" in captured.get()
