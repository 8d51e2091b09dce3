"""Whether recordings fit on their disk."""

from __future__ import annotations

import pytest

from chaos.model import AbortWhen, Load
from chaos.plan import plan
from chaos.room import CAP_BYTES, expected, free_bytes, size, too_large
from tests.test_plan import THREE, experiment

GB = 10**9


def planned(*, rate_per_s=None, duration_s=60.0, free_disk_bytes=None, closed_loop=False):
    load = Load(workload="kv", rate_per_s=rate_per_s, closed_loop=closed_loop)
    limits = AbortWhen(free_disk_bytes=free_disk_bytes)
    return plan(experiment(load=load, duration_s=duration_s, abort_when=limits), THREE)


@pytest.fixture
def free(monkeypatch):
    def leave(number):
        monkeypatch.setattr("chaos.room.free_bytes", lambda _: number)

    return leave


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "1 MB"), (21.4e6, "21 MB"), (1.44e9, "1.44 GB"), (79.7e9, "79.7 GB"), (2.5e12, "2.5 TB"), (9e15, "9,000 TB")],
)
def test_sizes_are_said_as_people_read_them(number, text):
    assert size(number) == text


def test_what_fits_is_fine(free, tmp_path):
    free(2 * GB)
    one = planned(rate_per_s=100)
    assert too_large([one] * 10, tmp_path) == []
    assert expected(one, tmp_path) == f"about 1 MB; 2 GB are free in {tmp_path}"


def test_a_set_that_needs_more_than_is_free_is_too_large(free, tmp_path):
    free(GB)
    one = planned(rate_per_s=50_000)  # half a gigabyte
    assert too_large([one], tmp_path) == []
    (said,) = too_large([one, one], tmp_path)
    assert said == (
        f"{tmp_path}: the recordings take 1.12 GB and 268 MB must stay free, of 1 GB;"
        " make room, shorten the runs, or give another --runs folder"
    )


def test_what_the_experiment_wants_to_stay_free_counts(free, tmp_path):
    free(2 * GB)
    assert too_large([planned(rate_per_s=100, free_disk_bytes=GB)], tmp_path) == []
    (said,) = too_large([planned(rate_per_s=100, free_disk_bytes=3 * GB)], tmp_path)
    assert "3 GB must stay free, of 2 GB" in said


def test_one_recording_has_its_own_limit(free, tmp_path):
    free(10**15)
    one = planned(rate_per_s=50_000, duration_s=3600.0)
    assert one.recording_bytes > CAP_BYTES
    (said,) = too_large([one], tmp_path)
    assert said == "e: a recording of 28.9 GB, and 4.29 GB are the most; shorten it, or lower its rate"
    assert expected(one, tmp_path).endswith("; TOO LARGE: " + said.removeprefix("e: "))


def test_a_rate_that_is_only_assumed_gets_the_benefit_of_the_doubt(free, tmp_path):
    free(GB)
    one = planned(closed_loop=True, duration_s=600.0)
    assert one.recording_bytes > GB - 256e6 > one.recording_bytes / 10
    assert too_large([one], tmp_path) == []
    assert "at an assumed rate" in expected(one, tmp_path)
    assert too_large([planned(closed_loop=True, duration_s=36_000.0)], tmp_path)


def test_the_disk_is_asked_for_a_folder_that_is_not_there_yet(tmp_path):
    here = free_bytes(tmp_path)
    assert abs(free_bytes(tmp_path / "a/b") - here) < GB
