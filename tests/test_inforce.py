"""One occurrence in force: what it says on its way in and out, and what stays if its heal goes wrong."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from queue import Queue

import pytest

from chaos.errors import DirtyError
from chaos.inforce import InForce, failed_evidence
from chaos.model import Aimed, EventKind, Evidence, Freeze, Node, Proof
from chaos.targets.memory import MemoryTarget, Told
from tests.leftovers import await_true

N1 = Node(name="n1", role="member", address="192.0.2.1")
NOW = 99


def forced(told: Told) -> InForce:
    target = MemoryTarget([N1], told=lambda _: told)
    return InForce.injection("freeze", 1, target.inject([Aimed(subject="n1", action=Freeze())], deadline_s=5))


@pytest.fixture
def healers():
    with ThreadPoolExecutor(2) as executor:
        yield executor


def ended(force: InForce, healers) -> list[str]:
    """Heal it and return what it said until it was over."""
    told = []
    force.heal(healers)
    await_true("it is over", lambda: told.extend(force.arrived(NOW)) or force.over)
    return [f"{event.kind} {event.data['phase']} {event.data['proof']}" for event in told]


def test_it_says_what_was_applied_and_confirmed_and_that_it_is_gone(healers):
    force = forced(Told())
    first = [event.data["phase"] for event in force.arrived(NOW)]
    assert first == ["inject", "confirm"]
    assert not force.over
    assert ended(force, healers) == ["heal heal confirmed"]
    assert force.problem() == ""


def test_every_event_is_tied_to_its_occurrence_and_node(healers):
    force = forced(Told())
    events = force.arrived(NOW)
    assert {(event.step, event.occurrence, event.node) for event in events} == {("freeze", 1, "n1")}
    assert {event.kind for event in events} == {EventKind.CONFIRM}
    ended(force, healers)


def test_the_first_occurrence_is_called_by_its_step():
    assert forced(Told()).label == "freeze#1"
    assert InForce("freeze", 0).label == "freeze"


def test_healing_twice_asks_once(healers):
    force = forced(Told())
    force.heal(healers)
    asked = force._asking
    force.heal(healers)
    assert force._asking is asked
    ended(force, healers)


def test_what_was_never_asked_to_heal_is_a_problem():
    assert forced(Told()).problem() == "no answer to the heal within its time"


@pytest.mark.parametrize(
    ("told", "problem"),
    [
        (Told(heal_fails="nft says no"), "nft says no"),
        (Told(heal_raises="no agent"), "no agent"),
        (Told(heals=Proof.MISMATCH), "measured to be there still"),
    ],
)
def test_a_heal_that_goes_wrong_is_a_problem_and_said(healers, told, problem):
    force = forced(told)
    said = ended(force, healers)
    assert said[-1].startswith("heal heal")
    assert "confirmed" not in said[-1]
    assert problem in force.problem()


def test_a_heal_that_fails_is_dated_by_the_run_and_speaks_for_no_node(healers):
    force = forced(Told(heal_fails="no"))
    events = []
    force.heal(healers)
    await_true("it is over", lambda: events.extend(force.arrived(NOW)) or force.over)
    assert events[-1].at_ns == NOW
    assert events[-1].node == ""


def test_an_error_without_words_is_a_problem_all_the_same(healers):
    class Mute:
        events: Queue[Evidence] = Queue()

        def heal(self):
            raise DirtyError

    force = InForce.injection("freeze", 0, Mute())
    ended(force, healers)
    assert force.problem() == "DirtyError()"


def done(proof: Proof = Proof.CONFIRMED) -> Evidence:
    return Evidence(
        at_ns=5, phase="confirm", subject="n1", action="stack", proof=proof, detail="restarted", effective_ns=5
    )


def test_an_operation_heals_by_ending(healers):
    running: Future[Evidence] = Future()
    force = InForce.operation("restart", 0, running)
    assert force.arrived(NOW) == []
    force.heal(healers)  # nothing to ask
    assert force.open() == [running]
    running.set_result(done())
    assert [event.data["phase"] for event in force.arrived(NOW)] == ["confirm", "heal"]
    assert force.over
    assert force.open() == []


def test_an_operation_that_failed_is_not_confirmed_and_no_dirt():
    running: Future[Evidence] = Future()
    running.set_exception(DirtyError("not back"))
    force = InForce.operation("restart", 0, running)
    told = force.arrived(NOW)
    assert {event.data["proof"] for event in told} == {"inconclusive"}
    assert "not back" in told[0].detail
    assert force.problem() == ""


def test_an_operation_that_goes_on_is_given_up_once():
    force = InForce.operation("restart", 0, Future())
    (event,) = force.given_up(NOW)
    assert event.data["proof"] == "inconclusive"
    assert force.given_up(NOW) == []
    assert force.over


def test_a_change_to_nodes_is_never_given_up():
    assert forced(Told()).given_up(NOW) == []


def test_evidence_of_nothing_is_inconclusive_and_says_why():
    found = failed_evidence(7, "no agent")
    assert (found.proof, found.detail, found.effective_ns) == (Proof.INCONCLUSIVE, "no agent", None)
