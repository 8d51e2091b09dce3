"""Validity, and how verdicts become one decision."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import gates
from chaos.errors import DirtyError, HarnessError, RecordingError, UsageError
from chaos.model import Cut, Decision, EventKind, NamedGate, Proof, Span, StackAction, Status, Verdict
from chaos.recording import Recording
from chaos.testing import NODES, RecordingBuilder, check_gate
from gates.judge import Judgement, judge, judge_set, read_verdict, worst, write_verdict
from gates.no_unexpected_exit import NoUnexpectedExit
from gates.validity import Validity


@dataclass(frozen=True, slots=True, kw_only=True)
class Says:
    """A gate that always says the same."""

    status: Status = Status.PASS
    certain: bool = False
    during: Span = Span.RUN

    def judge(self, recording: Recording) -> Verdict:  # the seam's signature
        return Verdict(status=self.status, summary=f"said {self.status.name}", certain=self.certain)


@dataclass(frozen=True, slots=True, kw_only=True)
class Raises:
    def judge(self, recording: Recording) -> Verdict:  # the seam's signature
        raise KeyError("nope")


def named(*gates_: object, **rest: str) -> list[NamedGate]:
    return [NamedGate(name=f"g{place}", gate=gate, **rest) for place, gate in enumerate(gates_)]


def sound(*, action: object = None, **fault: object) -> RecordingBuilder:
    builder = RecordingBuilder()
    builder.traffic(4)
    with builder.fault("cut", "etcd1", action=action or Cut(peers=("etcd2",)), **fault):
        builder.traffic(2)
    builder.traffic(2)
    return builder


def problems(builder: RecordingBuilder, **settings: object) -> str:
    verdict = Validity(**settings).judge(builder.build())
    assert (verdict.status is Status.PASS) == (not verdict.numbers["problems"])
    return "; ".join(verdict.numbers["problems"])


# ---------------------------------------------------------------- validity


def test_a_sound_run_counts():
    check_gate(Validity())
    assert problems(sound()) == ""


@pytest.mark.parametrize("proof", [None, Proof.MISMATCH, Proof.INCONCLUSIVE])
def test_a_fault_that_was_not_confirmed_makes_the_run_invalid(proof):
    said = problems(sound(confirmed=proof))
    assert "cut" in said
    assert ("never confirmed on etcd1" in said) == (proof is None)


def test_a_mismatch_names_what_was_asked_and_what_was_got():
    builder = sound(confirmed=None)
    delay = {"name": "delay etcd2→etcd1", "unit": "ms", "asked": 100.0, "got": 51.5, "proof": "mismatch"}
    builder.event(
        EventKind.CONFIRM,
        step="cut",
        node="etcd1",
        data={"phase": "confirm", "proof": "mismatch", "subject": "etcd1", "measurements": [delay]},
    )
    assert "cut on etcd1: is not what was asked for: delay etcd2→etcd1: asked 100 ms, got 51.5 ms" in problems(builder)


def test_a_fault_that_did_not_stay_in_force_makes_the_run_invalid():
    builder = sound()
    builder.evidence(EventKind.CONFIRM, "watch", "etcd1", Proof.CONFIRMED, step="cut")
    assert problems(builder) == ""
    builder.evidence(EventKind.CONFIRM, "watch", "etcd1", Proof.MISMATCH, step="cut")
    builder.evidence(EventKind.CONFIRM, "watch", "etcd1", Proof.CONFIRMED, step="cut")
    assert "cut on etcd1: did not stay in force" in problems(builder)


def test_a_confirmation_that_came_in_the_end_counts():
    builder = sound(confirmed=Proof.INCONCLUSIVE)
    builder.evidence(EventKind.CONFIRM, "confirm", "etcd1", Proof.CONFIRMED, step="cut")
    assert problems(builder) == ""


def test_an_injection_that_failed_before_it_was_told_makes_the_run_invalid():
    builder = sound()
    builder.evidence(EventKind.CONFIRM, "confirm", "", Proof.INCONCLUSIVE, step="later")
    assert "later on its victims: could not be confirmed" in problems(builder)


def test_a_leader_fault_that_met_nobody_makes_the_run_invalid():
    builder = RecordingBuilder()
    builder.traffic(3)
    with builder.fault("cut"):
        builder.traffic(1)
    assert "cut met nobody" in problems(builder)


@pytest.mark.parametrize("proof", [None, Proof.MISMATCH, Proof.INCONCLUSIVE])
def test_a_heal_that_was_not_proved_makes_the_run_invalid(proof):
    assert "cut" in problems(sound(healed=proof))


def test_an_operation_of_the_stack_needs_no_heal_but_must_have_ended_well():
    restart = StackAction(operation="restart")
    assert problems(sound(action=restart, healed=None)) == ""
    assert "could not be confirmed" in problems(sound(action=restart, healed=None, confirmed=Proof.INCONCLUSIVE))


def test_a_load_that_did_not_reach_its_floor_makes_the_run_invalid():
    builder = sound()
    builder.run["load"]["rate_per_s"] = 300
    assert "the load did not reach its floor: 200/s offered in steady, 300/s asked; the machine" in problems(builder)
    builder.run["load"]["closed_loop"] = True
    assert problems(builder) == ""


def test_a_sabotaged_load_promotes_nothing_however_well_it_is_served():
    builder = sound()
    builder.run["load"]["settings"] = {"sabotage": ""}
    assert problems(builder) == ""
    builder.run["load"]["settings"] = {"sabotage": "retry"}
    assert problems(builder) == "the load is sabotaged: retry; to judge a release, take `sabotage` out of the load"
    assert judge(builder.build(), named(Says())).exit_code == 11
    certain = judge(builder.build(), named(Says(status=Status.FAIL, certain=True)))
    assert (certain.exit_code, certain.verdicts[1].status) == (10, Status.FAIL)
    builder.run["load"]["closed_loop"] = True
    assert "the load is sabotaged" in problems(builder)


def test_a_load_is_held_to_what_its_shape_asks_for_in_each_window():
    """200/s came: two seconds of steady, a fault, a recovery."""
    builder = sound()
    builder.run["load"] |= {"rate_per_s": 400, "stages": [{"share": 0.5}]}
    assert problems(builder) == ""
    builder.run["load"]["stages"] = [{"share": 0.5, "hold_s": 9.0}, {"share": 1.0}]
    assert "200/s offered in steady, 400/s asked" in problems(builder)
    builder.run["load"]["stages"] = [{"share": 1.0, "hold_s": 30.0}, {"share": 0.5}]
    assert "200/s offered in steady, 400/s asked" in problems(builder)  # what it falls to later excuses nothing
    builder.run["load"] |= {"rate_per_s": 200, "stages": [{"share": 1.0, "hold_s": 4.0}, {"share": 0.1}]}
    assert problems(builder) == ""
    builder.run["load"]["stages"] = [{"share": 1.0, "hold_s": 4.0}, {"share": 0.1, "hold_s": 0.1}, {"share": 3.0}]
    assert "did not come back to its floor" in problems(builder) or "steady" in problems(builder)


def test_a_load_that_did_not_come_back_after_the_fault_makes_the_run_invalid():
    builder = sound()
    builder.traffic(4, rate_per_s=100)
    assert "did not come back to its floor: 133/s offered in recovery, 200/s asked" in problems(builder)


def test_arrivals_that_found_no_user_after_the_fault_were_offered_all_the_same():
    builder = sound()
    builder.traffic(4, dropped_share=0.5)
    assert problems(builder) == ""


def test_sending_late_after_the_fault_is_the_stacks_slowness_and_left_to_the_gates():
    builder = sound()
    builder.traffic(8, lag_p99_s=0.2)
    assert problems(builder) == ""


def closed_loop(*stretches: tuple[float, float]) -> RecordingBuilder:
    """Stretches of (seconds, share of operations never answered), sent as fast as the users manage."""
    builder = RecordingBuilder(rate_per_s=20)
    builder.run["load"] = {"closed_loop": True, "rate_per_s": None}
    for for_s, unknown_share in stretches:
        builder.traffic(for_s, unknown_share=unknown_share)
    return builder


@pytest.mark.parametrize("closed", [True, False])
def test_a_run_without_a_single_operation_is_invalid(closed):
    builder = RecordingBuilder()
    builder.run["load"]["closed_loop"] = closed
    builder.traffic(8, rate_per_s=0)
    assert "no operation was recorded while the run went on" in problems(builder)
    assert judge(builder.build(), named(Says())).exit_code == 11


def test_a_closed_loop_that_was_not_served_for_long_makes_the_run_invalid():
    assert problems(closed_loop((35, 0))) == ""
    assert "no operation succeeded for 10 s from t = 10.0 s on" in problems(closed_loop((10, 0), (10, 1), (15, 0)))
    assert "20 operations succeeded while the run went on; at least 100" in problems(closed_loop((1, 0), (6, 1)))


def test_a_closed_loop_whose_generator_is_silent_makes_the_run_invalid():
    builder = closed_loop((12, 0))
    builder.events = [event for event in builder.events if event.kind is not EventKind.LOAD]
    assert "said nothing of itself" in problems(builder)


def test_every_generator_that_was_asked_for_must_have_left_its_samples():
    builder = sound()
    builder.run["load"]["processes"] = 2
    assert "1 of 2 generators left a recording" in problems(builder)
    builder.run["load"]["processes"] = 1
    assert problems(builder) == ""


def test_a_recording_that_does_not_say_what_was_asked_for_is_invalid():
    builder = sound()
    del builder.run["load"]
    assert "does not say which rate" in problems(builder)


@pytest.mark.parametrize(
    ("load", "said"),
    [
        ({"cpu_share": 0.95}, "the generator was saturated: 95 % of a core"),
        (
            {"lag_p99_s": 0.2},
            "sent late: p99 200 ms in steady, at most 50 ms; the machine is busy: run alone, or lower the rate",
        ),
        ({"dropped_share": 0.02}, "found no free user"),
    ],
)
def test_a_generator_at_its_limit_makes_the_run_invalid(load, said):
    builder = RecordingBuilder()
    builder.traffic(8, **load)
    assert said in problems(builder)


def test_a_silent_generator_makes_the_run_invalid():
    builder = sound()
    builder.events = [event for event in builder.events if event.kind is not EventKind.LOAD]
    assert "said nothing of itself" in problems(builder)


def test_a_window_that_a_gate_looks_at_needs_samples():
    builder = RecordingBuilder()
    builder.traffic(4)
    with builder.fault("cut", "etcd1"):
        builder.traffic(2, rate_per_s=0)
    builder.traffic(2)
    assert problems(builder) == ""
    assert "during fault, which a gate looks at" in problems(builder, spans=(Span.FAULT,))


def test_trouble_of_the_harness_makes_the_run_invalid():
    builder = sound()
    builder.event(EventKind.ERROR, "the agent died")
    assert "the harness broke down at t = 8.0 s: the agent died" in problems(builder)


def versions(at_end: dict, *, at_start: dict | None = None, action: StackAction | None = None) -> str:
    builder = RecordingBuilder()
    builder.traffic(3)
    if action is not None:
        with builder.fault("upgrade", *NODES, action=action):
            builder.traffic(1)
    builder.traffic(1)
    builder.end()
    kept = [e for e in builder.events if e.kind is not EventKind.VERSION]
    builder.events = []
    builder.versions("start", **(at_start or {}))
    if at_end:
        builder.versions("end", **at_end)
    builder.events += kept
    return problems(builder)


def test_versions_as_asked_at_start_and_end_are_fine():
    assert versions({"nodes": NODES}) == ""


def test_another_version_than_asked_makes_the_run_invalid():
    wrong = {"version": "3.4.23"}
    assert "etcd1 runs version 3.4.23, asked for was 3.5.35" in versions(wrong, at_start=wrong)


def test_a_binary_that_changed_makes_the_run_invalid_unless_an_operation_replaced_it():
    assert "etcd1 changed from 3.5.35 (aa) to 3.5.35 (bb)" in versions({"sha256": "bb"})
    replace_it = StackAction(operation="replace", arguments={"version": "3.6.0"})
    assert versions({"version": "3.6.0", "sha256": "bb"}, action=replace_it) == ""
    assert "was replaced by 3.6.0, but runs 3.5.35 at the end" in versions({"nodes": NODES}, action=replace_it)


def killed(**running):
    """A run in which tm1 is killed; `running` is each TaskManager's last reading of whether it has work."""
    builder = RecordingBuilder(rate_per_s=100)
    builder.traffic(5)
    for node, value in running.items():
        builder.reading("running", node, value, why="" if value is not None else "timeout")
    with builder.fault("kill", "tm1"):
        builder.traffic(2)
    builder.traffic(5)
    return problems(builder)


