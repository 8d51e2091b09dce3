from __future__ import annotations

import re

import pytest

from chaos.errors import UsageError
from chaos.stacks.flink import jobs
from chaos.stacks.flink.jobs import Submission
from chaos.stacks.flink.settings import JobSettings


def script(name="keyed-count", version="v1", savepoint="", **settings):
    return jobs.script(
        name,
        Submission(version=version, savepoint=savepoint, settings=JobSettings(**settings)),
        ("10.0.0.1:9092", "b:1"),
    )


def test_every_text_belongs_to_a_job_and_every_job_has_a_first_version():
    tables = {f"{kind.tables}.sql" for kind in jobs.JOBS.values() if kind.tables}
    assert {path.name.split(".")[0] for path in jobs.FOLDER.iterdir() if path.name not in tables} == set(jobs.JOBS)
    assert all((jobs.FOLDER / name).is_file() for name in tables)
    assert all(jobs.FIRST in jobs.versions(name) for name in jobs.JOBS)


@pytest.mark.parametrize(("name", "version"), [(n, v) for n in jobs.JOBS for v in jobs.versions(n)])
def test_a_script_is_filled_in_whole_and_says_nothing_aside(name, version):
    text = script(name, version)
    assert "$" not in text
    assert "\n--" not in text
    assert text.rstrip().endswith(";")


def test_the_brokers_and_the_parallelism_are_in_the_script():
    text = script(parallelism=3)
    assert text.count("'properties.bootstrap.servers' = '10.0.0.1:9092,b:1'") == 3
    assert "SET 'parallelism.default' = '3';" in text


def test_a_job_writes_the_topics_that_it_says():
    text = script()
    assert set(re.findall(r"'topic' = '(\w+)'", text)) == {"in", "out", "win"}
    assert (jobs.kind("keyed-count").reads, jobs.kind("keyed-count").writes) == (("in",), ("out", "win"))


def names_of(text):
    """What is a job's own, and no other's: its name, its reader's group, its topics, its transactions."""
    patterns = (
        r"SET 'pipeline.name' = '([\w-]+)'",
        r"'properties.group.id' = '([\w-]+)'",
        r"'topic' = '([\w-]+)'",
        r"'sink.transactional-id-prefix' = '([\w-]+)'",
    )
    return [re.findall(pattern, text) for pattern in patterns]


def test_a_copy_shares_nothing_with_the_first_but_what_both_read():
    submission = Submission(settings=JobSettings(copies=2))
    first, second = (names_of(jobs.script("keyed-count", submission, ("b:1",), copy)) for copy in (1, 2))
    assert first == names_of(script())
    assert second == [
        ["keyed-count-2"],
        ["keyed-count-2"],
        ["in", "out-2", "win-2"],
        ["keyed-count-2-out", "keyed-count-2-win"],
    ]
    assert jobs.topics("keyed-count", 2) == ("in", "out", "win", "out-2", "win-2")
    assert jobs.topics("numbers", 3) == ()


@pytest.mark.parametrize("query", jobs.NEXMARK)
def test_a_query_of_nexmark_stands_behind_its_tables_and_writes_to_one_of_them(query):
    text = script(f"nexmark-{query}")
    assert text.index("CREATE TABLE input") < text.index("CREATE TEMPORARY VIEW bids") < text.index("INSERT INTO")
    assert re.findall(r"INSERT INTO (\w+)", text)[0] in ("records", "cells")
    assert set(re.findall(r"'topic' = '(\w+)'", text)) == {"in", "out"}


def test_two_sinks_never_fence_each_other_off():
    prefixes = re.findall(r"'sink.transactional-id-prefix' = '([\w-]+)'", script())
    assert prefixes == ["keyed-count-out", "keyed-count-win"]


def test_an_at_least_once_sink_has_no_transactions():
    text = script(guarantee="at-least-once")
    assert "transaction" not in text
    assert text.count("'sink.delivery-guarantee' = 'at-least-once'") == 2


def test_a_transaction_may_last_as_long_as_the_settings_say():
    assert "'properties.transaction.timeout.ms' = '1500'" in script(transaction_timeout_s=1.5)


def test_where_a_source_begins_is_a_setting():
    assert "'scan.startup.mode' = 'earliest-offset'" in script()
    assert "'scan.startup.mode' = 'latest-offset'" in script(start="latest")


def test_an_upgrade_begins_with_the_savepoint_and_drops_state_only_if_told():
    text = script(version="v2", savepoint="file:/lab/it's/savepoint-1")
    assert "SET 'execution.state-recovery.path' = 'file:/lab/it''s/savepoint-1';" in text
    assert "ignore-unclaimed-state" not in text
    assert "ignore-unclaimed-state' = 'true'" in script(savepoint="file:/s", keep_state=False)
    assert "state-recovery" not in script()


def test_the_two_versions_have_plans_of_one_shape():
    first, second = script(version="v1"), script(version="v2")
    assert first != second
    assert first.replace("'v1'", "'v2'") == second


@pytest.mark.parametrize(
    ("name", "version", "problem"), [("keyed", "v1", "no such job"), ("numbers", "v7", "there are v1")]
)
def test_what_there_is_not_is_refused(name, version, problem):
    with pytest.raises(UsageError, match=problem):
        jobs.path(name, version)
