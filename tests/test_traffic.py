"""The traffic of a run: what rate is offered, and what is said of it. The generator itself is tested in workloads/."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from types import SimpleNamespace

import pytest

from chaos import traffic
from chaos.errors import CapabilityError, HarnessError, WorkloadError
from chaos.model import Load, StackSpec
from chaos.recording import Recorder, Recording
from chaos.stacks.etcd.access import OPEN, Access
from chaos.targets.memory import MemoryTarget
from chaos.traffic import Traffic, TrafficOfRun
from tests.staged import NODES, ToldStack, experiment
from workloads import WORKLOADS, WorkloadKind
from workloads.driver import LocustWorkload


class Prepared:
    """A generator that is ready."""

    def __init__(self):
        self.began, self.killed, self.epoch_ns = [], 0, 0

    def go(self, epoch_ns):
        self.began.append(epoch_ns)

    def kill(self):
        self.killed += 1


class Workload:
    """A workload that remembers which loads were prepared."""

    def __init__(self):
        self.loads, self.generator = [], Prepared()

    def prepare(self, load, endpoints, folder, seed, run_id):
        self.loads.append(load)
        return self.generator


@pytest.fixture
def calibrations(monkeypatch):
    """Each calibration finds 1000/s, or what is put here; say how many there were."""
    found = [1000.0]
    asked = []

    def calibrate(workload, load, endpoints, folder, *, seed):
        asked.append(load)
        rate = found[min(len(asked), len(found)) - 1]
        if isinstance(rate, Exception):
            raise rate
        return SimpleNamespace(rate_per_s=rate)

    monkeypatch.setattr(traffic, "calibrate", calibrate)
    return SimpleNamespace(found=found, asked=asked)


def of_run(tmp_path, load, rates=None, stack=None):
    recorder = Recorder(tmp_path / "run", free_bytes_min=0)
    asked = experiment(load=load, **({"stack": stack} if stack else {}))
    workload = Workload()
    return TrafficOfRun(asked, ToldStack(), workload, recorder, {} if rates is None else rates), workload, recorder


def test_a_rate_that_the_experiment_names_is_offered(tmp_path, calibrations):
    source, workload, recorder = of_run(tmp_path, Load(workload="kv", rate_per_s=800))
    assert source.prepare() == "offering 800/s as the experiment says"
    assert workload.loads[0].rate_per_s == 800
    assert calibrations.asked == []
    recorder.close()
    assert Recording.open(recorder.folder).run["load"]["rate_per_s"] == 800


def test_a_share_of_what_a_calibration_finds_is_offered(tmp_path, calibrations):
    source, workload, recorder = of_run(tmp_path, Load(workload="kv", calibrated_share=0.6))
    said = source.prepare()
    assert workload.loads[0].rate_per_s == 600
    assert "600/s" in said
    assert "60% of the 1,000/s" in said
    recorder.close()


def test_a_closed_loop_needs_no_rate(tmp_path, calibrations):
    source, workload, recorder = of_run(tmp_path, Load(workload="kv", closed_loop=True, users=7))
    assert "7 users" in source.prepare()
    assert workload.loads[0].rate_per_s is None
    assert calibrations.asked == []
    recorder.close()


def test_a_set_calibrates_equal_loads_once(tmp_path, calibrations):
    rates = {}
    for name in ("one", "two"):
        source, _, recorder = of_run(tmp_path / name, Load(workload="kv", calibrated_share=0.6), rates)
        source.prepare()
        recorder.close()
    assert len(calibrations.asked) == 1


def test_another_share_of_the_same_load_is_not_calibrated_again(tmp_path, calibrations):
    rates, offered = {}, []
    for share in (0.6, 0.4):
        source, workload, recorder = of_run(tmp_path / f"{share}", Load(workload="kv", calibrated_share=share), rates)
        source.prepare()
        offered.append(workload.loads[0].rate_per_s)
        recorder.close()
    assert len(calibrations.asked) == 1
    assert offered == [600, 400]


def test_another_version_is_calibrated_for_itself(tmp_path, calibrations):
    rates = {}
    for version in ("1.0", "2.0"):
        stack = StackSpec(name="memory", versions={"memory": version})
        load = Load(workload="kv", calibrated_share=0.6)
        source, _, recorder = of_run(tmp_path / version, load, rates, stack)
        source.prepare()
        recorder.close()
    assert len(calibrations.asked) == 2


def test_a_calibration_that_always_fails_is_said(tmp_path, calibrations):
    calibrations.found[:] = [WorkloadError("nothing answered")]
    source, workload, recorder = of_run(tmp_path, Load(workload="kv", calibrated_share=0.6))
    with pytest.raises(WorkloadError, match="nothing answered"):
        source.prepare()
    assert workload.loads == []
    recorder.close()


def test_traffic_begins_when_told_and_not_before_it_is_prepared(tmp_path):
    source, workload, recorder = of_run(tmp_path, Load(workload="kv", rate_per_s=1))
    with pytest.raises(HarnessError, match="start before"):
        source.start(5)
    source.prepare()
    assert source.start(5) is workload.generator
    assert workload.generator.began == [5]
    recorder.close()


def test_closing_ends_the_generator_and_is_content_to_find_none(tmp_path):
    source, workload, recorder = of_run(tmp_path, Load(workload="kv", rate_per_s=1))
    source.close()
    source.prepare()
    source.close()
    assert workload.generator.killed == 1
    recorder.close()


class Reachable(MemoryTarget):
    """A target in whose nodes a generator could run."""

    def entered(self, node=""):
        return nullcontext()

    def spawn(self, node, argv, **popen):
        return node, argv


@dataclass(slots=True)
class Guarded(ToldStack):
    """A stack that wants to be shown something."""

    def access(self, target):
        return "a key"


@pytest.mark.parametrize(("stack", "access"), [(ToldStack, None), (Guarded, "a key")])
def test_the_workload_is_the_one_that_the_experiment_names_in_the_client_s_node(monkeypatch, tmp_path, stack, access):
    made, workload = [], Workload()
    kind = WorkloadKind(settings_type=object, make=lambda spawn, access: made.append((spawn, access)) or workload)
    monkeypatch.setitem(WORKLOADS, "mine", kind)
    asked = experiment(load=Load(workload="mine", rate_per_s=1))
    with Recorder(tmp_path / "run", free_bytes_min=0) as recorder:
        source = Traffic().source(asked, stack(), Reachable(NODES), recorder)
        source.prepare()
        assert source.start(5) is workload.generator
    ((spawn, shown),) = made
    assert spawn(["generate"]) == ("client1", ["generate"])
    assert shown == access


def test_a_load_beside_it_goes_to_its_own_servers_at_the_same_time(monkeypatch, tmp_path):
    own, other, served = Workload(), Workload(), []
    monkeypatch.setitem(WORKLOADS, "kv", WorkloadKind(settings_type=object, make=lambda *_: own))
    monkeypatch.setitem(WORKLOADS, "mine", WorkloadKind(settings_type=object, make=lambda *_: other))
    asked = experiment(load=Load(workload="kv", rate_per_s=9), beside=Load(workload="mine", rate_per_s=7))

    class Serving(ToldStack):
        def serving(self, workload):
            served.append(workload)
            return {}

    with Recorder(tmp_path / "run", free_bytes_min=0) as recorder:
        source = Traffic().source(asked, Serving(), Reachable(NODES), recorder)
        assert source.prepare() == "offering 9/s as the experiment says; beside it mine, 7/s"
        source.start(5)
        source.close()
    assert (served, own.generator.began, other.generator.began) == (["kv", "mine"], [5], [5])
    assert own.generator.killed == other.generator.killed == 1
    run = Recording.open(tmp_path / "run").run
    assert (run["load"]["workload"], run["beside"]["workload"]) == ("kv", "mine")


def test_what_is_ready_is_ended_when_the_load_beside_it_is_not(monkeypatch, tmp_path):
    own = Workload()

    class Unready:
        def prepare(self, *_):
            raise WorkloadError("not ready")

    monkeypatch.setitem(WORKLOADS, "kv", WorkloadKind(settings_type=object, make=lambda *_: own))
    monkeypatch.setitem(WORKLOADS, "mine", WorkloadKind(settings_type=object, make=lambda *_: Unready()))
    asked = experiment(load=Load(workload="kv", rate_per_s=9), beside=Load(workload="mine", rate_per_s=7))
    with Recorder(tmp_path / "run", free_bytes_min=0) as recorder:
        source = Traffic().source(asked, ToldStack(), Reachable(NODES), recorder)
        with pytest.raises(WorkloadError, match="not ready"):
            source.prepare()
        source.close()
    assert own.generator.killed == 1


def test_a_run_that_ends_while_its_second_load_gets_ready_ends_that_too(monkeypatch, tmp_path):
    own, other = Workload(), Workload()
    monkeypatch.setitem(WORKLOADS, "kv", WorkloadKind(settings_type=object, make=lambda *_: own))
    monkeypatch.setitem(WORKLOADS, "mine", WorkloadKind(settings_type=object, make=lambda *_: other))
    asked = experiment(load=Load(workload="kv", rate_per_s=9), beside=Load(workload="mine", rate_per_s=7))
    with Recorder(tmp_path / "run", free_bytes_min=0) as recorder:
        source = Traffic().source(asked, ToldStack(), Reachable(NODES), recorder)
        ready = other.prepare
        monkeypatch.setattr(other, "prepare", lambda *told: source.close() or ready(*told))
        with pytest.raises(HarnessError, match="ended before its load was ready"):
            source.prepare()
    assert own.generator.killed == other.generator.killed == 1


def test_what_was_found_can_be_forgotten(monkeypatch, tmp_path, calibrations):
    monkeypatch.setitem(WORKLOADS, "kv", WorkloadKind(settings_type=object, make=lambda spawn, access: Workload()))
    asked, traffic_of_set = experiment(load=Load(workload="kv", calibrated_share=0.6)), Traffic()

    def offered(name):
        with Recorder(tmp_path / name, free_bytes_min=0) as recorder:
            return traffic_of_set.source(asked, ToldStack(), Reachable(NODES), recorder).prepare()

    calibrations.found[:] = [2500.0, 1000.0]
    assert ["1,500/s" in offered("one"), "1,500/s" in offered("two"), len(calibrations.asked)] == [True, True, 1]
    traffic_of_set.forget()
    assert "600/s" in offered("three")


def test_the_shipped_workload_shows_what_the_stack_wants_and_else_nothing():
    access = Access(user="root", password="p")  # noqa: S106  # nobody's
    assert WORKLOADS["kv"].make(print, access) == LocustWorkload(print, access=access)
    assert WORKLOADS["kv"].make(print, None).access is OPEN


def test_a_target_without_a_place_for_a_generator_is_refused():
    with pytest.raises(CapabilityError, match="target memory: no client node"):
        Traffic().source(experiment(), ToldStack(), MemoryTarget(NODES), SimpleNamespace())