def test_a_fault_that_met_a_node_without_work_changed_nothing_and_can_not_tell():
    assert "kill met tm1, which ran no task then; to hit one that works write running: any" in killed(tm1=0.0, tm2=1.0)
    assert killed(tm1=1.0, tm2=0.0) == ""
    assert killed(tm1=None) == ""
    assert killed() == ""


def test_one_that_works_among_the_victims_is_enough():
    builder = RecordingBuilder(rate_per_s=100)
    builder.traffic(5)
    builder.reading("running", "tm1", 0.0)
    builder.reading("running", "tm2", 1.0)
    with builder.fault("cut", "tm1", "tm2"):
        builder.traffic(2)
    builder.traffic(5)
    assert problems(builder) == ""


def test_a_version_read_from_a_file_and_not_from_the_process_makes_the_run_invalid():
    builder = sound()
    place = next(n for n, event in enumerate(builder.events) if event.kind is EventKind.VERSION)
    start = builder.events[place]
    builder.events[place] = replace(start, data={**start.data, "of": "process"})
    assert problems(builder) == ""
    builder.events[place] = replace(start, data={**start.data, "of": "file"})
    assert "etcd1: of its running program nothing was seen at the start, only the file on disk" in problems(builder)


def aimed(**told: object) -> str:
    builder = sound()
    place = next(n for n, event in enumerate(builder.events) if event.kind is EventKind.INJECT)
    inject = builder.events[place]
    builder.events[place] = replace(inject, data={**inject.data, "role": "follower", **told})
    return problems(builder)


