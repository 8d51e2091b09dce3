from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from chaos.errors import SpecError
from chaos.faults import FAULTS
from chaos.faults.kill import Kill
from chaos.faults.latency import Latency as Delay
from chaos.faults.loss import Loss
from chaos.faults.partition import Partition
from chaos.forms import from_yaml
from chaos.model import AbortWhen, LoadStage, Node, Selector, Slo, Span, Topology
from chaos.parts import Tables, shipped
from chaos.plan import plan
from chaos.positions import Page
from chaos.spec import cells, is_ours, json_schema, load, load_text
from chaos.stacks import STACKS
from chaos.units import Share
from gates import GATES

EXPERIMENTS = Path(__file__).parent.parent / "experiments"
SHIPPED = sorted(EXPERIMENTS.glob("*/*.yaml"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """A stack's settings."""

    members: int = 3
    fsync: bool = True
    cpu: float | None = None
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Mix:
    put: Share = 0.5
    get: Share = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Kv:
    """A workload's settings."""

    keys: int = 100
    mix: Mix = field(default_factory=Mix)
    pinned_share: float = 0.5
    patience_ms: float = 10


class StackKind:
    settings_type = Store
    roles = ("member", "leader", "follower", "client", "owner-of")
    operations = ("restart",)
    processes = ("storaged", "proxy")
    state_gates = {"exact": {"linearizable": {}, "replicas-equal": {}}, "partial": {"replicas-equal": {}}}  # noqa: RUF012

    @staticmethod
    def nodes(settings):
        names = [*(f"store{n}" for n in range(settings["members"])), "client1"]
        return [Node(name=name, role="client" if name == "client1" else "member", address="") for name in names]


TABLES = Tables(faults=FAULTS, gates=GATES, stacks={"store": StackKind, "loose": object()}, workloads={"kv": Kv})

HEAD = """\
chaosgate: 1
name: e
stack: store
load:
  kv:
  rate: 800/s
duration: 30s
"""
GOOD = HEAD + "gates: [linearizable]\n"


def read(text: str):
    return load_text(text, "x.yaml", TABLES)


def problems(text: str) -> list[str]:
    with pytest.raises(SpecError) as error:
        read(text)
    assert error.value.exit_code == 2
    return list(error.value.problems)


def with_step(step: str, gates: str = "linearizable") -> str:
    """Line 9 is the step; it begins in column 5."""
    return f"{HEAD}steps:\n  - {step}\ngates: [{gates}]\n"


# ---------------------------------------------------------------- what is read


def test_the_smallest_experiment_has_sensible_defaults():
    e = read(GOOD)
    assert (e.name, e.duration_s, e.warm_up_s, e.seed, e.steps, e.about) == ("e", 30, 3, 1, (), "")
    assert (e.load.workload, e.load.rate_per_s, e.load.users, e.load.timeout_s) == ("kv", 800, 60, 0.5)
    assert e.load.stages == (LoadStage(ramp_s=2),)
    assert [(g.name, g.kind, g.expect_fail, g.stops_run) for g in e.gates] == [
        ("linearizable", "linearizable", "", False)
    ]
    assert (e.path, e.text) == ("x.yaml", GOOD)


EVERYTHING = """\
chaosgate: 1
name: leader-partition
about: The leader can't be heard by the others.
stack: {store: {members: 5, fsync: false, version: 3.10, versions: {proxy: "2"}, tags: one}}
load:
  kv: {keys: 7, mix: {put: 45%, get: 55%}, pinned: 25%, patience: 1s}
  rate: 60% of calibration
  users: 6
  processes: 2
  timeout: 250ms
  shape: [{ramp: 2s}, {hold: 40s}]
warm-up: 4s
duration: 30s
steps:
  - {name: cut, at: 8s, for: 8s, on: leader, fault: {partition: {from: [others, client], direction: in}}}
  - name: crash
    at: 17s
    every: 2s
    until: 25s
    on: {role: member, share: 20%}
    fault: {kill: {down-for: 1s}}
  - {at: 26s, on: {owner-of: k}, fault: restart}
gates:
  - linearizable: {}
  - p99: {latency: {percentile: 99.5, limit: 400ms, during: recovery}}
  - replicas-equal: {stops-run: true, rounds: 3}
  - throughput: {floor: 50% of steady}
  - floor: {throughput: {floor: 300/s, during: fault}}
  - errors: {limit: 1%, expect: fail, because: "see upstream 13766", published: "0.2 %, arXiv:1"}
abort-when: {error-share: 90%, quorum-lost: 30s, free-disk: 1GB}
blast-radius: {member: 34%}
slo: {completeness: partial, latency: 400ms}
seed: 7
"""


def test_everything_can_be_said_of_a_stack_and_its_load():
    e = read(EVERYTHING)
    assert e.stack.settings == {"members": 5, "fsync": False, "cpu": None, "tags": ("one",)}
    assert e.stack.versions == {"store": "3.10", "proxy": "2"}
    assert e.load.settings == {"keys": 7, "mix": {"put": 0.45, "get": 0.55}, "pinned_share": 0.25, "patience_ms": 1000}
    assert (e.load.calibrated_share, e.load.rate_per_s, e.load.processes, e.load.timeout_s) == (0.6, None, 2, 0.25)
    assert e.load.stages == (LoadStage(ramp_s=2, hold_s=40),)


def test_everything_can_be_said_of_steps():
    cut, crash, restart = read(EVERYTHING).steps
    assert (cut.at_s, cut.for_s, cut.on) == (8, 8, Selector(role="leader"))
    assert cut.fault == Partition(from_=("others", "client"), direction="in")
    assert (crash.for_s, crash.every_s, crash.until_s) == (1, 2, 25)
    assert crash.on == Selector(role="member", share=0.2)
    assert crash.fault == Kill(down_for_s=1)
    assert (restart.name, restart.for_s, restart.on) == ("restart", 0, Selector(role="owner-of", argument="k"))


def test_everything_can_be_said_of_gates():
    e = read(EVERYTHING)
    names = [(g.name, g.kind) for g in e.gates]
    assert names[1:3] == [("p99", "latency"), ("replicas-equal", "replicas-equal")]
    assert (e.gates[1].gate.limit_s, e.gates[1].gate.during) == (0.4, Span.RECOVERY)
    assert (e.gates[2].stops_run, e.gates[2].gate.rounds) == (True, 3)
    assert (e.gates[3].gate.floor_share, e.gates[3].gate.floor_per_s) == (0.5, None)
    assert (e.gates[4].gate.floor_share, e.gates[4].gate.floor_per_s) == (None, 300)
    assert e.gates[5].expect_fail == "see upstream 13766"
    assert e.gates[5].published == "0.2 %, arXiv:1"
    assert [gate.name for gate in e.gates[6:]] == ["slo-latency"]


def test_everything_can_be_said_of_the_run():
    e = read(EVERYTHING)
    assert e.abort_when == AbortWhen(error_share=0.9, quorum_lost_s=30, free_disk_bytes=10**9)
    assert e.blast_radius == {"member": 0.34}
    assert e.slo == Slo(completeness="partial", latency_s=0.4)
    assert e.seed == 7


@pytest.mark.parametrize(
    ("rate", "per_s", "share", "closed"),
    [("800/s", 800, None, False), ("60% of calibration", None, 0.6, False), ("closed loop", None, None, True)],
)
def test_a_rate_is_said_in_one_of_three_ways(rate, per_s, share, closed):
    found = read(GOOD.replace("800/s", rate)).load
    assert (found.rate_per_s, found.calibrated_share, found.closed_loop) == (per_s, share, closed)


@pytest.mark.parametrize(
    ("shape", "stages"),
    [
        ("[{ramp: 1s}]", [LoadStage(ramp_s=1)]),
        ("[{ramp: 1s}, {hold: 40s}]", [LoadStage(ramp_s=1, hold_s=40)]),
        (
            "[{ramp: 1s, to: 50%, hold: 2s}, {ramp: 1s}]",
            [LoadStage(ramp_s=1, share=0.5, hold_s=2), LoadStage(ramp_s=1)],
        ),
        ("[{ramp: 1s, to: 50%}, {ramp: 1s}]", [LoadStage(ramp_s=1, share=0.5, hold_s=0), LoadStage(ramp_s=1)]),
        ("[{to: 50%, hold: 2s}, {to: 100%}]", [LoadStage(share=0.5, hold_s=2), LoadStage()]),
    ],
)
def test_a_shape_is_a_list_of_stages(shape, stages):
    assert list(read(GOOD.replace("  rate", f"  shape: {shape}\n  rate")).load.stages) == stages


@pytest.mark.parametrize(
    "word", ["on", "off", "yes", "no", "true", "y", "n", "3.10", "1e3", "0x10", "12:30:45", "2026-01-01", "010"]
)
def test_a_word_stays_the_word_that_was_written(word):
    e = read(GOOD.replace("name: e", f"name: e\nabout: {word}"))
    assert e.about == word


def test_the_key_on_is_not_true():
    assert read(with_step("{at: 8s, for: 4s, on: leader, fault: pause}")).steps[0].on.role == "leader"


def test_a_stack_without_settings_type_keeps_its_texts():
    e = read(GOOD.replace("stack: store", "stack: {loose: {some-key: 5s, version: v1}}"))
    assert e.stack.settings == {"some_key": "5s"}
    assert e.stack.versions == {"loose": "v1"}


@pytest.mark.parametrize("fault", ["pause", "{pause: }", "{pause: {}}", "{pause: null}"])
def test_a_fault_without_settings_is_just_its_name(fault):
    assert read(with_step(f"{{at: 8s, for: 4s, on: leader, fault: {fault}}}")).steps[0].fault == FAULTS["pause"]()


@pytest.mark.parametrize(
    ("fault", "value"),
    [
        ("{loss: {share: 5%}}", Loss(share=0.05)),
        ("{latency: {delay: 50ms, jitter: 10ms, peers: all}}", Delay(delay_s=0.05, jitter_s=0.01, peers=("all",))),
        ("{shape: {rate: 10Mbit/s, corrupt: 1%}}", FAULTS["shape"](rate_bit_s=1e7, corrupt=0.01)),
        (
            "{latency: {delay: 1s, distribution: pareto, correlation: 25%}}",
            Delay(delay_s=1, distribution="pareto", correlation=0.25),
        ),
    ],
)
def test_settings_of_faults_are_read_with_their_units(fault, value):
    assert read(with_step(f"{{at: 8s, for: 20s, on: leader, fault: {fault}}}")).steps[0].fault == value


def test_anchors_save_writing():
    text = GOOD.replace(
        "gates:",
        "steps:\n  - {at: 5s, for: 3s, on: &who leader, fault: pause}\n"
        "  - {name: b, at: 15s, for: 3s, on: *who, fault: pause}\ngates:",
    )
    assert [step.on.role for step in read(text).steps] == ["leader", "leader"]


# ---------------------------------------------------------------- whose file it is


@pytest.mark.parametrize(
    "text",
    [GOOD, "# a comment\n\n" + GOOD, "---\n" + GOOD, '"chaosgate": 1\n', "\ufeffchaosgate: 1\n", "chaosgate : 1\n"],
)
def test_a_file_is_ours_by_its_first_key(text):
    assert is_ours(text)


@pytest.mark.parametrize(
    "text", ["", "name: e\nchaosgate: 1\n", "chaosgates: 1\n", "- chaosgate: 1\n", "# chaosgate: 1\n"]
)
def test_other_files_are_not_ours(text):
    assert not is_ours(text)


def test_another_first_key_is_refused():
    assert problems("name: e\nchaosgate: 1\n") == [
        "x.yaml:1:1: not an experiment: its first key is 'name'; begin with the line `chaosgate: 1`"
    ]


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(SpecError, match=r"none\.yaml:1:1: can't be read"):
        load(tmp_path / "none.yaml", TABLES)


def test_a_file_that_is_not_text_is_refused(tmp_path):
    (tmp_path / "b.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SpecError, match=r"b\.yaml:1:1: can't be read"):
        load(tmp_path / "b.yaml", TABLES)


# ---------------------------------------------------------------- every message, with its place


def at(place: str, message: str) -> str:
    return f"x.yaml:{place}: {message}"


FILES = {
    "unknown key": (GOOD + "sead: 3\n", "9:1", "no such key 'sead' here; did you mean 'seed'?"),
    "version of the form": (GOOD.replace("gate: 1", "gate: 2"), "1:12", "'2' is none of the choices; there is 1"),
    "duration without unit": (
        GOOD.replace("30s", "30"),
        "7:11",
        "'30' has no unit, and a duration needs one; write 30s or 30ms",
    ),
    "duration of nothing": (GOOD.replace("30s", "0s"), "7:11", "'0s' is out of range; write more than 0"),
    "wrong unit": (GOOD.replace("30s", "5 sec"), "7:11", "'5 sec' is not a duration; did you mean '5s'?"),
    "a list for a text": (
        GOOD.replace("name: e", "name: [e]"),
        "2:7",
        "a list is not a text; write one word or put it in quotes",
    ),
    "a name with spaces": (
        GOOD.replace("name: e", "name: My test"),
        "2:7",
        "'My test' is no name here: it takes small letters, digits, dashes and dots; did you mean 'my-test'?",
    ),
    "seed": (GOOD + "seed: many\n", "9:7", "'many' is not a whole number; write e.g. 3"),
    "no gates": (HEAD, "1:1", "no gates, so nothing would be judged; add e.g. gates: [linearizable]"),
    "empty gates": (
        HEAD + "gates: []\n",
        "8:8",
        "no gates, so nothing would be judged; add e.g. gates: [linearizable]",
    ),
    "gates as a text": (
        HEAD + "gates: linearizable\n",
        "8:8",
        "a list is wanted here, not 'linearizable'; begin each item with `- `",
    ),
    "missing duration": (GOOD.replace("duration: 30s\n", ""), "1:1", "'duration' is missing here; add `duration: …`"),
    "missing load": (
        HEAD[: HEAD.index("load")] + "duration: 9s\ngates: [linearizable]\n",
        "1:1",
        "'load' is missing here; add `load: …`",
    ),
    "double key": (GOOD + "name: f\n", "9:1", "the key 'name' was given in line 2 already; remove one of them"),
    "double key deep": (
        GOOD.replace("  rate: 800/s", "  rate: 800/s\n  rate: 900/s"),
        "7:3",
        "the key 'rate' was given in line 6 already; remove one of them",
    ),
    "stack": (GOOD.replace("stack: store", "stack: stor"), "3:8", "no such stack 'stor'; did you mean 'store'?"),
    "stack's key": (
        GOOD.replace("store", "{store: {member: 3}}"),
        "3:17",
        "no such key 'member' here; did you mean 'members'?",
    ),
    "stack's number": (
        GOOD.replace("store", "{store: {members: three}}"),
        "3:26",
        "'three' is not a whole number; write e.g. 3",
    ),
    "stack's switch": (
        GOOD.replace("store", "{store: {fsync: maybe}}"),
        "3:24",
        "'maybe' is not yes or no; write true or false",
    ),
    "stack's settings": (
        GOOD.replace("store", "{store: fast}"),
        "3:16",
        "settings are wanted here, not 'fast'; write {key: value}",
    ),
    "two stacks": (
        GOOD.replace("stack: store", "stack: {store: , loose: }"),
        "3:8",
        "one name is wanted here, with its settings, not a mapping; write {name: {…}}",
    ),
    "version as a list": (
        GOOD.replace("store", "{store: {version: [a]}}"),
        "3:26",
        "a list is not a text; write one word or put it in quotes",
    ),
    "a name of nothing usable": (
        GOOD.replace("name: e", "name: §"),
        "2:7",
        "'§' is no name here: it takes small letters, digits, dashes and dots; write e.g. leader-kill",
    ),
    "no workload": (GOOD.replace("  kv:\n", ""), "5:3", "no workload is named here; there is kv"),
    "load as text": (
        GOOD.replace("load:\n  kv:\n  rate: 800/s", "load: kv"),
        "4:7",
        "settings are wanted here, not 'kv'; write {key: value}",
    ),
    "workload's key": (GOOD.replace("kv:", "kv: {kees: 3}"), "5:8", "no such key 'kees' here; did you mean 'keys'?"),
    "nested key": (GOOD.replace("kv:", "kv: {mix: {pot: 45%}}"), "5:14", "no such key 'pot' here; did you mean 'put'?"),
    "nested share": (
        GOOD.replace("kv:", "kv: {mix: {put: 0.45}}"),
        "5:19",
        "'0.45' has no unit, and a share needs one; write 45%",
    ),
    "missing rate": (GOOD.replace("  rate: 800/s\n", ""), "5:3", "'rate' is missing here; add `rate: …`"),
    "rate without unit": (
        GOOD.replace("800/s", "800"),
        "6:9",
        "'800' has no unit, and a rate needs one; write 800/s; or 60% of calibration, or closed loop",
    ),
    "rate of nothing": (
        GOOD.replace("800/s", "0/s"),
        "6:9",
        "'0/s' is no traffic; write more than nothing; or 60% of calibration, or closed loop",
    ),
    "a share of what": (GOOD.replace("800/s", "60%"), "6:9", "'60%' of what; write 60% of calibration"),
    "users": (GOOD.replace("  rate", "  users: 0\n  rate"), "6:10", "'0' is out of range; write 1 or more"),
    "stage": (
        GOOD.replace("  rate", "  shape: [{ramp: 2}]\n  rate"),
        "6:18",
        "'2' has no unit, and a duration needs one; write 2s or 2ms",
    ),
    "short load": (
        GOOD.replace("  rate", "  shape: [{ramp: 2s}, {hold: 30s}]\n  rate"),
        "6:10",
        (
            "it ends 30s after its peak is reached, and warm-up and duration are 33s;"
            " leave out its hold, then it holds to the end"
        ),
    ),
    "short peak": (
        GOOD.replace("  rate", "  shape: [{ramp: 2s, hold: 1s}, {ramp: 1s, to: 50%}]\n  rate"),
        "6:10",
        "its peak is held for 1s, and t = 0 comes after a warm-up of 3s at the peak; hold it for longer",
    ),
    "abort key": (
        GOOD + "abort-when: {errors: 5%}\n",
        "9:14",
        "no such key 'errors' here; did you mean 'error-share'?",
    ),
    "abort value": (GOOD + "abort-when: {free-disk: 1gb}\n", "9:25", "'1gb' is not a size; did you mean '1GB'?"),
    "blast radius": (
        GOOD + "blast-radius: {member: 0.3}\n",
        "9:24",
        "'0.3' has no unit, and a share needs one; write 30%",
    ),
    "slo": (GOOD + "slo: {recovery: 5}\n", "9:17", "'5' has no unit, and a duration needs one; write 5s or 5ms"),
    "matrix key": (GOOD + "matrix: {versions: [a]}\n", "9:10", "no such key 'versions' here; did you mean 'version'?"),
    "matrix seed": (GOOD + "matrix: {seed: [1, two]}\n", "9:20", "'two' is not a whole number; write e.g. 3"),
    "gate": (HEAD + "gates: [linearisable]\n", "8:9", "no such gate 'linearisable'; did you mean 'linearizable'?"),
    "gate's key": (
        HEAD + "gates: [errors: {limits: 1%, limit: 1%}]\n",
        "8:18",
        "no such key 'limits' here; did you mean 'limit'?",
    ),
    "gate's missing key": (HEAD + "gates: [errors]\n", "8:9", "'limit' is missing here; add `limit: …`"),
    "gate's window": (
        HEAD + "gates: [errors: {limit: 1%, during: faults}]\n",
        "8:37",
        "'faults' is none of the choices; did you mean 'fault'?",
    ),
    "gate's number": (
        HEAD + "gates: [latency: {limit: 1s, percentile: p99, during: run}]\n",
        "8:42",
        "'p99' is not a number; write e.g. 0.5",
    ),
    "gate's own refusal": (
        HEAD + "gates: [latency: {limit: 1s, percentile: 200, during: run}]\n",
        "8:42",
        "200 is not between 0 and 100; write e.g. 99",
    ),
    "two ways to say it": (
        HEAD + "gates: [throughput: {floor: 50, during: run}]\n",
        "8:29",
        "'50' has no unit, and a rate needs one; write 50/s; or: '50' has no unit, and a share needs one; write 50%",
    ),
    "expected without reason": (
        HEAD + "gates: [linearizable: {expect: fail}]\n",
        "8:24",
        'a failure is expected for a reason; add because: "…", with the upstream thread',
    ),
    "reason without expectation": (
        HEAD + "gates: [linearizable: {because: x}]\n",
        "8:24",
        "a reason for what; add expect: fail, or leave it out",
    ),
    "expect": (
        HEAD + "gates: [linearizable: {expect: failure}]\n",
        "8:32",
        "'failure' is none of the choices; did you mean 'fail'?",
    ),
    "stops-run": (
        HEAD + "gates: [replicas-equal: {stops-run: sure}]\n",
        "8:37",
        "'sure' is not yes or no; write true or false",
    ),
    "double gate": (
        HEAD + "gates: [linearizable, linearizable: {budget: 5s}]\n",
        "8:23",
        "the name 'linearizable' was given before; give each of the gates its own name",
    ),
    "named gate of unknown kind": (
        HEAD + "gates: [p99: {latencie: {limit: 1s}}]\n",
        "8:15",
        "no such gate 'latencie'; did you mean 'latency'?",
    ),
    "nothing to recover from": (
        HEAD + "gates: [p99: {latency: {limit: 1s, during: recovery}}]\n",
        "8:44",
        "'p99' looks at the recovery window, and nothing breaks here; write during: run, or add steps",
    ),
    "nothing breaks, by default": (
        HEAD + "gates: [latency: {limit: 1s}]\n",
        "8:18",
        "'latency' looks at the fault window, and nothing breaks here; write during: run, or add steps",
    ),
    "nothing to recover from, whatever the window": (
        HEAD + "gates: [recovery: {limit: 5s}]\n",
        "8:19",
        "'recovery' looks at what follows a fault, and nothing breaks here; add steps, or leave it out",
    ),
    "negative seed": (GOOD + "seed: -7\n", "9:7", "'-7' is out of range; write 0 or more"),
    "negative seed in a matrix": (GOOD + "matrix: {seed: [1, -1]}\n", "9:20", "'-1' is out of range; write 0 or more"),
    "steps without any": (
        GOOD.replace("gates", "steps:\ngates"),
        "8:7",
        "nothing is listed here; list what breaks, or leave out steps if nothing shall",
    ),
    "gates without any": (
        HEAD + "gates:\n",
        "8:7",
        "no gates, so nothing would be judged; add e.g. gates: [linearizable]",
    ),
    "more processes than users": (
        GOOD.replace("  rate", "  users: 2\n  processes: 4\n  rate"),
        "7:14",
        "4 processes share 2 users, and each needs one; write 2 or less, or raise users",
    ),
    "more processes than one user": (
        GOOD.replace("  rate", "  users: 1\n  processes: 2\n  rate"),
        "7:14",
        "2 processes share 1 user, and each needs one; write 1 or less, or raise users",
    ),
    "blast radius of clients": (
        GOOD + "blast-radius: {client: 50%}\n",
        "9:16",
        "a client is never hit, so nothing is to be limited; leave it out",
    ),
    "blast radius of nobody": (
        GOOD + "blast-radius: {membre: 50%}\n",
        "9:16",
        "no node has the role 'membre'; did you mean 'member'?",
    ),
    # A misspelt key is not told of as missing, too.
    "misspelt duration": (
        GOOD.replace("duration", "duratoin"),
        "7:1",
        "no such key 'duratoin' here; did you mean 'duration'?",
    ),
    "misspelt gates": (GOOD.replace("gates", "gats"), "8:1", "no such key 'gats' here; did you mean 'gates'?"),
    "misspelt rate": (GOOD.replace("rate", "raet"), "6:3", "no such key 'raet' here; did you mean 'rate'?"),
    "misspelt workload": (GOOD.replace("kv:", "kvv:"), "5:3", "no such key 'kvv' here; did you mean 'kv'?"),
    "misspelt version": (
        GOOD.replace("store", "{store: {versoin: 3}}"),
        "3:17",
        "no such key 'versoin' here; did you mean 'version'?",
    ),
    "misspelt setting of a gate": (
        HEAD + "gates: [errors: {limt: 1%}]\n",
        "8:18",
        "no such key 'limt' here; did you mean 'limit'?",
    ),
    "misspelt mark of a gate": (
        HEAD + "gates: [linearizable: {expct: fail}]\n",
        "8:24",
        "no such key 'expct' here; did you mean 'expect'?",
    ),
    "steps as a mapping": (
        GOOD + "steps: {at: 3s}\n",
        "9:8",
        "a list is wanted here, not a mapping; begin each item with `- `",
    ),
}

NO_CLIENT = (
    "a client holds none of the data, and without it there is no traffic to judge by; aim at the stack's own nodes"
)

# `^` stands before the place that the message names.
STEPS = {
    "unknown key": ("{at: 8s, ^fro: 4s, on: leader, fault: restart}", "no such key 'fro' here; did you mean 'for'?"),
    "unit": (
        "{at: ^8, for: 4s, on: leader, fault: pause}",
        "'8' has no unit, and a duration needs one; write 8s or 8ms",
    ),
    "for nothing": (
        "{at: 8s, for: ^0s, on: leader, fault: restart}",
        "'0s' is out of range; write more than 0",
    ),
    "missing at": ("^{for: 4s, on: leader, fault: pause}", "'at' is missing here; add `at: …`"),
    "missing on": ("^{at: 8s, for: 4s, fault: pause}", "'on' is missing here; add `on: …`"),
    "missing fault": ("^{at: 8s, for: 4s, on: leader}", "'fault' is missing here; add `fault: …`"),
    "missing for": ("^{at: 8s, on: leader, fault: pause}", "'for' is missing here: a fault has an end; add `for: 8s`"),
    "for of an operation": (
        "{at: 8s, ^for: 4s, on: leader, fault: restart}",
        "an operation ends by itself; leave out for, or give the fault a timeout",
    ),
    "for of a kill": (
        "{at: 8s, ^for: 4s, on: leader, fault: {kill: {down-for: 4s}}}",
        "for and down-for say the same of a kill; leave out one of them",
    ),
    "role": ("{at: 8s, for: 4s, on: ^leeder, fault: pause}", "no such role 'leeder'; did you mean 'leader'?"),
    "role in a mapping": (
        "{at: 8s, for: 4s, on: {role: ^membre}, fault: pause}",
        "no such role 'membre'; did you mean 'member'?",
    ),
    "selector's key": (
        "{at: 8s, for: 4s, on: {role: member, ^number: 2}, fault: pause}",
        "no such key 'number' here; there are count, owner-of, role, share, zone",
    ),
    "selector without role": (
        "{at: 8s, for: 4s, on: ^{count: 2}, fault: pause}",
        "who is hit is said in one way; write either role: member or owner-of: some-key",
    ),
    "selector as a list": (
        "{at: 8s, for: 4s, on: ^[leader], fault: pause}",
        "settings are wanted here, not a list; write {key: value}",
    ),
    "count and share": (
        "{at: 8s, for: 4s, on: {role: member, count: 1, ^share: 5%}, fault: pause}",
        "count and share are two ways to say how many; leave out one of them",
    ),
    "count of nobody": (
        "{at: 8s, for: 4s, on: {role: member, count: ^0}, fault: pause}",
        "'0' is out of range; write 1 or more",
    ),
    "share of nobody": (
        "{at: 8s, for: 4s, on: {role: member, share: ^0%}, fault: pause}",
        "'0%' is out of range; write more than 0",
    ),
    "client": (
        "{at: 8s, for: 4s, on: ^client, fault: pause}",
        NO_CLIENT,
    ),
    "client cut off": (
        "{at: 8s, for: 4s, on: ^{role: client}, fault: partition}",
        f"{NO_CLIENT}, and name the client as the other side, from: client",
    ),
    "slow client": (
        "{at: 8s, for: 4s, on: ^client, fault: {latency: {delay: 5ms, peers: all}}}",
        f"{NO_CLIENT}, and name the client as the other side, peers: client",
    ),
    "more victims than there are": (
        "{at: 8s, for: 4s, on: ^{role: member, count: 4}, fault: pause}",
        "4 members asked for, and there are 3; write count: 3 or less",
    ),
    "a zone that no node is in": (
        "{at: 8s, for: 4s, on: ^{role: member, zone: a}, fault: pause}",
        "no node can be member in zone a; there is none",
    ),
    "process of a kill": (
        "{at: 8s, for: 4s, on: leader, fault: {kill: {process: ^storagd}}}",
        "the stack has no process 'storagd'; did you mean 'storaged'?",
    ),
    "process of a pause": (
        "{at: 8s, for: 4s, on: leader, fault: {pause: {process: ^x}}}",
        "the stack has no process 'x'; there are proxy, storaged",
    ),
    "misspelt fault": ("{at: 8s, for: 4s, on: leader, ^falt: pause}", "no such key 'falt' here; did you mean 'fault'?"),
    "two leaders": (
        "{at: 8s, for: 4s, on: ^{role: leader, count: 2}, fault: pause}",
        "there is one leader at a time; leave out count and share",
    ),
    "fault": ("{at: 8s, for: 4s, on: leader, fault: ^puase}", "no such fault 'puase'; did you mean 'pause'?"),
    "fault's key": (
        "{at: 8s, for: 4s, on: leader, fault: {latency: {^delai: 5ms, delay: 5ms}}}",
        "no such key 'delai' here; did you mean 'delay'?",
    ),
    "fault's missing key": (
        "{at: 8s, for: 4s, on: leader, fault: ^latency}",
        "'delay' is missing here; add `delay: …`",
    ),
    "fault's unit": (
        "{at: 8s, for: 4s, on: leader, fault: {latency: {delay: ^50}}}",
        "'50' has no unit, and a duration needs one; write 50s or 50ms",
    ),
    "fault's share": (
        "{at: 8s, for: 4s, on: leader, fault: {loss: {share: ^0.05}}}",
        "'0.05' has no unit, and a share needs one; write 5%",
    ),
    "fault's bit rate": (
        "{at: 8s, for: 4s, on: leader, fault: {shape: {rate: ^10Mbps}}}",
        "'10Mbps' is not a bit rate; did you mean '10Mbit/s'?",
    ),
    "fault's choice": (
        "{at: 8s, for: 4s, on: leader, fault: {latency: {delay: 5ms, distribution: ^gauss}}}",
        "'gauss' is none of the choices; there are normal, pareto, uniform",
    ),
    "fault's direction": (
        "{at: 8s, for: 4s, on: leader, fault: {partition: {direction: ^inn}}}",
        "'inn' is none of the choices; did you mean 'in'?",
    ),
    "fault's own refusal": (
        "{at: 8s, for: 4s, on: leader, fault: {latency: {delay: 5ms, jitter: ^1s}}}",
        "greater than the delay, and no packet arrives before it was sent; lower it",
    ),
    "fault's own refusal, deep": (
        "{at: 8s, for: 4s, on: leader, fault: {loss: {burst: {enter: ^0%, leave: 5%}}}}",
        "a burst that never enters is none; write a share above 0%",
    ),
    "after the end": (
        "{at: ^30s, for: 4s, on: leader, fault: pause}",
        "30s is not before the end at 30s; fire earlier or raise duration",
    ),
    "beyond the end": (
        "{at: 28s, ^for: 4s, on: leader, fault: pause}",
        "lasts until 32s, and the run ends at 30s; end earlier or raise duration",
    ),
    "repeats beyond the end": (
        "{at: 8s, for: 4s, every: 5s, ^until: 31s, on: leader, fault: pause}",
        "lasts until 32s, and the run ends at 30s; end earlier or raise duration",
    ),
    "repeats without end": (
        "{at: 8s, for: 4s, ^every: 5s, on: leader, fault: pause}",
        "repeats without an end; add until: …",
    ),
    "end without repeats": (
        "{at: 8s, for: 4s, ^until: 20s, on: leader, fault: pause}",
        "the end of repeats that don't begin; add every: …, or leave it out",
    ),
    "end before the beginning": (
        "{at: 8s, for: 4s, every: 5s, ^until: 7s, on: leader, fault: pause}",
        "ends before the first one begins at 8s; write a later time",
    ),
    "too many repeats": (
        "{at: 1s, ^every: 1ms, until: 20s, on: leader, fault: restart}",
        "that is 19,000 times, and at most 10,000 are planned; repeat less often",
    ),
    "repeats that meet": (
        "{at: 8s, for: 4s, ^every: 3s, until: 20s, on: leader, fault: pause}",
        "the next begins before this one's 4s are over; write every: 4s",
    ),
    "name": (
        "{name: ^A B, at: 8s, for: 4s, on: leader, fault: pause}",
        "'A B' is no name here: it takes small letters, digits, dashes and dots; did you mean 'a-b'?",
    ),
}


@pytest.mark.parametrize(("text", "place", "message"), FILES.values(), ids=FILES)
def test_a_wrong_file_is_refused_at_its_place(text, place, message):
    assert problems(text) == [at(place, message)]


@pytest.mark.parametrize(("marked", "message"), STEPS.values(), ids=STEPS)
def test_a_wrong_step_is_refused_at_its_place(marked, message):
    assert problems(with_step(marked.replace("^", ""))) == [at(f"9:{5 + marked.index('^')}", message)]


TOGETHER = {
    "pause a paused node": ("pause", "pause", "processes"),
    "pause a killed process": ("{kill: {}}", "pause", "processes"),
    "freeze a node without power": ("power", "freeze", "processes"),
    "two delays": ("{latency: {delay: 5ms}}", "{loss: {share: 20%}}", "packets"),
    "cut a node without power": ("power", "partition", "links"),
}


@pytest.mark.parametrize(("one", "other", "what"), TOGETHER.values(), ids=TOGETHER)
def test_steps_that_contradict_each_other_are_refused(one, other, what):
    text = (
        f"{HEAD}steps:\n  - {{name: a, at: 8s, for: 8s, on: leader, fault: {one}}}\n"
        f"  - {{name: b, at: 12s, for: 8s, on: leader, fault: {other}}}\ngates: [linearizable]\n"
    )
    assert problems(text) == [
        at(
            "10:19",
            f"contradicts 'a': at 12s both are in force on leader and touch the same {what};"
            " fire it later, or aim it elsewhere",
        )
    ]


@pytest.mark.parametrize(
    ("at_s", "on", "fault"),
    [(16, "leader", "pause"), (12, "follower", "pause"), (12, "leader", "{loss: {share: 20%}}")],
)
def test_steps_that_do_not_meet_are_fine(at_s, on, fault):
    text = (
        f"{HEAD}steps:\n  - {{name: a, at: 8s, for: 8s, on: leader, fault: pause}}\n"
        f"  - {{name: b, at: {at_s}s, for: 8s, on: {on}, fault: {fault}}}\ngates: [linearizable]\n"
    )
    assert len(read(text).steps) == 2


def test_an_operation_within_a_fault_of_the_same_victim_contradicts_it():
    text = (
        f"{HEAD}steps:\n  - {{at: 8s, for: 8s, on: leader, fault: pause}}\n"
        "  - {at: 12s, on: leader, fault: restart}\ngates: [linearizable]\n"
    )
    assert "contradicts 'pause': at 12s" in problems(text)[0]


def test_two_steps_of_one_name_are_refused():
    text = (
        f"{HEAD}steps:\n  - {{at: 8s, for: 2s, on: leader, fault: pause}}\n"
        "  - {at: 12s, for: 2s, on: leader, fault: pause}\n"
        "  - {name: pause, at: 16s, for: 2s, on: leader, fault: pause}\ngates: [linearizable]\n"
    )
    assert [said.split(";")[0] for said in problems(text)] == [
        at("10:5", "the name 'pause' was given before"),
        at("11:12", "the name 'pause' was given before"),
    ]


def test_a_step_that_leaves_no_steady_window_is_refused_where_one_is_needed():
    text = with_step("{at: 0s, for: 4s, on: leader, fault: pause}", "throughput: {floor: 50% of steady}")
    assert problems(text) == [
        at("10:21", "'throughput' needs a steady window of 1s, and a step fires at 0s; let it fire later")
    ]
    assert read(with_step("{at: 0s, for: 4s, on: leader, fault: pause}"))


@pytest.mark.parametrize(
    ("step", "place"),
    [
        ("{at: 8s, for: 100ms, on: leader, fault: partition}", "9:14"),
        ("{at: 8s, for: 100ms, on: leader, fault: pause}", "9:14"),
        ("{at: 8s, for: 300ms, on: leader, fault: {latency: {delay: 50ms}}}", "9:14"),
        ("{at: 8s, on: leader, fault: {kill: {down-for: 10ms}}}", "9:51"),
        ("{at: 8s, for: 1s, on: leader, fault: {loss: {share: 0.1%}}}", "9:14"),
    ],
)
def test_a_step_too_short_to_be_measured_is_refused(step, place):
    (said,) = problems(with_step(step))
    assert said.startswith(f"x.yaml:{place}: ")
    assert "is too short to measure that it really happened; write " in said


@pytest.mark.parametrize("fault", ["pause", "partition", "{latency: {delay: 50ms}}", "{loss: {share: 0.5%}}"])
def test_the_length_that_a_refusal_names_is_enough(fault):
    (said,) = problems(with_step(f"{{at: 1s, for: 10ms, on: leader, fault: {fault}}}"))
    enough = said.rsplit("write ", 1)[1].removesuffix(" or more")
    assert read(with_step(f"{{at: 1s, for: {enough}, on: leader, fault: {fault}}}"))


def test_a_step_on_named_peers_is_measured_once_they_are_known():
    assert read(with_step("{at: 1s, for: 5s, on: leader, fault: {partition: {from: client}}}"))


def test_an_operation_that_the_stack_has_not_is_refused():
    assert problems(with_step("{at: 8s, on: leader, fault: {replace: {version: v2}}}")) == [
        at("9:33", "the stack has no operation 'replace'; there is restart")
    ]


def test_the_processes_of_a_stack_can_be_aimed_at():
    assert read(with_step("{at: 8s, for: 4s, on: leader, fault: {kill: {process: proxy}}}"))


def test_an_owner_can_be_aimed_at_only_where_the_stack_knows_one():
    text = with_step("{at: 8s, for: 4s, on: {owner-of: k}, fault: pause}").replace("stack: store", "stack: etcd")
    with pytest.raises(SpecError) as error:
        load_text(text, "x.yaml", shipped())
    assert list(error.value.problems) == [
        at("9:28", "the stack can't say who owns a key; there are follower, leader, member")
    ]


def test_the_clients_may_be_the_other_side():
    assert read(with_step("{at: 8s, for: 4s, on: leader, fault: {partition: {from: client}}}"))
    assert read(with_step("{at: 8s, for: 20s, on: leader, fault: {latency: {delay: 5ms, peers: client}}}"))


def test_the_blast_radius_is_asked_for_although_other_parts_are_wrong():
    text = with_step("{at: 8s, for: 4s, on: {role: member, count: 2}, fault: pause}") + (
        "blast-radius: {member: 34%}\nseed: many\nwarm-up: 3\n"
    )
    assert [said.partition(";")[0] for said in problems(text)] == [
        at("11:24", "the steps hit 2 of 3 members at once, at 8s, and the limit 34% allows 1"),
        at("12:7", "'many' is not a whole number"),
        at("13:10", "'3' has no unit, and a duration needs one"),
    ]


def test_a_step_after_the_end_is_seen_although_the_head_is_wrong():
    text = with_step("{at: 80s, for: 4s, on: leader, fault: pause}") + "seed: many\n"
    assert [said.split(": ")[0] for said in problems(text)] == ["x.yaml:9:10", "x.yaml:11:7"]


RECOVERY = "recovery: {limit: 5s}"


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        (["{at: 8s, for: 21s, on: leader, fault: pause}"], "'pause' ends at 29s, 1s before the run does"),
        (["{at: 8s, for: 22s, on: leader, fault: pause}"], "'pause' ends at 30s, 0s before the run does"),
        (
            ["{at: 8s, for: 1s, every: 2s, until: 20s, on: leader, fault: pause}"],
            "'pause' ends at 9s, 1s before the next fault begins",
        ),
        (
            ["{at: 8s, for: 4s, on: leader, fault: pause}", "{name: b, at: 13s, for: 4s, on: follower, fault: pause}"],
            "'pause' ends at 12s, 1s before the next fault begins",
        ),
    ],
)
def test_a_recovery_that_the_plan_leaves_no_time_for_is_refused(steps, said):
    text = f"{HEAD}steps:\n" + "".join(f"  - {step}\n" for step in steps) + f"gates: [{RECOVERY}]\n"
    (problem,) = problems(text)
    assert problem == at(
        f"{9 + len(steps)}:19",
        f"'recovery' needs 2s of traffic after each fault, and {said};"
        " end it earlier, repeat it less often, or raise duration",
    )


@pytest.mark.parametrize(
    "steps",
    [
        ["{at: 8s, for: 20s, on: leader, fault: pause}"],
        # what ends while something else is in force is not followed by a recovery
        ["{at: 8s, for: 8s, on: leader, fault: pause}", "{name: b, at: 12s, for: 5s, on: follower, fault: pause}"],
        ["{at: 8s, on: leader, fault: restart}"],
    ],
)
def test_a_recovery_that_has_time_is_fine(steps):
    assert read(f"{HEAD}steps:\n" + "".join(f"  - {step}\n" for step in steps) + f"gates: [{RECOVERY}]\n")


def test_a_recovery_window_that_can_not_be_is_refused_for_any_gate():
    text = with_step("{at: 8s, for: 22s, on: leader, fault: pause}", "errors: {limit: 1%, during: recovery}")
    assert problems(text) == [
        at(
            "10:37",
            "'errors' needs traffic after each fault, and 'pause' ends at 30s, 0s before the run does;"
            " end it earlier, repeat it less often, or raise duration",
        )
    ]


def test_one_recovery_window_is_enough_for_a_gate_that_looks_at_all_together():
    steps = (
        "  - {at: 8s, for: 4s, on: leader, fault: pause}\n  - {name: b, at: 26s, for: 4s, on: leader, fault: pause}\n"
    )
    assert read(f"{HEAD}steps:\n{steps}gates: [errors: {{limit: 1%, during: recovery}}]\n")


BROKEN = {
    "tab": ("chaosgate: 1\n\tname: e\n", "2:1", "indent with spaces"),
    "colon in a text": ("chaosgate: 1\nabout: a: b\n", "2:9", "put the text that contains ': ' in quotes"),
    "open bracket": ("chaosgate: 1\ngates: [a\n", "3:1", "check the indentation, brackets and quotes there"),
    "undefined alias": ("chaosgate: 1\nname: *who\n", "2:7", "check the indentation, brackets and quotes there"),
}


@pytest.mark.parametrize(("text", "place", "hint"), BROKEN.values(), ids=BROKEN)
def test_what_is_not_yaml_is_refused_at_its_place(text, place, hint):
    (said,) = problems(text)
    assert said.startswith(f"x.yaml:{place}: not YAML: ")
    assert said.endswith(f"; {hint}")


@pytest.mark.parametrize("text", ["", "just text", "- chaosgate: 1\n", "3\n"])
def test_what_is_no_mapping_is_refused(text):
    assert problems(text) == [at("1:1", "an experiment is a mapping; begin with the line `chaosgate: 1`")]


def test_what_contains_itself_is_refused():
    assert problems("chaosgate: 1\nsteps: &loop [*loop]\n") == [
        at("2:8", "this contains itself, by an alias (*); write it out")
    ]


def test_a_control_character_is_refused():
    assert problems("chaosgate: 1\nname: \x00\n")[0].startswith("x.yaml:1:1: not YAML: ")


def test_all_problems_of_a_file_are_said_at_once_and_in_its_order():
    text = """\
chaosgate: 1
name: e
stack: stor
load: {kv: {kees: 3}, rate: 800}
duration: 30
steps:
  - {at: 8s, for: 4s, on: leeder, fault: puase}
  - {at: 50s, for: 4s, on: leader, fault: {latency: {}}}
  - {name: late, at: 50s, for: 1ms, on: leader, fault: pause}
gates: [linearisable, errors]
sead: 3
"""
    assert [said.split(": ")[0] for said in problems(text)] == [
        "x.yaml:3:8",
        "x.yaml:4:13",
        "x.yaml:4:29",
        "x.yaml:5:11",
        "x.yaml:7:27",
        "x.yaml:7:42",
        "x.yaml:8:53",
        "x.yaml:9:27",
        "x.yaml:10:9",
        "x.yaml:10:23",
        "x.yaml:11:1",
    ]


@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=60))
@settings(max_examples=200, deadline=None)
def test_any_text_is_read_or_refused_and_nothing_else_happens(tail):
    try:
        read(GOOD + tail)
    except SpecError as error:
        assert {line.split(":")[0] for line in error.problems} == {"x.yaml"}  # noqa: PT017 either way is right


