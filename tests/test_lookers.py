"""Who looks while a run goes on: what they see is recorded, and what they can't see is too."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace

import pytest

from chaos.errors import TargetError
from chaos.lookers import Lookers
from chaos.model import EventKind, Node, Process, Reading
from chaos.recording import Recorder, Recording
from chaos.targets.memory import MemoryTarget
from chaos.testing import FakeClock
from tests.leftovers import await_true

N1 = Node(name="n1", role="member", address="192.0.2.1")


class Says:
    """A probe that says what it is told, or raises it."""

    def __init__(self, *told):
        self.told, self.looks = list(told), 0

    def read(self, timeout_s):
        self.looks += 1
        answer = self.told.pop(0) if self.told else []
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def looking(tmp_path):
    """Return a function that starts lookers, all of them stopped at the end."""
    started = []

    def start(target=None, **probes):
        clock = FakeClock()
        recorder = Recorder(tmp_path / "run", free_bytes_min=0)
        stage = SimpleNamespace(
            target=target or MemoryTarget([N1], clock=clock),
            recorder=recorder,
            clock=clock,
            probes={name: (probe, 0.001) for name, probe in probes.items()},
        )
        lookers = Lookers(stage)
        started.append((lookers, recorder))
        lookers.start()
        return lookers

    yield start
    for lookers, recorder in started:
        lookers.stop()
        recorder.close()


def quorum(at_s, value):
    return Reading(name="quorum", node="", at_ns=round(at_s * 1e9), value=value, why="" if value is not None else "?")


def test_readings_are_recorded_and_can_be_asked_for(looking, tmp_path):
    probe = Says([quorum(1, 1.0)])
    lookers = looking(p=probe)
    await_true("it looked twice", lambda: probe.looks > 1)
    assert lookers.fresh_readings("gate") == [quorum(1, 1.0)]
    lookers.stop()
    lookers._stage.recorder.close()
    assert Recording.open(tmp_path / "run").readings == (quorum(1, 1.0),)


def test_each_asker_is_given_readings_only_when_there_are_new_ones(looking):
    probe = Says([quorum(1, 1.0)])
    lookers = looking(p=probe)
    await_true("it looked twice", lambda: probe.looks > 1)
    assert lookers.fresh_readings("a")
    assert lookers.fresh_readings("a") is None
    assert lookers.fresh_readings("b")


def test_a_probe_that_raises_is_named_and_looks_again(looking):
    probe = Says(OSError("no route"), [quorum(1, 1.0)])
    lookers = looking(status=probe)
    await_true("it looked on", lambda: probe.looks > 2)
    assert [event.detail for event in lookers.arrived()] == ["probe status: the look failed: OSError('no route')"]
    assert lookers.fresh_readings("gate") == [quorum(1, 1.0)]


def test_a_network_that_can_not_be_entered_is_noted_not_passed_over(looking):
    class Closed(MemoryTarget):
        @contextmanager
        def entered(self, node=""):
            raise OSError("no such namespace")
            yield

        def spawn(self, node, argv, **popen):
            raise AssertionError

    probe = Says()
    lookers = looking(target=Closed([N1], clock=FakeClock()), status=probe)
    events = []
    await_true("both threads said so", lambda: events.extend(lookers.arrived()) or len(events) == 2)
    assert all("no such namespace" in event.detail for event in events)
    assert probe.looks == 0


def test_quorum_is_lost_for_as_long_as_all_newest_readings_say_so(looking):
    told = [[quorum(1, 0.0)], [quorum(2, 1.0)], [quorum(3, 0.0)], [quorum(4, None)], [quorum(5.5, 0.0)]]
    probe = Says(*told)
    lookers = looking(p=probe)
    await_true("it said it all", lambda: probe.looks > len(told))
    assert lookers.quorum_lost_s() == 2.5


def test_quorum_that_came_back_is_not_lost(looking):
    probe = Says([quorum(1, 0.0)], [quorum(9, 0.0)], [quorum(10, 1.0)])
    lookers = looking(p=probe)
    await_true("it said it all", lambda: probe.looks > 3)
    assert lookers.quorum_lost_s() == 0.0


def test_a_lost_quorum_is_remembered_however_much_else_is_read(looking):
    other = [Reading(name="revision", node=f"n{n}", at_ns=1, value=1.0) for n in range(1000)]
    told = [[quorum(1, 1.0)], *[[quorum(2 + 100 * n, 0.0), *other] for n in range(7)]]
    probe = Says(*told)
    lookers = looking(p=probe)
    await_true("it said it all", lambda: probe.looks > len(told))
    assert lookers.quorum_lost_s() == 600.0


def test_of_two_quorums_each_is_lost_for_itself(looking):
    def etcds(at_s, value):
        return replace(quorum(at_s, value), name="etcd-quorum")

    told = [[quorum(1, 1.0)], [etcds(1, 0.0)], [quorum(2, 1.0)], [etcds(4, 0.0)], [quorum(5, 1.0)]]
    probe = Says(*told)
    lookers = looking(p=probe)
    await_true("it said it all", lambda: probe.looks > len(told))
    assert lookers.quorum_lost_s() == 3.0


def test_nobody_who_looks_for_a_quorum_means_none_is_lost(looking):
    assert looking().quorum_lost_s() == 0.0


def test_a_start_an_end_and_a_new_start_between_two_looks_are_told(looking):
    target = MemoryTarget([N1], clock=FakeClock())
    target.start("n1", Process(name="etcd", argv=("etcd",)))
    lookers = looking(target=target)
    assert [event.detail for event in lookers.arrived()] == ["started"]
    target.die("n1", "etcd", 2)
    target.start("n1", Process(name="etcd", argv=("etcd",)))
    target.die("n1", "etcd", -6)
    lookers.stop()
    told = [(event.detail, event.data["starts"], event.data["exit_code"]) for event in lookers.arrived()]
    assert told[-2:] == [("started", 2, -6), ("ended", 2, -6)]


def test_what_ends_last_is_seen_by_the_last_look(looking):
    target = MemoryTarget([N1], clock=FakeClock())
    target.start("n1", Process(name="etcd", argv=("etcd",)))
    lookers = looking(target=target)
    target.die("n1", "etcd", 2)
    lookers.stop()
    assert [event.detail for event in lookers.arrived()] == ["started", "ended"]


def test_a_last_look_at_processes_that_fails_is_an_error_of_the_harness(looking):
    class Gone(MemoryTarget):
        gone = False

        def processes(self):
            if self.gone:
                raise TargetError("the lab is gone")
            return super().processes()

    target = Gone([N1], clock=FakeClock())
    lookers = looking(target=target)
    target.gone = True
    lookers.stop()
    last = lookers.arrived()[-1]
    assert last.kind is EventKind.ERROR
    assert "the last time: the look failed: TargetError('the lab is gone')" in last.detail


def test_stopping_twice_is_stopping_once(looking):
    lookers = looking()
    lookers.stop()
    lookers.stop()
    assert not [thread for thread in lookers._threads if thread.is_alive()]


def test_who_has_a_role_is_asked_again_of_the_probe_that_knows(looking):
    probe = Says([quorum(1, 1.0)])
    lookers = looking(p=probe)
    await_true("it looked", lambda: lookers.fresh_readings("a"))
    assert lookers.look_again("leader") == {}
    lookers._stop.set()
    await_true("nobody else looks", lambda: not any(thread.is_alive() for thread in lookers._threads))
    probe.told = [[quorum(2, 0.0)], OSError("no route")]
    assert lookers.look_again("quorum") == {"": 0.0}
    assert lookers.look_again("quorum") == {}
    assert "a last look at quorum: the look failed" in lookers.arrived()[-1].detail