def test_a_role_that_was_found_must_be_seen_to_be_held_just_before():
    assert aimed(role_found=True, role_seen={"etcd1": 1.0}) == aimed(role_found=False, role_seen={}) == ""
    for seen in ({}, {"etcd2": 1.0}):
        assert "nothing says that etcd1 still was" in aimed(role_found=True, role_seen=seen)
    assert "was aimed at the follower and met etcd1, which was not" in aimed(role_found=True, role_seen={"etcd1": 0.0})


def test_versions_nobody_told_make_the_run_invalid():
    assert "etcd2 did not say at the end which version it is" in versions({"nodes": ("etcd1",)})
    assert "no process said at the start" in versions({"nodes": NODES}, at_start={"nodes": ()})


# ---------------------------------------------------------------- one run


def test_a_run_whose_gates_pass_is_promoted():
    said = judge(sound().build(), named(Says(), Says()))
    assert (said.decision, said.exit_code, said.status) == (Decision.PROMOTE, 0, Status.PASS)
    assert [verdict.gate for verdict in said.verdicts] == ["validity", "g0", "g1"]
    assert said.sentence == "promote: all 2 gates passed, and the run counts"
    assert said.experiment == "made"


def test_a_failed_gate_holds():
    said = judge(sound().build(), named(Says(), Says(status=Status.FAIL)))
    assert (said.decision, said.exit_code) == (Decision.HOLD, 10)
    assert said.sentence == "hold: g1: said FAIL"


