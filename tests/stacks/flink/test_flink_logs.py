from __future__ import annotations

import pytest

from chaos.stacks.flink.logs import suspicious_lines
from chaos.stacks.flink.reported import in_log
from chaos.stacks.streaming.logs import suspicious_lines as of_either

AT = "2026-11-21T18:35:00.250+00:00"


@pytest.mark.parametrize(
    ("line", "what"),
    [
        (
            f"{AT} ERROR TaskManagerRunner - Fatal error occurred while executing the TaskManager. Shutting it down",
            "fatal",
        ),
        (f"{AT} FATAL x - y", "fatal"),
        (f"{AT} WARN Task - java.lang.OutOfMemoryError: Metaspace", "out of memory"),
        ("java.lang.OutOfMemoryError: Java heap space", "out of memory"),
        ("# A fatal error has been detected by the Java Runtime Environment:", "crash"),
        ("Caused by: java.lang.NoClassDefFoundError: org/apache/flink/cep/PatternProcessFunction", "mixed versions"),
    ],
)
def test_what_flink_gives_up_on_is_suspicious(line, what):
    (found,) = suspicious_lines(f"{AT} INFO a - b\n{line}\n")
    assert (found.number, found.what) == (2, what)


@pytest.mark.parametrize(
    "line",
    [
        f"{AT} INFO ClusterEntrypoint - Loading configuration property: fatal, checksum",
        f"{AT} WARN Task - Source: input switched from RUNNING to FAILED with failure cause: org.x.TimeoutException",
        "\tat org.apache.flink.runtime.taskmanager.Task.run(Task.java:1)",
        "",
    ],
)
def test_what_flink_recovers_from_is_not(line):
    assert suspicious_lines(line) == []


def test_a_suspicion_knows_when():
    (found,) = suspicious_lines(f"{AT} FATAL x - y")
    assert found.at_s == 1795286100.25


def test_the_newest_start_in_a_log_says_the_version():
    start = "Starting TaskManager (Version: {}, Scala: 2.12, Rev:c0f8d1a, Date:2026-06-14)"
    assert in_log(f"{AT} INFO x - {start.format('2.2.1')}\n{AT} INFO x - {start.format('2.3.0')}\n") == "2.3.0"
    assert in_log(f"{AT} INFO x - hello\n") == ""


def test_a_brokers_log_is_read_as_kafkas():
    kafka = "2026-11-21T18:35:00,250+0000 INFO KafkaRaftServer - hello\nEncountered fatal fault: x\n"
    assert [found.what for found in of_either(kafka)] == ["fatal"]
    assert [found.what for found in of_either(f"{AT} INFO x - Halting\n{AT} FATAL x - y\n")] == ["fatal"]
