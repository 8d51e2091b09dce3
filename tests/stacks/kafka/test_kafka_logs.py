"""What in a broker's log is trouble, and what is how a broker talks of brokers that are away."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from chaos.stacks.kafka.logs import suspicious_lines, version_of

AT = "2026-01-31T12:00:00,123+01:00"


@pytest.mark.parametrize(
    ("line", "what", "explained"),
    [
        (f"{AT} FATAL KafkaRaftServer - Exiting Kafka due to fatal exception during startup.", "fatal", ()),
        (f"{AT} ERROR ProcessTerminatingFaultHandler - Encountered fatal fault: caught exception", "fatal", ()),
        (f"{AT} ERROR LogDirFailureChannel - Error while writing to checkpoint file /d/kafka", "log directory", ()),
        ("java.lang.OutOfMemoryError: Java heap space", "out of memory", ()),
        ("#  SIGSEGV (0xb) at pc=0x00007f, pid=12, tid=13", "crash", ()),
        (
            f"{AT} WARN  LogLoader - Found a corrupted index file corresponding to log file /d/in-0/0.log due to",
            "corruption",
            ("signal", "power"),
        ),
        (
            "org.apache.kafka.common.errors.CorruptRecordException: Record is corrupt (stored crc = 1)",
            "corruption",
            ("power",),
        ),
        (f"{AT} ERROR UnifiedLog - java.io.IOException: No space left on device", "disk", ()),
    ],
)
def test_trouble_is_named_and_says_what_may_explain_it(line, what, explained):
    (found,) = suspicious_lines(f"{AT} INFO  A - fine\n{line}\n")
    assert (found.number, found.line, found.what, found.explained_by) == (2, line, what, explained)


@pytest.mark.parametrize(
    "line",
    [
        f"{AT} WARN  NetworkClient - [RaftManager id=1] Connection to node 2 could not be established.",
        f"{AT} INFO  LogLoader - Recovering unflushed segment 0. 0/1 recovered for in-0.",
        f"{AT} ERROR ControllerApis - Unexpected error handling request RequestHeader(apiKey=BROKER_HEARTBEAT",
        "\tlog.cleaner.corrupt.thing = halting",
        "java.io.IOException: Connection to 10.0.0.1:9093 was disconnected before the response was read",
    ],
)
def test_that_others_are_away_and_settings_are_no_trouble(line):
    assert suspicious_lines(line) == []


def test_a_line_says_when_it_was_written_and_the_jvm_s_do_not():
    (dated,) = suspicious_lines(f"{AT} FATAL A - x")
    assert dated.at_s == datetime(2026, 1, 31, 11, 0, 0, 123000, tzinfo=UTC).timestamp()
    (bare,) = suspicious_lines("java.lang.OutOfMemoryError: Metaspace")
    assert bare.at_s is None


def test_the_version_is_the_one_told_at_the_newest_start():
    old, new = (f"{AT} INFO  AppInfoParser - Kafka version: {version}\n" for version in ("4.2.0", "4.3.1"))
    assert version_of(old + "other\n" + new) == "4.3.1"
    assert version_of("nothing") == ""