def test_a_gate_that_cannot_tell_never_promotes():
    said = judge(sound().build(), named(Says(), Says(status=Status.INCONCLUSIVE)))
    assert (said.decision, said.exit_code) == (Decision.CANNOT_TELL, 11)


def test_a_gate_that_raises_cannot_tell_and_names_what_it_raised():
    said = judge(sound().build(), named(Raises()))
    assert said.verdicts[1].status is Status.INCONCLUSIVE
    assert said.verdicts[1].summary == "gate g0 raised KeyError: 'nope'"
    assert said.exit_code == 11


def test_an_experiment_without_gates_is_never_promoted():
    assert judge(sound().build(), []).exit_code == 11


def test_in_an_invalid_run_only_a_certain_failure_is_left():
    gates_ = named(Says(), Says(status=Status.FAIL), Says(status=Status.FAIL, certain=True))
    said = judge(sound(confirmed=None).build(), gates_)
    assert [verdict.status.name for verdict in said.verdicts] == [
        "INCONCLUSIVE",
        "INCONCLUSIVE",
        "INCONCLUSIVE",
        "FAIL",
    ]
    assert said.verdicts[2].summary == "does not count, see validity; alone: FAIL said FAIL"
    assert said.exit_code == 10
    assert judge(sound(confirmed=None).build(), gates_[:2]).exit_code == 11


