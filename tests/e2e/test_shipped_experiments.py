"""Shipped experiments, run as a user runs them: they promote what is sound, and crash-loop holds a really bad etcd.

One of each kind of fault, and one of all stacks together. All of them take most of an hour: `make gate-all` runs them.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.e2e import short

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

pytestmark = [pytest.mark.real, pytest.mark.slow, pytest.mark.alone, pytest.mark.timeout(600)]

SET = [
    short.ROOT / f"experiments/etcd/{name}.yaml"
    for name in ("leader-kill", "leader-partition", "lossy-links", "version-upgrade")
]
TOGETHER = short.ROOT / "experiments/streaming/one-after-another.yaml"
ATTEMPTS = 2  # "cannot tell" on a busy machine is an honest answer, and a run may be repeated; a hold is final
WORST_FIRST = (13, 10, 12, 11, 0)


def gate(files: Sequence[Path], runs: Path, *arguments: str) -> tuple[int, dict[str, dict]]:
    """Run the command; return its exit code and experiment → verdict, with everything it said on failure."""
    process = short.command("run", *files, "--runs", runs, *arguments)
    said, _ = process.communicate()
    verdicts = [json.loads(path.read_text()) for path in runs.glob("*/verdict.json")]
    assert len(verdicts) == len(files), said
    return process.returncode, {verdict["experiment"]: verdict for verdict in verdicts}


@pytest.fixture(scope="module")
def whole_set(tmp_path_factory):
    """Several experiments, one after the other, by one command."""
    return gate(SET, tmp_path_factory.mktemp("set"))


@pytest.mark.timeout(1500)
def test_a_set_has_the_exit_code_of_its_worst_run(whole_set):
    code, verdicts = whole_set
    codes = {verdict["exit_code"] for verdict in verdicts.values()}
    assert code == next(one for one in WORST_FIRST if one in codes)


@pytest.mark.timeout(1500)
@pytest.mark.parametrize("file", SET, ids=lambda file: file.stem)
def test_a_sound_etcd_is_promoted(file, whole_set, tmp_path):
    assert_promoted(whole_set[1][file.stem], file, tmp_path)


def test_a_sound_etcd_kafka_and_flink_are_promoted_together(tmp_path):
    _, verdicts = gate([TOGETHER], tmp_path / "first")
    (verdict,) = verdicts.values()
    assert_promoted(verdict, TOGETHER, tmp_path)


def assert_promoted(verdict, file, runs):
    for attempt in range(ATTEMPTS):
        if verdict["exit_code"] != 11:
            break
        (verdict,) = gate([file], runs / str(attempt))[1].values()
    assert verdict["decision"] == "promote", verdict["sentence"]


def test_the_bad_release_is_held_and_the_member_named(tmp_path):
    """One run, as a pipeline has one; benchmarks/bad_release.py counts how often that is enough."""
    file = short.ROOT / "experiments/etcd/crash-loop.yaml"
    code, verdicts = gate([file], tmp_path, "--version", "etcd=3.5.1")
    verdict = verdicts["crash-loop"]
    assert code == 10, verdict["sentence"]
    replicas = next(v for v in verdict["verdicts"] if v["gate"] == "replicas-equal")
    assert replicas["status"] == "FAIL"
    (member,) = replicas["numbers"]["members"][:1]
    assert member in replicas["summary"]
    assert any(replicas["numbers"]["first_differing"].values())  # bisected: the revision from which on it differs