LINES = [
    *GOOD.splitlines(),
    "steps:",
    "  - {at: 8s, for: 4s, on: leader, fault: {loss: {share: 5%}}}",
    "seed: 3",
    "slo: {}",
]


@given(st.permutations(LINES), st.integers(0, len(LINES)), st.integers(0, 60))
@settings(max_examples=200, deadline=None)
def test_a_garbled_file_is_read_or_refused_and_nothing_else_happens(lines, keep, cut):
    text = "chaosgate: 1\n" + "\n".join(lines[:keep])[: -cut or None]
    try:
        read(text)
    except SpecError as error:
        assert all(line.startswith("x.yaml:") for line in error.problems)  # noqa: PT017 either way is right


# ---------------------------------------------------------------- the generic reader


@dataclass(frozen=True, kw_only=True)
class Whole:
    limit_ns: int = 5
    rates: tuple[float, ...] = ()
    shares: dict[str, float] = field(default_factory=dict)
    inner: Mix | None = None
    mixes: tuple[Mix, ...] = ()
    during: Span = Span.RUN
    maybe: float | None = None
    hidden: int = field(default=3, init=False)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{}", Whole()),
        ("{limit: 1ms}", Whole(limit_ns=1_000_000)),
        ("{rates: [1, 2.5]}", Whole(rates=(1.0, 2.5))),
        ("{rates: 3}", Whole(rates=(3.0,))),
        ("{shares: {a: 5%}}", Whole(shares={"a": 0.05})),
        ("{inner: {put: 10%}}", Whole(inner=Mix(put=0.1))),
        ("{mixes: [{put: 10%}, {}]}", Whole(mixes=(Mix(put=0.1), Mix()))),
        ("{during: steady}", Whole(during=Span.STEADY)),
        ("{maybe: null}", Whole()),
        ("{maybe: 2}", Whole(maybe=2.0)),
    ],
)
def test_any_dataclass_has_a_form(text, value):
    page = Page("x.yaml", text)
    assert from_yaml(Whole, yaml.compose(text), page) == value
    assert not page.problems