@pytest.mark.parametrize("how", ["aborted", "interrupted", "stopped early"])
def test_a_run_that_was_ended_is_inconclusive(how):
    builder = sound()
    builder.end(how)
    recording = replace(builder.build(), _complete=None)
    said = judge(recording, named(Says()))
    assert said.exit_code == 11
    assert how in said.sentence


def interrupted(builder: RecordingBuilder) -> Judgement:
    """Judge a run that somebody ended by Ctrl-C."""
    builder.event(EventKind.NOTE, "interrupted by SIGINT; healing everything")
    builder.end("interrupted")
    return judge(replace(builder.build(), _complete=None), named(Says()))


def test_a_run_that_was_interrupted_says_by_whom_and_when_and_not_what_it_therefore_lacks():
    builder = RecordingBuilder(begin=False)
    builder.event(EventKind.RUN, "begin")
    builder.event(EventKind.PHASE, "set-up")
    said = interrupted(builder)
    assert said.exit_code == 11
    assert said.sentence.startswith("cannot tell: validity: the run was interrupted by SIGINT during set-up")
    for consequence in ("no process said", "no operation was", "of itself", "broke down"):
        assert consequence not in said.sentence
    builder = RecordingBuilder()
    builder.traffic(3.5)
    said = interrupted(builder)
    assert re.match(r"cannot tell: validity: the run was interrupted by SIGINT at t = 3\.\d s", said.sentence)


def test_a_moment_of_a_run_without_load_is_counted_from_its_begin():
    builder = RecordingBuilder(begin=False)
    builder.event(EventKind.RUN, "begin")
    builder.clock.advance(2.5)
    builder.event(EventKind.ERROR, "the stack was not ready")
    assert "the harness broke down at 2.5 s after its begin: the stack" in judge(builder.build(), ()).sentence


def test_a_decision_is_said_once():
    recording = replace(sound(confirmed=None).build(), run={**sound().run, "experiment": "made"})
    one_run = judge(recording, named(Says()))
    told = judge_set([one_run])
    for said in (one_run.sentence, told.sentence):
        assert said.count("cannot tell") == 1
    for why in (one_run.why, told.why):
        assert "cannot tell" not in why
    dirty = judge(sound(healed=Proof.MISMATCH).build(), named(Says()))
    assert dirty.why.startswith("the target is dirty: ")


def test_a_harness_that_died_is_told_by_the_exit_code():
    assert judge(sound().build(complete=False), named(Says())).exit_code == 12
    broken = sound()
    broken.event(EventKind.ERROR, "the agent died")
    assert judge(broken.build(), named(Says())).exit_code == 12


@pytest.mark.parametrize("healed", [Proof.MISMATCH, None])
def test_a_heal_that_failed_outranks_everything(healed):
    said = judge(sound(healed=healed).build(), named(Says(status=Status.FAIL, certain=True)))
    assert (said.exit_code, said.decision) == (13, Decision.CANNOT_TELL)
    assert "chaosgate heal" in said.sentence


def test_a_heal_that_raised_is_dirty_and_one_that_could_not_be_measured_is_inconclusive():
    builder = sound(healed=None)
    builder.evidence(EventKind.HEAL, "heal", "", Proof.INCONCLUSIVE, step="cut")
    assert judge(builder.build(), named(Says())).exit_code == 13
    assert judge(sound(healed=Proof.INCONCLUSIVE).build(), named(Says())).exit_code == 11


def test_a_known_failure_is_named_and_holds_all_the_same():
    said = judge(sound().build(), named(Says(status=Status.FAIL), expect_fail="etcd-io/etcd#13766"))
    assert said.known_failures == ("g0",)
    assert said.exit_code == 10
    assert said.sentence.startswith("hold: g0 (a known failure: etcd-io/etcd#13766): ")
    assert said.because == {"g0": "etcd-io/etcd#13766"}


