"""What the driver says of generators from which it hears nothing new."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from chaos.model import Load, LoadStage, LoadStatus, to_json
from tests.leftovers import await_true
from workloads import driver
from workloads.assignment import Assignment
from workloads.driver import LocustGenerator, _Child

LOAD = Load(workload="kv", rate_per_s=10.0, users=1, stages=(LoadStage(),))
SAYS_ONCE = "import os, sys; os.write(1, (sys.argv[1] + '\\n').encode()); sys.stdin.read()"


@pytest.fixture
def generator(tmp_path):
    """A generator that says once how it is, and then nothing."""
    found = LocustGenerator(LOAD)

    def begin(**status) -> LocustGenerator:
        said = json.dumps({"say": "status", **to_json(LoadStatus(at_ns=7, ok=3, **status))})
        process = subprocess.Popen(
            [sys.executable, "-c", SAYS_ONCE, said], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assignment = Assignment(
            load=LOAD, endpoints={}, folder=str(tmp_path), run_id="r", seed=0, index=0, duration_s=None
        )
        found.children.append(_Child(process, assignment))
        found.wait_for("status", 20.0)
        return found

    yield begin
    found.kill()


def test_values_that_were_not_said_anew_do_not_look_new(generator):
    running = generator(running=True)
    assert (running.status(), running.status().at_ns, running.status().ok) == (running.status(), 7, 3)


def test_a_running_generator_that_keeps_silent_does_not_run(generator, monkeypatch):
    running = generator(running=True)
    assert running.status().running
    monkeypatch.setattr(driver, "SILENT_S", 0.2)
    await_true("the silence is noticed", lambda: not running.status().running, within_s=20)
    assert "generator kv-0 has said nothing for 0.2 s" in running.status().why


def test_a_generator_whose_load_is_over_may_keep_silent(generator, monkeypatch):
    monkeypatch.setattr(driver, "SILENT_S", 0.0)
    over = generator(running=False)
    assert (over.status().running, over.status().why) == (False, "")
