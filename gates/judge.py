"""From verdicts to one decision: promote, hold, or cannot tell, which never promotes.

validity ─ not PASS ─▶ every gate INCONCLUSIVE, a certain FAIL aside
   │
gates ──▶ worst status ──▶ exit code   13 not healed > 10 FAIL > 12 harness > 11 INCONCLUSIVE > 0 PASS
                                       (over several runs the worst counts, and every required one must be there)
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from chaos import __version__
from chaos.errors import RecordingError, UsageError
from chaos.intervals import ALPHA
from chaos.loads import of_load
from chaos.model import Decision, EventKind, Span, Status, Verdict
from chaos.recording import plain, write_whole
from gates.no_unexpected_exit import NoUnexpectedExit
from gates.validity import Validity, harness_troubles, heal_failures
from gates.wording import listed, percent

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from pathlib import Path

    from chaos.errors import ChaosgateError
    from chaos.model import NamedGate
    from chaos.ports import Gate
    from chaos.recording import Recording

PROMOTE, HOLD, CANNOT_TELL, BROKEN, DIRTY = 0, 10, 11, 12, 13
WORST_FIRST = (DIRTY, HOLD, BROKEN, CANNOT_TELL, PROMOTE)
VALIDITY = "validity"


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """One run, judged. `verdicts` begins with the validity; `known_failures` names gates that were expected to fail.

    `because`: name of a known failure → why it was expected. `published`: gate → what others have measured.
    `judged_by`: the version of chaosgate; "" in verdicts of versions that did not say it.
    """

    verdicts: tuple[Verdict, ...]
    status: Status
    decision: Decision
    exit_code: int
    sentence: str
    known_failures: tuple[str, ...] = ()
    experiment: str = ""
    judged_by: str = ""
    because: Mapping[str, str] = field(default_factory=dict)
    published: Mapping[str, str] = field(default_factory=dict)

    @property
    def why(self) -> str:
        """The sentence without the decision that it begins with, for where that has been said."""
        return _without(self.decision, self.sentence)


@dataclass(frozen=True, slots=True, kw_only=True)
class SetJudgement:
    """Several runs, judged together. `missing`: required, but not run and judged as often as asked."""

    decision: Decision
    exit_code: int
    sentence: str
    judgements: tuple[Judgement, ...]
    missing: tuple[str, ...] = ()

    @property
    def why(self) -> str:
        """The sentence without the decision that it begins with, for where that has been said."""
        return _without(self.decision, self.sentence)


# ---------------------------------------------------------------- one run


def judge(recording: Recording, gates: Sequence[NamedGate]) -> Judgement:
    """Judge a run by its gates and by what is implied in every run."""
    validity = _validity(recording, gates)
    counts = validity.status is Status.PASS  # before a death of its own, which fails the run, is told with it
    validity = replace(_with_exits(validity, recording, gates), gate=VALIDITY)
    verdicts = [replace(ask(named.gate, recording, named.name, of=named.of), gate=named.name) for named in gates]
    if not counts:
        verdicts = [_uncounted(verdict, validity) for verdict in verdicts]
    if not gates:
        verdicts = [Verdict(status=Status.INCONCLUSIVE, summary="the experiment has no gates, so nothing was judged")]
    judgement = _judgement(recording, (validity, *verdicts), known=_known_failures(gates, verdicts))
    return replace(judgement, published={named.name: named.published for named in gates if named.published})


def ask(gate: Gate, recording: Recording, name: str, *, of: str | None = None) -> Verdict:
    """Return a gate's verdict on the run, or on what the load `of` saw of it.

    One that raises can't tell, and says what it raised.
    """
    try:
        return gate.judge(recording if of is None else of_load(recording, of))
    except Exception as error:  # noqa: BLE001  # a gate may be a stranger's; its trouble must not decide on a release
        raised = f"{type(error).__name__}: {error}"
        return Verdict(status=Status.INCONCLUSIVE, summary=f"gate {name} raised {raised}", numbers={"raised": raised})


def _validity(recording: Recording, gates: Sequence[NamedGate]) -> Verdict:
    """Judge the run itself, by the windows that its gates look at."""
    used = {getattr(named.gate, "during", None) for named in gates}
    return ask(Validity(spans=tuple(span for span in Span if span in used)), recording, VALIDITY)


def _with_exits(validity: Verdict, recording: Recording, gates: Sequence[NamedGate]) -> Verdict:
    """Fail a run in which a process died on its own, even if no gate asks."""
    if any(isinstance(named.gate, NoUnexpectedExit) for named in gates):
        return validity
    exits = ask(NoUnexpectedExit(), recording, "no-unexpected-exit")
    if exits.status is not Status.FAIL or (validity.status is not Status.PASS and not exits.certain):
        return validity
    summary = "; ".join([exits.summary, *([validity.summary] if validity.status is not Status.PASS else [])])
    return replace(exits, summary=summary, numbers={**validity.numbers, **exits.numbers})


def _uncounted(verdict: Verdict, validity: Verdict) -> Verdict:
    """Return what is left of a verdict when the run does not count."""
    if verdict.status is Status.FAIL and verdict.certain:
        return verdict
    alone = "" if verdict.status is Status.INCONCLUSIVE else f"{verdict.status.name} "
    summary = f"does not count, see {validity.gate}; alone: {alone}{verdict.summary}"
    return replace(verdict, status=Status.INCONCLUSIVE, summary=summary)


def _known_failures(gates: Sequence[NamedGate], verdicts: Sequence[Verdict]) -> dict[str, str]:
    """Return name → why, of the gates that failed as expected."""
    failed = {verdict.gate for verdict in verdicts if verdict.status is Status.FAIL}
    return {named.name: named.expect_fail for named in gates if named.expect_fail and named.name in failed}


def _judgement(recording: Recording, verdicts: tuple[Verdict, ...], known: Mapping[str, str]) -> Judgement:
    status = max(verdict.status for verdict in verdicts)
    exit_code = _exit_code(recording, status)
    return Judgement(
        verdicts=verdicts,
        status=status,
        decision=_decision(exit_code),
        exit_code=exit_code,
        sentence=_sentence(recording, verdicts, known, exit_code),
        known_failures=tuple(known),
        because=known,
        experiment=str(recording.run.get("experiment", "")),
        judged_by=__version__,
    )


def _exit_code(recording: Recording, status: Status) -> int:
    if any(heal_failures(recording)):
        return DIRTY
    if status is Status.FAIL:
        return HOLD
    if any(harness_troubles(recording)) or not _ended(recording):
        return BROKEN
    return CANNOT_TELL if status is Status.INCONCLUSIVE else PROMOTE


def _ended(recording: Recording) -> bool:
    return any(event.kind is EventKind.RUN and event.detail != "begin" for event in recording.events)


def _decision(exit_code: int) -> Decision:
    return {PROMOTE: Decision.PROMOTE, HOLD: Decision.HOLD}.get(exit_code, Decision.CANNOT_TELL)


def _without(decision: Decision, sentence: str) -> str:
    return sentence.removeprefix(f"{decision}: ").removeprefix(f"{decision}, and ")


def _sentence(recording: Recording, verdicts: Sequence[Verdict], known: Mapping[str, str], exit_code: int) -> str:
    worst = [verdict for verdict in verdicts if verdict.status is max(v.status for v in verdicts)]
    first = worst[0]
    marked = f" (a known failure: {known[first.gate]})" if first.gate in known else ""
    why = f"{first.gate}{marked}: {first.summary}" if first.gate else first.summary
    if exit_code == DIRTY:
        return f"cannot tell, and the target is dirty: {next(iter(heal_failures(recording)))}; run `chaosgate heal`"
    if exit_code == HOLD:
        return f"hold: {why}" + (f"; {len(worst) - 1} more failed" if len(worst) > 1 else "")
    if exit_code == PROMOTE:
        return f"promote: all {len(verdicts) - 1} gates passed, and the run counts"
    return f"cannot tell: {why}"


# ---------------------------------------------------------------- several runs


def judge_set(
    judgements: Iterable[Judgement],
    required: Collection[str] = (),
    *,
    repeat: int = 1,
    troubles: Sequence[ChaosgateError] = (),
) -> SetJudgement:
    """Judge several runs together: each required experiment ran `repeat` times at least, and every run promotes.

    A name that is required several times must have run as many times as often. A failure in one of many repeats is a
    failure: flaky is not sound. `troubles` of the harness count as any run's do, whatever the verdicts say.
    """
    told = tuple(judgements)
    runs = Counter(judgement.experiment for judgement in told)
    missing = tuple(name for name, times in Counter(required).items() if runs[name] < times * repeat)
    codes = [judgement.exit_code for judgement in told] + ([CANNOT_TELL] if missing or not told else [])
    exit_code = worst([*codes, *(trouble.exit_code for trouble in troubles)])
    return SetJudgement(
        decision=_decision(exit_code),
        exit_code=exit_code,
        sentence=_set_sentence(told, missing, exit_code, min(runs.values(), default=0), troubles),
        judgements=told,
        missing=missing,
    )


def worst(exit_codes: Collection[int]) -> int:
    """Return the exit code that counts of several; one that is not in the list (2: refused) is "cannot tell"."""
    known = [code if code in WORST_FIRST else CANNOT_TELL for code in exit_codes]
    return min(known, key=WORST_FIRST.index, default=CANNOT_TELL)


def _set_sentence(
    told: Sequence[Judgement],
    missing: Sequence[str],
    exit_code: int,
    repeats: int,
    troubles: Sequence[ChaosgateError],
) -> str:
    if exit_code == PROMOTE:
        return f"promote: all {len(told)} runs passed{_bound(repeats)}"
    counting = [one for one in told if one.exit_code == exit_code]
    parts = [f"{one.experiment}: {one.why}" for one in counting[:1]]
    parts = parts or [str(trouble) for trouble in troubles if worst([trouble.exit_code]) == exit_code][:1]
    if len(counting) > 1:
        parts.append(f"{len(counting) - 1} more runs ended so")
    if missing:
        parts.append(f"not run, or not judged: {listed(list(missing), 5)}")
    return f"{_decision(exit_code)}: " + ("; ".join(parts) or "nothing was run")


def _bound(repeats: int) -> str:
    """Say what n passes in a row tell of the rate of failures: 1 - ALPHA^(1/n), one-sided and exact."""
    if repeats < 2:
        return ""
    return f"; each experiment fails less than {percent(1 - ALPHA ** (1 / repeats))} of the time (95 %, {repeats} runs)"


# ---------------------------------------------------------------- verdict.json


def as_data(judgement: Judgement) -> dict[str, Any]:
    """Return it as verdict.json has it, every status as its word."""
    data: dict[str, Any] = plain(judgement) | {"chaosgate": 1, "status": judgement.status.name}
    data["verdicts"] = [plain(verdict) | {"status": verdict.status.name} for verdict in judgement.verdicts]
    return data


def write_verdict(folder: Path, judgement: Judgement, *, name: str = "verdict.json") -> Path:
    """Write `folder`/`name` as a whole and return its path; RecordingError if the disk won't have it."""
    path = folder / name
    try:
        write_whole(path, json.dumps(as_data(judgement), indent=1, ensure_ascii=False) + "\n")
    except OSError as error:
        raise RecordingError(f"{path}: can't be written: {error.strerror}; make room and judge again") from error
    return path