def test_what_others_have_published_is_kept_and_changes_nothing(tmp_path):
    plain, beside = (judge(sound().build(), named(Says(), published=said)) for said in ("", "0.2 %, arXiv:1"))
    assert beside.published == {"g0": "0.2 %, arXiv:1"}
    assert replace(beside, published={}) == plain
    write_verdict(tmp_path, beside)
    assert read_verdict(tmp_path) == beside


def test_a_known_failure_that_passes_is_none():
    assert judge(sound().build(), named(Says(), expect_fail="old")).known_failures == ()


def test_a_process_that_died_by_itself_holds_though_no_gate_asks():
    builder = sound()
    builder.process("etcd3", "ended", exit_code=2)
    said = judge(builder.build(), named(Says()))
    assert said.exit_code == 10
    assert said.verdicts[0].status is Status.FAIL
    assert "etcd3/etcd ended with code 2" in said.sentence
    asked = judge(builder.build(), named(NoUnexpectedExit()))
    assert [verdict.status.name for verdict in asked.verdicts] == ["PASS", "FAIL"]


def test_in_an_invalid_run_a_process_that_died_does_not_make_other_gates_count():
    builder = sound(confirmed=None)
    builder.process("etcd3", "ended", exit_code=2)
    said = judge(builder.build(), named(Says(), Says(status=Status.FAIL)))
    assert [verdict.status.name for verdict in said.verdicts] == ["FAIL", "INCONCLUSIVE", "INCONCLUSIVE"]


def test_in_an_invalid_run_a_sigkill_of_unknown_origin_does_not_hold():
    builder = sound(confirmed=None)
    builder.process("etcd3", "ended", exit_code=-9)
    assert judge(builder.build(), named(Says())).exit_code == 11


def test_an_empty_recording_is_judged_and_not_promoted():
    all_gates = [cls(**SETTINGS.get(name, {})) for name, cls in gates.GATES.items()]
    said = judge(Recording.of(), named(*all_gates))
    assert said.exit_code == 12
    assert all(verdict.status is Status.INCONCLUSIVE for verdict in said.verdicts)


# ---------------------------------------------------------------- several runs


def one(exit_code: int, experiment: str = "a") -> Judgement:
    status = {0: Status.PASS, 10: Status.FAIL}.get(exit_code, Status.INCONCLUSIVE)
    decision = {0: Decision.PROMOTE, 10: Decision.HOLD}.get(exit_code, Decision.CANNOT_TELL)
    return Judgement(
        verdicts=(), status=status, decision=decision, exit_code=exit_code, sentence="s", experiment=experiment
    )


def test_a_set_promotes_only_if_every_required_experiment_ran_and_passed():
    assert judge_set([one(0), one(0, "b")], ["a", "b"]).decision is Decision.PROMOTE
    missing = judge_set([one(0)], ["a", "b"])
    assert (missing.decision, missing.exit_code, missing.missing) == (Decision.CANNOT_TELL, 11, ("b",))
    assert "not run, or not judged: b" in missing.sentence


def test_an_experiment_required_twice_must_have_run_twice():
    short = judge_set([one(0), one(0, "b")], ["a", "b", "a"])
    assert (short.decision, short.missing) == (Decision.CANNOT_TELL, ("a",))
    assert judge_set([one(0), one(0, "b"), one(0)], ["a", "b", "a"]).decision is Decision.PROMOTE
    assert judge_set([one(0)] * 3, ["a", "a"], repeat=2).missing == ("a",)


@pytest.mark.parametrize(("trouble", "exit_code"), [(HarnessError("no page"), 12), (DirtyError("stuck"), 13)])
def test_trouble_of_the_harness_counts_however_good_the_verdicts_are(trouble, exit_code):
    told = judge_set([one(0)], ["a"], troubles=[trouble])
    assert (told.decision, told.exit_code) == (Decision.CANNOT_TELL, exit_code)
    assert told.sentence == f"cannot tell: {trouble}"
    assert judge_set([one(10)], ["a"], troubles=[HarnessError("no page")]).decision is Decision.HOLD


def test_nothing_run_is_never_promoted():
    assert judge_set([]).exit_code == 11
    assert "nothing was run" in judge_set([]).sentence


def test_a_failure_is_not_hidden_by_a_missing_experiment():
    assert judge_set([one(10)], ["a", "b"]).exit_code == 10


