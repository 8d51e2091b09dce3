from __future__ import annotations

import json

import pytest

from chaos.errors import UsageError
from chaos.model import Load, LoadStage, to_json
from chaos.stacks.etcd.access import Access, Tls
from workloads import WORKLOADS
from workloads.assignment import Assignment
from workloads.settings import KvSettings, Mix


def test_no_settings_are_the_defaults():
    assert KvSettings.of({}) == KvSettings()


def test_nested_settings_are_read_from_mappings():
    read = KvSettings.of({"mix": {"put": 1.0, "get": 0, "cas": 0, "once": 0}})
    assert read.mix == Mix(put=1.0, get=0, cas=0, once=0)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"kees": 3}, "no such setting 'kees'; did you mean 'keys'"),
        ({"mix": {"put": 0.5, "get": 0.1, "cas": 0, "once": 0}}, "mix: the shares add up to 60%; make it 100%"),
        ({"mix": {"puts": 0.5}}, "puts"),
        ({"consistency": "linearisable"}, "consistency: 'linearisable' is unknown; did you mean 'linearizable'"),
        ({"arrivals": "burst"}, "there are even, poisson"),
        ({"sabotage": "ack"}, "sabotage: 'ack' is unknown"),
        ({"batch": 129, "keys": 200}, "etcd takes 128 operations"),
        ({"batch": 5, "keys": 4}, "keys: 4 is too few; write 5 or more"),
        ({"guards": 129}, "guards: etcd takes 128 operations"),
        ({"guards": -1}, "guards: -1 is too few"),
        ({"value_bytes": 0}, "value: 0 is too few"),
        ({"pinned_share": 1.5}, "pinned: 150% is no share"),
    ],
)
def test_a_wrong_setting_is_named(settings, says):
    with pytest.raises(UsageError) as caught:
        KvSettings.of(settings)
    assert says in str(caught.value)


def test_settings_come_back_from_json():
    settings = KvSettings(keys=7, mix=Mix(put=1.0, get=0, cas=0, once=0))
    assert KvSettings.of(to_json(settings)) == settings


USER = {"user": "u", "password": "p"}


@pytest.mark.parametrize("access", [Access(), Access(tls=Tls(ca="ca.pem", server_name="n"), **USER)])
def test_an_assignment_comes_back_from_json(access):
    load = Load(workload="kv", rate_per_s=5.0, stages=(LoadStage(ramp_s=1), LoadStage(share=0.5)), settings={"keys": 3})
    told = Assignment(load=load, endpoints={"etcd1": "h:1"}, folder="f", run_id="r", seed=3, index=1, access=access)
    assert Assignment.from_json(json.loads(json.dumps(told.to_json()))) == told
    assert "'p'" not in repr(told)


@pytest.mark.parametrize(("users", "processes"), [(60, 1), (61, 2), (7, 3)])
def test_every_user_is_in_exactly_one_process(users, processes):
    load = Load(workload="kv", users=users, processes=processes)
    parts = [Assignment(load=load, endpoints={}, folder="", run_id="", seed=1, index=k).users for k in range(processes)]
    assert sum(parts) == users


def test_the_table_names_what_an_experiment_may_say():
    assert WORKLOADS["kv"].settings_type is KvSettings


def test_naming_the_workloads_imports_neither_gevent_nor_locust():
    import subprocess
    import sys

    code = "import sys, workloads, workloads.driver; print(sorted({'gevent', 'locust'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
