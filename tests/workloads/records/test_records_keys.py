"""Which record is next, what it says, and what an experiment may say of them: pure."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaos.errors import SpecError, UsageError
from chaos.model import to_json
from chaos.spec import load_text
from workloads import WORKLOADS
from workloads.records.keys import SKIPPED_EACH, Draft, Keys, marker, value
from workloads.records.observer import of_copies
from workloads.records.settings import RecordsSettings
from workloads.records.topics import content


def sent_by(keys: Keys, count: int) -> list[Draft]:
    """Return the next records, each of them taken."""
    drafts = []
    for _ in range(count):
        drafts.append(keys.draw())
        keys.take(drafts[-1])
    return drafts


@given(st.integers(1, 30), st.integers(1, 6), st.integers(0, 99))
def test_each_key_belongs_to_one_process_and_its_numbers_go_up_from_nought(count, processes, seed):
    owners: dict[int, int] = {}
    for index in range(min(count, processes)):
        keys = Keys(count=count, index=index, processes=processes, rng=random.Random(seed))
        numbers = Counter()
        for draft in sent_by(keys, 20 * count):
            assert owners.setdefault(draft.key, index) == index
            assert draft.n == numbers[draft.key]
            numbers[draft.key] += 1
        assert keys.taken == 20 * count
    assert set(owners) <= set(range(count))


def test_every_key_gets_its_share():
    drawn = Counter(draft.key for draft in sent_by(Keys(count=40, rng=random.Random(1)), 40_000))
    assert set(drawn) == set(range(40))
    assert 800 < min(drawn.values()) <= max(drawn.values()) < 1200


def test_with_skew_a_key_weighs_less_the_later_it_comes():
    drawn = Counter(draft.key for draft in sent_by(Keys(count=10, zipf=1.0, rng=random.Random(1)), 29_290))
    for rank in range(10):
        assert drawn[rank] == pytest.approx(10_000 / (rank + 1), rel=0.1)


def test_the_hot_key_has_its_share_besides():
    drawn = Counter(draft.key for draft in sent_by(Keys(count=10, hot=0.5, rng=random.Random(1)), 20_000))
    assert drawn[0] == pytest.approx(11_000, rel=0.05)
    assert min(drawn.values()) > 800


@given(st.lists(st.booleans(), min_size=1, max_size=200))
def test_a_record_that_was_refused_leaves_no_hole(taken):
    keys, numbers = Keys(count=3, rng=random.Random(4)), {}
    for take in taken:
        draft = keys.draw()
        assert draft.n == numbers.get(draft.key, 0)
        if take:
            keys.take(draft)
            numbers[draft.key] = draft.n + 1


def test_a_generator_that_skips_numbers_leaves_holes():
    keys = Keys(count=2, rng=random.Random(1), skips=True)
    numbers: dict[int, list[int]] = {}
    for draft in sent_by(keys, 10 * SKIPPED_EACH):
        numbers.setdefault(draft.key, []).append(draft.n)
    holes = sum(max(found) + 1 - len(found) for found in numbers.values())
    assert 8 <= holes <= 10  # the last numbers skipped are no holes yet


def test_more_processes_than_keys_are_refused():
    with pytest.raises(ValueError, match="keys: 2 can't be shared by 3 processes; write 3 or more"):
        Keys(count=2, index=2, processes=3, rng=random.Random(1))


def test_what_a_record_says_is_json_that_is_read_back():
    said = value(Draft(17, 5), 1_700_000_000_000_000)
    assert json.loads(said) == {"k": "17", "n": 5, "t": 1_700_000_000_000_000}
    assert content(said)[:2] == (17, 5)


def test_the_marker_of_a_partition_has_a_key_that_no_traffic_has():
    assert [marker(partition) for partition in (0, 1, 3)] == [Draft(-1, 0), Draft(-2, 0), Draft(-4, 0)]


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"kees": 3}, "load.records: no such setting 'kees'; did you mean 'keys'"),
        ({"keys": 0}, "keys: 0 is too few; write 1 or more"),
        ({"queue": 0}, "queue: 0 is too few"),
        ({"acks": "none"}, "acks: 'none' is unknown; there are 1, all"),
        ({"isolation": "read_commited"}, "did you mean 'read_committed'?"),
        ({"arrivals": "burst"}, "there are even, poisson"),
        ({"sabotage": "skip"}, "sabotage: 'skip' is unknown"),
        ({"topic": ""}, "topic: a topic needs a name"),
        ({"read": ["in"]}, "read: in is what is produced to"),
        ({"read": ["out", "out"]}, "name each of them once"),
        ({"quiet_s": 20.0}, "settle: 15s; write more than quiet"),
        ({"settle_s": 61.0}, "at most 60s"),
        ({"content": "nexmarc"}, "did you mean 'nexmark'?"),
        ({"zipf": 9.0}, "zipf: 9; write 0 to 5"),
        ({"hot_share": 1.0}, "hot: 100%; write less than all"),
        ({"linger_s": 2.0}, "linger: 2s; write less than a second"),
    ],
)
def test_a_wrong_setting_is_named(settings, says):
    with pytest.raises(UsageError) as caught:
        RecordsSettings.of(settings)
    assert says in str(caught.value)


def test_settings_come_back_from_json():
    settings = RecordsSettings(read=("out", "win"), markers=True, acks="1")
    assert RecordsSettings.of(json.loads(json.dumps(to_json(settings)))) == settings


def test_the_table_names_the_settings():
    assert WORKLOADS["records"].settings_type is RecordsSettings


def test_naming_the_workloads_imports_no_client_of_kafka():
    code = "import sys, workloads, workloads.driver; print('confluent_kafka' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


@pytest.mark.parametrize("rate", ["closed loop", "60% of calibration"])
def test_an_experiment_whose_records_have_no_stated_rate_is_refused_at_its_place(rate):
    load = f"load:\n  records: {{keys: 4}}\n  rate: {rate}\n"
    head = "chaosgate: 1\nname: e\nstack: etcd\n"
    with pytest.raises(SpecError, match=r"x\.yaml:6:9: records go at a stated rate; write e\.g\. rate: 2000/s"):
        load_text(f"{head}{load}duration: 30s\ngates: [errors: {{limit: 1%}}]\n", "x.yaml")


@pytest.mark.parametrize(
    ("markers", "least"),
    [
        ({"out": 4, "win": 0}, 4),  # windows show no markers
        ({"out": 4, "win": 0, "out-2": 1, "win-2": 0}, 1),
        ({"out-2": 4, "out-3": 4, "out": 2}, 2),
        ({"a-b": 3, "c": 1}, 3),
    ],
)
def test_every_copy_of_a_job_has_to_put_its_end_markers_out(markers, least):
    assert min(of_copies(markers).values()) == least
