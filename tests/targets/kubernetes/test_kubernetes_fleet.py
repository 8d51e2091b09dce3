"""Many agents as one: who is asked what, and how the two halves of a flow become one."""

from __future__ import annotations

import os
import time
from concurrent.futures import Future

import pytest

from chaos.agent import meter
from chaos.agent.flow import SHARED_FROM
from chaos.errors import AgentError
from chaos.fidelity import Flow
from chaos.targets.kubernetes.fleet import Fleet, joined
from chaos.targets.kubernetes.pods import Pod

PODS = [
    Pod(name="a-0", role="member", uid="u0", address="10.0.1.1", machine="node1"),
    Pod(name="a-1", role="member", uid="u1", address="10.0.2.1", machine="node2"),
    Pod(name="a-2", role="member", uid="u2", address="10.0.2.2", machine="node2"),
]
FLOW = {"source": "a-0", "sink": "a-1", "packets": 50, "per_s": 500.0}


class Told:
    """An agent that writes down what it is asked, and says what is written."""

    def __init__(self, machine):
        self.machine, self.asked, self.alive = machine, [], True
        self.ahead_ns = 0
        self.answers = {
            "places": {"shaper": {"backend": "tap"}, "ports": {}},
            "clock": lambda _: {"now_ns": time.monotonic_ns() + self.ahead_ns},
        }

    def send(self, op, **arguments):
        self.asked.append((op, arguments))
        answer = Future()
        given = self.answers.get(op, {})
        answer.set_result(dict(given(arguments) if callable(given) else given))
        return answer

    def close(self):
        self.alive = False


@pytest.fixture
def agents():
    made = {machine: Told(machine) for machine in ("node1", "node2")}
    made["node1"].answers["places"]["ports"] = {"a-0": [1000, 1001]}
    made["node2"].answers["places"]["ports"] = {"a-1": [2000, 2001], "a-2": [3000, 3001]}
    return made


@pytest.fixture
def fleet(agents):
    one = Fleet(agents)
    one.settle(PODS)
    return one


def test_every_agent_knows_its_own_pods_and_the_others_addresses(agents, fleet):
    op, told = agents["node2"].asked[0]
    assert op == "places"
    assert {node["name"]: node["pod"] for node in told["nodes"]} == {"a-0": "", "a-1": "u1", "a-2": "u2"}
    assert {node["address"] for node in told["nodes"]} == {"10.0.1.1", "10.0.2.1", "10.0.2.2"}
    assert fleet.shapers["node1"] == {"backend": "tap"}


def test_a_machine_without_an_agent_is_refused(agents):
    del agents["node2"]
    with pytest.raises(AgentError, match="no agent on node2"):
        Fleet(agents).settle(PODS)


@pytest.mark.parametrize(
    ("op", "arguments", "machine"),
    [
        ("inject", {"name": "i1.0", "subject": "a-0"}, "node1"),
        ("inject", {"name": "i1.0", "subject": "a-2"}, "node2"),
        ("observe", {"undo": {"subject": "a-1"}}, "node2"),
        ("ports", {"source": "a-0", "sink": "a-1"}, "node1"),
    ],
)
def test_the_agent_of_the_pods_machine_is_asked(agents, fleet, op, arguments, machine):
    fleet.ask(op, 1.0, **arguments)
    assert agents[machine].asked[-1] == (op, arguments)
    assert all(one.asked[-1][0] == "clock" for name, one in agents.items() if name != machine)


def test_a_heal_goes_where_the_injection_went(agents, fleet):
    fleet.ask("inject", 1.0, name="i7.0", subject="a-2")
    fleet.ask("heal", 1.0, name="i7.0")
    assert agents["node2"].asked[-1] == ("heal", {"name": "i7.0"})


def test_a_pod_that_nobody_knows_is_refused(fleet):
    with pytest.raises(AgentError, match="no pod 'b-0' here; known: a-0, a-1, a-2"):
        fleet.ask("inject", 1.0, name="i1.0", subject="b-0")


