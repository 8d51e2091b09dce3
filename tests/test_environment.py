from __future__ import annotations

import pytest

from chaos import environment
from chaos.model import Load, LoadStage
from chaos.stacks.etcd.access import password_in
from workloads.driver import LocustWorkload

NAME = "CHAOSGATE_TEST_SECRET"


@pytest.fixture(autouse=True)
def _as_before(monkeypatch):
    """A process learns names of secrets and forgets none; this one does."""
    monkeypatch.setattr(environment, "_HIDDEN", set())
    monkeypatch.setenv(NAME, "s3cret")


def test_a_child_sees_our_environment_and_what_is_added():
    seen = environment.of_children(MORE="more")
    assert (seen[NAME], seen["MORE"]) == ("s3cret", "more")


def test_a_variable_that_a_password_was_read_from_is_passed_on_to_no_child(monkeypatch):
    assert password_in(NAME) == "s3cret"
    assert "s3cret" not in environment.of_children().values()
    monkeypatch.setenv(NAME, "another")
    assert "another" not in environment.of_children().values()
    assert password_in(NAME) == "another"  # the next experiment of a set reads it too


def test_a_generator_is_started_without_the_password(tmp_path):
    told = {}

    def spawn(_, **popen):
        told.update(popen["env"])
        raise FileNotFoundError("no such program")

    password_in(NAME)
    load = Load(workload="kv", rate_per_s=1.0, users=1, stages=(LoadStage(),))
    with pytest.raises(FileNotFoundError):
        LocustWorkload(spawn).start(load, {"etcd1": "192.0.2.1:2379"}, tmp_path, 0, 1)
    assert "PYTHONPATH" in told
    assert "s3cret" not in told.values()