def read_verdict(folder: Path) -> Judgement:
    """Read `folder`/verdict.json; UsageError if there is none or it is not ours."""
    path = folder / "verdict.json"
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        return _read(data)
    except FileNotFoundError as error:
        raise UsageError(f"{path}: not judged yet; run `chaosgate judge {folder}`") from error
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{path}: no verdict of chaosgate ({error!r}); run `chaosgate judge {folder}`") from error


def recorded_judge(folder: Path) -> str | None:
    """Return which version of chaosgate made `folder`/verdict.json ("": it does not say); None if there is none."""
    try:
        return read_verdict(folder).judged_by
    except UsageError:
        return None


def _read(data: dict[str, Any]) -> Judgement:
    verdicts = tuple(_verdict(one) for one in data["verdicts"])
    return Judgement(
        verdicts=verdicts,
        status=Status[data["status"]],
        decision=Decision(data["decision"]),
        exit_code=int(data["exit_code"]),
        sentence=data["sentence"],
        known_failures=tuple(data["known_failures"]),
        experiment=data["experiment"],
        judged_by=str(data.get("judged_by", "")),
        because=dict(data.get("because", {})),
        published=dict(data.get("published", {})),
    )


def _verdict(data: dict[str, Any]) -> Verdict:
    return Verdict(**{**data, "status": Status[data["status"]], "evidence": tuple(data["evidence"])})