def test_the_kernels_of_all_machines_are_looked_at(agents, fleet):
    for one in agents.values():
        one.answers["kernel"] = lambda asked: {"kernel": {name: {"links": []} for name in asked["nodes"]}}
    assert set(fleet.ask("kernel", 1.0, nodes=["a-0", "a-1"])["kernel"]) == {"a-0", "a-1"}


@pytest.mark.parametrize("ahead_s", [-3600.0, 0.5, 1e6])
def test_times_are_told_in_ours_whatever_the_machines_clock_says(agents, ahead_s):
    agents["node1"].ahead_ns = ahead_ns = int(ahead_s * 1e9)
    now_ns = time.monotonic_ns()
    row = {"name": "x", "started_ns": now_ns + ahead_ns, "ended_ns": None}
    agents["node1"].answers["observe"] = {"at_ns": now_ns + ahead_ns, "processes": [row], "held": True}
    fleet = Fleet(agents)
    fleet.settle(PODS)
    told = fleet.ask("observe", 1.0, undo={"subject": "a-0"})
    assert abs(told["at_ns"] - now_ns) < 0.05e9
    assert abs(told["processes"][0]["started_ns"] - now_ns) < 0.05e9
    assert (told["processes"][0]["ended_ns"], told["held"]) == (None, True)


def test_one_clock_is_left_alone(agents, fleet):
    agents["node2"].answers["observe"] = {"at_ns": 7}
    assert fleet.ask("observe", 1.0, undo={"subject": "a-1"}) == {"at_ns": 7}


def test_an_agent_that_is_dead_takes_the_fleets_life(agents, fleet):
    assert fleet.alive
    agents["node2"].alive = False
    assert not fleet.alive


# ---------------------------------------------------------------- flows


def result(**more):
    told = {"source": "a-0", "sink": "a-1", "elsewhere": "", "number": 0, "sent": 0, "refused": 0, "received": 0}
    return {**told, "copies": 0, "corrupt": 0, "late": 0, "delays_ns": [], **more}


PORTS = {"node1": {"a-0": [1000, 1001]}, "node2": {"a-1": [2000, 2001], "a-2": [3000, 3001]}}


def meters(agents, order):
    """Let every agent answer what its meter would, and write down who was asked what."""

    def answering(machine):
        def answer(asked):
            (what,) = {"flows", "listen", "collect"} & set(asked)
            order.append((machine, what))
            flows = asked[what] if what == "flows" else []
            sent = {"sent": 50, "refused": 2}
            told = [result(elsewhere=f.get("elsewhere", ""), number=f.get("number", 1), **sent) for f in flows]
            if what == "collect":
                told = [result(elsewhere="source", number=number, received=40) for number in asked["collect"]]
            return {"flows": told, "ports": PORTS[machine]}

        return answer

    for machine, one in agents.items():
        one.answers["measure"] = answering(machine)


def test_a_flow_of_one_machine_is_its_own(agents, fleet):
    meters(agents, order := [])
    fleet.ask("measure", 1.0, flows=[{**FLOW, "source": "a-1", "sink": "a-2"}], tail_s=0.1)
    assert order == [("node2", "flows")]
    (whole,) = agents["node2"].asked[-1][1]["flows"]
    assert "elsewhere" not in whole


def test_between_machines_one_listens_then_the_other_sends_then_the_first_tells(agents, fleet):
    meters(agents, order := [])
    (flow,) = fleet.ask("measure", 1.0, flows=[{**FLOW, "unchecked": True}], tail_s=0.1)["flows"]
    assert order == [("node2", "listen"), ("node1", "flows"), ("node2", "collect")]
    assert (flow["sent"], flow["refused"], flow["received"]) == (50, 2, 40)
    (sends,) = agents["node1"].asked[-1][1]["flows"]
    (listens,) = agents["node2"].asked[-2][1]["listen"]
    assert (sends["elsewhere"], sends["to"]) == ("sink", ["10.0.2.1", 2001])
    assert listens["elsewhere"] == "source"
    assert sends["number"] == listens["number"] >= SHARED_FROM
    assert agents["node2"].asked[-1][1]["collect"] == [sends["number"]]


