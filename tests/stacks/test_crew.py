"""A crew starts processes, waits for them, and quotes the log of one that has ended."""

from __future__ import annotations

import pytest

from chaos.errors import StackError
from chaos.model import Process, ProcessState
from chaos.stacks.crew import Crew
from chaos.testing import FakeClock


class Book:
    """A lab of which only the processes' states are written down."""

    def __init__(self):
        self.states = []
        self.stopped = []

    def start(self, node, process):
        state = ProcessState(node=node, name=process.name, pid=1, started_ns=len(self.states))
        self.states.append(state)
        return state

    def stop(self, node, name, *, grace_s):
        self.stopped.append((node, name, grace_s))

    def processes(self):
        return self.states

    def end(self, node, code):
        last = self.states[-1]
        self.states.append(ProcessState(node=node, name=last.name, pid=1, started_ns=last.started_ns, exit_code=code))
        self.states.remove(last)


@pytest.fixture
def crew(tmp_path):
    return Crew(lab=Book(), logs=tmp_path, clock=FakeClock(), what="some")


def process(name="server"):
    return Process(name=name, argv=("server",))


def test_waiting_ends_when_nothing_is_missing(crew):
    answers = iter(["not yet", "almost", ""])
    crew.wait(lambda: next(answers), crew.clock.now_ns() + 10**9, "some is not ready")
    assert next(answers, None) is None


def test_at_the_deadline_the_newest_reason_and_the_tails_are_told(crew):
    crew.start("a", process())
    crew.log("a", "server").write_text("".join(f"line {n}\n" for n in range(40)))
    with pytest.raises(StackError, match=r"^some is not ready: no answer\n--- .*/a-server.log\nline 25\n") as told:
        crew.wait(lambda: "no answer", crew.clock.now_ns() + 10**8, "some is not ready")
    assert str(told.value).endswith("line 39")


def test_a_process_that_ends_is_told_at_once_with_its_log(crew):
    crew.start("a", process())
    crew.log("a", "server").write_text("bad config\n")
    crew.lab.end("a", 3)
    began = crew.clock.now_ns()
    with pytest.raises(StackError, match=r"^a: server ended with 3\n--- .*\nbad config$"):
        crew.wait(lambda: "no answer", began + 10**10, "some is not ready")
    assert crew.clock.now_ns() == began


def test_only_the_nodes_that_are_named_are_watched(crew):
    crew.start("b", process())
    crew.start("a", process())
    crew.lab.end("a", -9)
    crew.wait(lambda: "", crew.clock.now_ns() + 10**9, "some is not back", names=["b"])
    with pytest.raises(StackError, match="a: server ended with -9"):
        crew.refuse_the_dead(crew.nodes)


def test_a_log_that_is_not_there_is_said(crew):
    assert crew.tail("a", "server").endswith("a-server.log\n(no log)")


def test_a_restart_is_polite_and_the_newest_state_counts(crew):
    crew.start("a", process())
    crew.lab.end("a", -15)
    crew.restart("a", process(), 7.0)
    assert crew.lab.stopped == [("a", "server", 7.0)]
    assert crew.state("a", "server").exit_code is None
    assert crew.state("b", "server") is None
    crew.refuse_the_dead(["a"])


def test_an_interruption_ends_the_waiting(crew):
    crew.clock.wake()
    with pytest.raises(StackError, match="interrupted while waiting for some"):
        crew.wait(lambda: "not yet", crew.clock.now_ns() + 10**9, "some is not ready")