def test_a_field_that_is_not_set_from_outside_is_no_key():
    page = Page("x.yaml", "{hidden: 3}")
    assert from_yaml(Whole, yaml.compose(page.text), page) is None
    assert page.problems[0][2].startswith("no such key 'hidden' here")


# ---------------------------------------------------------------- matrix, schema, shipped experiments


def test_a_matrix_is_one_experiment_a_combination():
    e = read(GOOD + "matrix: {version: [3.5.1, 3.10], seed: [1, 2]}\n")
    found = [(c.name, c.seed, c.stack.versions["store"]) for c in cells(e)]
    assert found == [
        ("e[version=3.5.1,seed=1]", 1, "3.5.1"),
        ("e[version=3.5.1,seed=2]", 2, "3.5.1"),
        ("e[version=3.10,seed=1]", 1, "3.10"),
        ("e[version=3.10,seed=2]", 2, "3.10"),
    ]


def test_without_a_matrix_there_is_one_cell():
    e = read(GOOD)
    assert cells(e) == (e,)


def test_the_schema_names_every_key_fault_gate_and_unit():
    schema = json_schema(TABLES)
    said = str(schema)
    assert schema["required"] == ["chaosgate", "name", "stack", "load", "duration"]
    assert schema["anyOf"] == [{"required": ["gates"]}, {"required": ["slo"]}]
    assert set(schema["properties"]) >= {"warm-up", "abort-when", "blast-radius", "matrix", "steps"}
    for name in (*FAULTS, *GATES, "down-for", "stops-run", "because", "owner-of", "kv", "pinned"):
        assert f"'{name}'" in said
    assert "_s'" not in said.replace("'additionalProperties'", "")