def test_numbers_of_flows_stay_within_what_a_packet_has_room_for(fleet):
    fleet._numbers = (1 << 32) - 2
    assert [fleet._number() for _ in range(2)] == [(1 << 32) - 1, SHARED_FROM]


def test_a_meter_that_was_started_anew_is_an_error_once(agents, fleet, monkeypatch):
    meters(agents, [])
    monkeypatch.setitem(PORTS, "node2", {"a-1": [4000, 4001], "a-2": [5000, 5001]})
    with pytest.raises(AgentError, match="the meter on node2 was started anew"):
        fleet.ask("measure", 1.0, flows=[FLOW], tail_s=0.1)
    assert fleet.ask("measure", 1.0, flows=[FLOW], tail_s=0.1)["flows"]


def test_half_a_flow_is_an_error_and_no_silence():
    with pytest.raises(AgentError, match="only half of a flow was measured: a-0→a-1"):
        joined([result(elsewhere="sink", number=SHARED_FROM, sent=50)])


def run(meters_, wanted):
    """Let meters go on until every request is answered."""
    answers = []
    while len(answers) < wanted:
        for one in meters_:
            one._wait_s = lambda: 0.002
            answers += one.step([])[0]
    return answers


@pytest.fixture
def two():
    here = os.open("/proc/self/ns/net", os.O_RDONLY)
    made = meter.Meter({"a-0": (here, "127.0.0.1")}), meter.Meter({"a-1": (here, "127.0.0.2")})
    yield made
    os.close(here)
    for one in made:
        for bound in (*one._plain.values(), *one._unchecked.values()):
            bound.close()


def halves(receiver, *, packets=50):
    flow = {**FLOW, "packets": packets, "number": SHARED_FROM}
    to = ["127.0.0.2", receiver.ports["a-1"][0]]
    return {**flow, "elsewhere": "sink", "to": to}, {**flow, "elsewhere": "source"}


def test_two_meters_measure_one_flow(two):
    sender, receiver = two
    sends, listens = halves(receiver)
    receiver.add({"id": 1, "listen": [listens]})
    assert run([receiver], 1) == [{"id": 1, "listening": 1}]
    sender.add({"id": 2, "flows": [sends], "tail_s": 0.2})
    (told,) = run(two, 1)
    receiver.add({"id": 3, "collect": [SHARED_FROM], "tail_s": 0.2})
    (came,) = run([receiver], 1)
    (flow,) = map(Flow.read, joined([*told["flows"], *came["flows"]]))
    assert (flow.sent, flow.received, flow.refused, flow.corrupt, flow.late) == (50, 50, 0, 0, 0)
    assert 0 < flow.delays_ms[25] < 50


def test_what_never_came_is_lost(two):
    _, receiver = two
    _, listens = halves(receiver, packets=20)
    receiver.add({"id": 1, "listen": [listens]})
    receiver.add({"id": 2, "collect": [SHARED_FROM], "tail_s": 0.05})
    told = {answer["id"]: answer for answer in run([receiver], 2)}
    assert (told[2]["flows"][0]["received"], told[2]["flows"][0]["delays_ns"]) == (0, [])
    with pytest.raises(KeyError):
        receiver.add({"id": 3, "collect": [SHARED_FROM], "tail_s": 0.05})


@pytest.mark.parametrize("wrong", [{"elsewhere": "nowhere", "number": SHARED_FROM}, {"elsewhere": "sink", "number": 3}])
def test_half_a_flow_that_makes_no_sense_is_refused(two, wrong):
    with pytest.raises(ValueError, match="half of a flow"):
        two[0].add({"id": 1, "flows": [{**FLOW, **wrong}]})


def test_only_what_comes_from_elsewhere_is_listened_to(two):
    sender, receiver = two
    sends, listens = halves(receiver)
    with pytest.raises(ValueError, match="what is listened to"):
        receiver.add({"id": 1, "flows": [listens]})
    with pytest.raises(ValueError, match="what is listened to"):
        sender.add({"id": 1, "listen": [sends]})
