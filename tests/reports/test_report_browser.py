"""The report in a real browser: drawn, quiet, asking nothing of anybody; light and dark, on a phone and on paper."""

from __future__ import annotations

from dataclasses import replace

import pytest
from browser import PROGRAMS, browser, found
from made import crash_loop, cut_short, nothing, sound, violated

from gates.judge import judge_set
from reports.html import render, render_set

pytestmark = [
    pytest.mark.real,
    pytest.mark.slow,
    pytest.mark.skipif(found() is None, reason=f"none of {', '.join(PROGRAMS)} on PATH"),
]

CANVASES = """[...document.querySelectorAll('#charts canvas')].map(one => {
    const {data} = one.getContext('2d').getImageData(0, 0, one.width, one.height), inks = new Set();
    for (let at = 0; at < data.length; at += 4) {
        if (data[at + 3]) inks.add(data[at] << 16 | data[at + 1] << 8 | data[at + 2]);
    }
    return inks.size;
})"""
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
PLACE = "document.querySelector('#%s .u-over').getBoundingClientRect().toJSON()"
BAND = """(t => {
    const canvas = document.querySelector('#throughput canvas'), frame = canvas.getBoundingClientRect();
    const box = document.querySelector('#throughput .u-over').getBoundingClientRect();
    const all = JSON.parse(document.getElementById('data').textContent), ts = all.series.t;
    const half = all.series.bucket_s / 2, dense = canvas.width / frame.width;
    const share = (t - ts[0] + half) / (Math.max(ts[ts.length - 1] + half, all.run[1]) - ts[0] + half);
    const x = Math.round((box.left - frame.left + share * box.width) * dense);
    const {data} = canvas.getContext('2d').getImageData(x, (box.top - frame.top + 3) * dense, 16, 16);
    let painted = 0;
    for (let at = 3; at < data.length; at += 4) painted += data[at] > 0;
    return painted;
})"""


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    with browser(tmp_path_factory.mktemp("profile")) as one:
        yield one


@pytest.fixture
def shown(chromium, tmp_path):
    def show(text, **how):
        page = tmp_path / "report.html"
        page.write_text(text, encoding="utf-8")
        chromium.open(page, **how)
        return chromium

    return show


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("make", [violated, crash_loop, sound, cut_short])
def test_every_chart_is_drawn_and_nothing_complains(shown, make, scheme, tmp_path):
    page = shown(render(*make()), scheme=scheme)
    inks = page.run(CANVASES)
    assert len(inks) >= 3
    assert min(inks) > 3
    assert page.complaints == []
    assert [one for one in page.requests if not one.startswith("data:")] == [(tmp_path / "report.html").as_uri()]


def test_a_recording_of_nothing_shows_a_sentence_instead_of_charts(shown):
    page = shown(render(*nothing()))
    assert page.run("document.querySelectorAll('#charts canvas').length") == 0
    assert page.run("document.getElementById('charts').textContent") == "No operation was recorded."
    assert page.complaints == []


def test_faults_are_bands_behind_the_curves_and_the_calm_is_not(shown):
    recording, judgement = sound()
    page = shown(render(recording, judgement))
    fault = page.run("JSON.parse(document.getElementById('data').textContent).faults[0]")
    inside, before = (fault["start"] + fault["end"]) / 2, fault["start"] - 1.5
    assert page.run(f"{BAND}({inside})") > 200
    assert page.run(f"{BAND}({before})") < 100


def test_dragging_zooms_every_chart_and_a_double_click_shows_the_whole_run_again(shown):
    page = shown(render(*sound()))

    def moment(chart):
        """Return what the readout says of one place in the middle of a chart."""
        page.run(f"document.getElementById('{chart}').scrollIntoView({{block: 'center'}})")
        box = page.run(PLACE % chart)
        page.move(box["x"] + 299, box["y"] + 30)
        page.move(box["x"] + 300, box["y"] + 31)
        return page.run("document.getElementById('readout').textContent").split("  ")[0]

    whole = moment("throughput")
    assert whole.startswith("t = ")
    assert moment("latency") == moment("lanes") == whole
    box = page.run(PLACE % "lanes")
    left, right, y = box["x"] + 450, box["x"] + 600, box["y"] + 30
    page.move(left, y)
    page.move(left, y, "mousePressed", button="left", clickCount=1)
    page.move(right, y, button="left", buttons=1)
    page.move(right, y, "mouseReleased", button="left", clickCount=1)
    zoomed = moment("throughput")
    assert zoomed != whole
    assert moment("latency") == moment("lanes") == zoomed
    for clicks in (1, 2):
        page.move(left, y, "mousePressed", button="left", clickCount=clicks)
        page.move(left, y, "mouseReleased", button="left", clickCount=clicks)
    assert moment("throughput") == moment("latency") == whole
    assert page.complaints == []


def test_the_readout_names_the_fault_under_the_cursor(shown):
    page = shown(render(*sound()))
    page.run("[...document.querySelectorAll('#tools button')].find(one => one.textContent.startsWith('next')).click()")
    assert page.run("document.getElementById('readout').textContent").startswith("kill #0 on etcd1: asked at")
    page.run("document.getElementById('throughput').scrollIntoView({block: 'center'})")
    box = page.run(PLACE % "throughput")
    page.move(box["x"] + box["width"] * 0.45, box["y"] + 40)
    assert "kill #0 on etcd1" in page.run("document.getElementById('readout').textContent")


def test_a_phone_needs_no_sideways_scrolling(shown):
    page = shown(render(*violated()), width=390, height=800)
    assert page.run(OVERFLOW) <= 0
    assert page.complaints == []


def test_it_prints_with_its_charts_in_light(shown):
    page = shown(render(*violated()), scheme="dark")
    assert page.printed().startswith(b"%PDF")
    page.run("dispatchEvent(new Event('beforeprint'))")
    assert page.run("document.querySelectorAll('details:not([open]):not(#log)').length") == 0
    assert page.run("getComputedStyle(document.body).color") == "rgb(24, 32, 43)"
    assert min(page.run(CANVASES)) > 3
    page.run("dispatchEvent(new Event('afterprint'))")
    assert page.run("document.querySelectorAll('details:not([open])').length") > 0
    assert page.complaints == []


def test_the_log_can_be_searched(shown):
    page = shown(render(*sound()))
    count = "[...document.querySelectorAll('#log tbody tr')].filter(one => !one.hidden).length"
    whole = page.run(count)
    page.run("(f => { f.value = 'inject'; f.dispatchEvent(new Event('input')); })(document.getElementById('filter'))")
    assert 0 < page.run(count) < whole


def test_a_set_is_shown_without_a_script(shown, tmp_path):
    runs = [replace(sound()[1], experiment="kill"), replace(violated()[1], experiment="cut")]
    page = shown(render_set(judge_set(runs, ["kill", "cut", "missing"]), [tmp_path / "0-kill-1", tmp_path / "0-cut-1"]))
    assert page.run("document.querySelectorAll('tbody tr').length") == 3
    assert page.run(OVERFLOW) <= 0
    assert page.complaints == []
