"""What the shipped experiments and `make gate` promise on paper; tests/e2e runs them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from chaos.preflight import timeline
from chaos.spec import load
from chaos.stacks.etcd.versions import SHIPPED
from workloads import WORKLOADS

ROOT = Path(__file__).resolve().parents[1]
MAKEFILE = (ROOT / "Makefile").read_text("utf-8").replace("\\\n", " ")
GATE_SET = re.search(r"^GATE_SET := (.*)$", MAKEFILE, re.MULTILINE)[1].split()
FILES = sorted((ROOT / "experiments").rglob("*.yaml"))
PROMISED_S = 480
BESIDE_S = 10  # a run's own: to start, to build the lab, to judge, to draw; benchmarks/overhead.py measures it
JOB_S = 35  # what a start of Kafka and Flink with a job takes on two cores; benchmarks/start_up.py measures it
RATE_MAX = 2000.0  # records a second into three brokers: a tenth of what two busy cores take
SHARE_MAX = 0.6  # of what a calibration finds: what breaks then is not the load


def planned_s(files):
    return sum(timeline(load(ROOT / file)).total_s + BESIDE_S + JOB_S * has_job(file) for file in files)


def has_job(file):
    return load(ROOT / file).stack.name in ("flink", "streaming")


def test_the_gate_set_ends_in_time():
    assert len(set(GATE_SET)) == len(GATE_SET) >= 5
    assert planned_s(GATE_SET) < PROMISED_S


def test_a_gate_set_that_is_too_long_is_found():
    assert planned_s([*GATE_SET, "experiments/etcd/crash-loop.yaml"]) > PROMISED_S


def test_the_promise_is_the_one_that_is_made():
    for text in (MAKEFILE, (ROOT / "README.md").read_text("utf-8")):
        assert f"under {PROMISED_S // 60} minutes" in text


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_no_shipped_load_is_more_than_the_machine_bears(file):
    asked = load(file).load
    if asked.rate_per_s is not None and WORKLOADS[asked.workload].paced:  # what it writes is counted, record by record
        assert asked.rate_per_s <= RATE_MAX
    elif not asked.closed_loop:  # one that waits for its answers can't be more
        assert asked.calibrated_share is not None, "a fixed rate is too much for some machine"
        assert 0 < asked.calibrated_share <= SHARE_MAX
    assert not asked.settings.get("sabotage")


def test_set_up_knows_every_version_that_shipped_experiments_ask_for():
    texts = [re.sub(r"#.*", "", file.read_text("utf-8")) for file in FILES]
    asked = {version for text in texts for version in re.findall(r"version: (\d[\w.]+)", text)}
    assert {"3.4.23", "3.5.35"} <= asked <= set(SHIPPED)
