"""The queues name files that are there, and a worker gets a whole queue."""

from __future__ import annotations

from pathlib import Path

from tests.spreading import QUEUES, Queues

ROOT = Path(__file__).resolve().parents[1]


def test_every_file_of_a_queue_is_there():
    assert [name for name in QUEUES if not (ROOT / name).is_file()] == []


def test_tests_of_a_queue_are_one_unit_and_others_are_alone():
    split = Queues._split_scope
    kafka, flink = "tests/stacks/kafka/test_kafka_in_lab.py::a", "tests/stacks/flink/test_flink_in_lab.py::b[x]"
    assert split(None, kafka) == split(None, flink)
    assert split(None, "tests/test_units.py::a[1]") != split(None, "tests/test_units.py::a[2]")