def test_the_schema_knows_the_ways_to_say_one_thing():
    defs = json_schema(TABLES)["$defs"]
    whom = defs["Partition"]["properties"]["from"]["anyOf"]
    assert {"string", "array"} <= {way["type"] for way in whom}
    assert "of steady" in str(defs["Throughput"]["properties"]["floor"])


def refs(part):
    if isinstance(part, dict):
        yield from ([part["$ref"]] if "$ref" in part else [])
        for value in part.values():
            yield from refs(value)
    elif isinstance(part, list):
        for item in part:
            yield from refs(item)


def test_every_reference_of_the_schema_leads_somewhere():
    schema = json_schema(TABLES)
    assert {ref.removeprefix("#/$defs/") for ref in refs(schema)} <= set(schema["$defs"])


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_shipped_experiment_loads_and_can_be_planned(path):
    e = load(path, shipped())
    assert e.name in (path.stem, f"{path.parent.name}-{path.stem}")
    assert e.about
    assert (e.load.calibrated_share or 0) <= 0.6
    assert plan(e, Topology(nodes=tuple(STACKS[e.stack.name].nodes(e.stack.settings)))).total_s < 300


def test_the_readme_lists_every_shipped_experiment():
    said = (EXPERIMENTS / "README.md").read_text()
    assert [path.stem for path in SHIPPED if f"{path.stem}.yaml" not in said] == []
    assert len(SHIPPED) >= 12
