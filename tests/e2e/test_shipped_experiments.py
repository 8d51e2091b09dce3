"""Every shipped etcd experiment promotes a sound etcd, and crash-loop holds a really bad one. As a user runs them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.e2e import short

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.real, pytest.mark.slow, pytest.mark.alone, pytest.mark.timeout(600)]

EXPERIMENTS = sorted((short.ROOT / "experiments" / "etcd").glob("*.yaml"))
ATTEMPTS = 3  # "cannot tell" on a busy machine is an honest answer, and a run may be repeated; a hold is final


def gate(file: Path, runs: Path, *arguments: str) -> tuple[int, dict]:
    """Run the command; return its exit code and the verdict, with everything it said on failure."""
    process = short.command("run", file, "--runs", runs, *arguments)
    said, _ = process.communicate(timeout=550)
    verdicts = sorted(runs.glob("*/verdict.json"))
    assert verdicts, said
    return process.returncode, json.loads(verdicts[-1].read_text())


@pytest.mark.parametrize("file", EXPERIMENTS, ids=lambda file: file.stem)
def test_a_sound_etcd_is_promoted(file, tmp_path):
    for attempt in range(ATTEMPTS):
        code, verdict = gate(file, tmp_path / str(attempt))
        if code != 11:
            break
    assert code == 0, verdict["sentence"]
    assert verdict["decision"] == "promote"


def test_the_bad_release_is_held_and_the_member_named(tmp_path):
    """One run, as a pipeline has one; benchmarks/bad_release.py counts how often that is enough."""
    file = short.ROOT / "experiments/etcd/crash-loop.yaml"
    code, verdict = gate(file, tmp_path, "--version", "etcd=3.5.1")
    assert code == 10, verdict["sentence"]
    replicas = next(v for v in verdict["verdicts"] if v["gate"] == "replicas-equal")
    assert replicas["status"] == "FAIL"
    (member,) = replicas["numbers"]["members"][:1]
    assert member in replicas["summary"]
    assert any(replicas["numbers"]["first_differing"].values())  # bisected: the revision from which on it differs
