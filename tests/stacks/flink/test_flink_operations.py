"""What an upgrade does, and when it leaves the old version running; tests of a real Flink are in test_flink_in_lab."""

from __future__ import annotations

import pytest

from chaos.clock import ns
from chaos.errors import StackError
from chaos.model import StackAction, StackSpec
from chaos.stacks.flink import operations
from chaos.stacks.flink.stack import FlinkStack
from chaos.testing import FakeClock

UPGRADE = StackAction(operation="savepoint-upgrade", arguments={"to": "v2"})


class Planned(FlinkStack):
    """A stack whose planning takes a while, or is refused; asked for anything more, it has no cluster."""

    takes_s = 0.0
    refusal = ""

    def plan(self, submission):
        assert submission.version == "v2"
        self.clock.advance(self.takes_s)
        if self.refusal:
            raise StackError(self.refusal)


@pytest.fixture
def stack():
    spec = StackSpec(name="flink", settings={"job": {"name": "keyed-count"}})
    made = Planned.of(spec)
    made.clock = FakeClock()
    return made


@pytest.fixture
def stopped(monkeypatch):
    asked = []
    monkeypatch.setattr(operations, "stop", lambda *_: asked.append("stop") or "file:/savepoint")
    monkeypatch.setattr(operations, "_start", lambda _, submission, *__: asked.append(submission.savepoint))
    return asked


def upgrade(stack, within_s=60.0):
    return operations.carry_out(stack, UPGRADE, "", stack.clock.now_ns() + ns(within_s))


def test_what_can_be_planned_is_started_from_the_savepoint(stack, stopped):
    assert "v2 runs from there" in upgrade(stack)
    assert stopped == ["stop", "file:/savepoint"]


def test_what_can_not_be_planned_stops_nothing(stack, stopped):
    stack.refusal = "no such table"
    with pytest.raises(StackError, match="no such table"):
        upgrade(stack)
    assert stopped == []


def test_planning_that_takes_all_the_time_stops_nothing(stack, stopped):
    stack.takes_s = 61.0
    with pytest.raises(StackError, match="planning took all the time that there was; v1 runs on"):
        upgrade(stack)
    assert stopped == []