def test_one_failure_in_many_repeats_holds():
    assert judge_set([one(0)] * 19 + [one(10)], ["a"], repeat=20).decision is Decision.HOLD


def test_fewer_repeats_than_asked_are_not_promoted():
    assert judge_set([one(0)] * 2, ["a"], repeat=3).decision is Decision.CANNOT_TELL
    assert "fails less than 13.9 % of the time" in judge_set([one(0)] * 20, ["a"], repeat=20).sentence


CODES = st.sampled_from([0, 10, 11, 12, 13])


@given(st.lists(CODES, min_size=1))
def test_the_worst_run_counts_in_the_stated_order(codes):
    order = [13, 10, 12, 11, 0]
    assert worst(codes) == next(code for code in order if code in codes)
    said = judge_set([one(code) for code in codes], ["a"])
    assert said.exit_code == worst(codes)
    assert (said.decision is Decision.PROMOTE) == (set(codes) == {0})


def test_a_refused_experiment_counts_as_not_run():
    assert worst([0, 2]) == 11
    assert worst([]) == 11


# ---------------------------------------------------------------- verdict.json


def test_a_verdict_is_read_back_as_it_was_written(tmp_path):
    builder = sound()
    builder.process("etcd3", "ended", exit_code=2)
    said = judge(builder.build(), named(Says(status=Status.FAIL), expect_fail="why"))
    path = write_verdict(tmp_path, said)
    assert read_verdict(tmp_path) == said
    assert json.loads(path.read_text())["decision"] == "hold"


def test_numbers_that_json_does_not_know_are_written_as_null(tmp_path):
    said = replace(one(0), verdicts=(Verdict(status=Status.PASS, summary="s", numbers={"x": float("inf")}),))
    write_verdict(tmp_path, said)
    assert read_verdict(tmp_path).verdicts[0].numbers == {"x": None}


def test_a_run_that_was_not_judged_says_how_to_judge_it(tmp_path):
    with pytest.raises(UsageError, match="chaosgate judge"):
        read_verdict(tmp_path)
    (tmp_path / "verdict.json").write_text('{"chaosgate": 1}')
    with pytest.raises(UsageError, match="no verdict of chaosgate"):
        read_verdict(tmp_path)


def test_a_verdict_that_cannot_be_written_is_the_harness_s_trouble(tmp_path):
    with pytest.raises(RecordingError, match="judge again"):
        write_verdict(tmp_path / "gone", one(0))


# ---------------------------------------------------------------- the table

SETTINGS = {
    "latency": {"limit_s": 0.4},
    "throughput": {"floor_share": 0.5},
    "errors": {"limit_share": 0.01},
    "recovery": {"limit_s": 5.0},
    "output-latency": {"limit_s": 2.0},
    "output-continues": {"limit_s": 5.0},
    "output-recovery": {"limit_s": 1.0},
    "lag": {"limit_s": 10.0},
}


def test_folder_and_table_agree():
    folder = Path(gates.__file__).parent
    judging = {path.stem for path in folder.glob("*.py") if "def judge(self, recording" in path.read_text()}
    assert {cls.__module__ for cls in gates.OWN.values()} == {f"gates.{name}" for name in judging - {"validity"}}
    for name, cls in gates.OWN.items():
        assert cls.__module__ == f"gates.{name.replace('-', '_')}"
        assert cls.__name__ == "".join(part.title() for part in name.split("-"))


@pytest.mark.parametrize("name", gates.OWN)
def test_every_gate_does_what_every_gate_must(name):
    check_gate(gates.OWN[name](**SETTINGS.get(name, {})))


@dataclass(kw_only=True)
class Thawed:
    limit: float = 1.0

    def judge(self, recording: Recording) -> Verdict:  # the seam's signature
        return Verdict(status=Status.INCONCLUSIVE, summary="?")


@pytest.mark.parametrize(
    ("gate", "said"),
    [(Thawed(), "can be set"), (Says(), "of an empty recording"), (Raises(), "KeyError")],
)
def test_check_gate_finds_gates_that_misbehave(gate, said):
    with pytest.raises((AssertionError, KeyError), match=said if said != "KeyError" else "nope"):
        check_gate(gate)
