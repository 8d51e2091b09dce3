"""The page by which a reviewer decides: one file, offline, nothing loaded from anywhere.

    verdict and why ─ a row a gate ─ timeline with its faults ─ fault fidelity ─ consistency, drawn ─ replicas ─
    does the run count ─ environment ─ experiment, events, files

Everything that comes from a recording is escaped: by jinja2 in the page, as JSON's own escapes in the charts' data. A
content security policy lets no other script run than those that are written here, and no request leave the page.
"""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files as resources
from typing import TYPE_CHECKING, Any

from jinja2 import DictLoader, Environment, StrictUndefined
from markupsafe import Markup

from chaos.clock import NS
from chaos.loads import of_load
from chaos.model import Decision, Event, EventKind, Status
from reports.sections import environment, faults, ledger, replicas, timeline, validity, verdicts, windows, witness
from reports.series import origin_ns

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from chaos.recording import Recording
    from gates.judge import Judgement, SetJudgement

SCRIPTS = ("uplot/uPlot.iife.min.js", "drawing.js", "report.js")
STYLES = ("uplot/uPlot.min.css", "report.css")
TEMPLATES = ("page.html", "set.html", "parts.html")
EVENTS_MAX = 3000  # lines of the log in the page; events.jsonl has them all
CLASSES = {Decision.PROMOTE: "pass", Decision.HOLD: "fail", Decision.CANNOT_TELL: "inconclusive"}
EXIT_CODES = {
    0: "every gate passed",
    10: "a gate failed",
    11: "the run can't tell",
    12: "the harness or the environment broke down",
    13: "a fault could not be healed: the target is dirty",
}


def render(recording: Recording, judgement: Judgement) -> str:
    """Return the report of one run as a whole HTML document; any recording can be drawn, cut short or empty."""
    steps = faults.steps(recording)
    return _page(
        "page.html",
        scripts=SCRIPTS,
        judgement=judgement,
        verdict=_headline(judgement.decision, judgement.sentence, judgement.exit_code, _names(judgement)),
        run=recording.run,
        about=environment.about(recording),
        versions=environment.versions(recording),
        length=_length(recording),
        operations=recording.samples.num_rows,
        gates=verdicts.rows(judgement),
        windows=windows.rows(recording),
        data=_script_data(timeline.chart_data(recording, judgement, steps)),
        steps=steps,
        drawing=witness.drawing(recording, judgement),
        lost=witness.lost_writes(judgement),
        consistency=[row for row in verdicts.rows(judgement) if _about_state(judgement, row)],
        replicas=replicas.replicas(recording),
        ledgers=ledger.ledgers(judgement),
        problems=validity.problems(judgement),
        validity=validity.facts(of_load(recording, ""), steps),
        facts=environment.facts(recording, judgement.judged_by),
        commands=environment.commands(recording),
        nodes=environment.nodes(recording),
        experiment=environment.experiment_text(recording),
        files=environment.files(recording),
        log=_log(recording),
    )


def render_set(judged: SetJudgement, folders: Sequence[Path]) -> str:
    """Return the index page of several runs: one decision, a row a run, links to `<folder name>/report.html`.

    `folders` go with `judged.judgements` one by one; a run that was judged without a folder gets no link.
    """
    names = dict.fromkeys(judgement.experiment for judgement in judged.judgements if judgement.experiment)
    return _page(
        "set.html",
        scripts=(),
        judged=judged,
        verdict=_headline(judged.decision, judged.sentence, judged.exit_code, names),
        rows=[_set_row(one, folder) for one, folder in _paired(judged, folders)],
    )


# ---------------------------------------------------------------- the page


@cache
def _environment() -> Environment:
    place = resources("reports")
    sources = {name: place.joinpath(name).read_text(encoding="utf-8") for name in TEMPLATES}
    made = Environment(
        loader=DictLoader(sources), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    made.filters["moment"] = _moment
    return made


@cache
def _asset(name: str) -> str:
    return resources("reports").joinpath("assets", name).read_text(encoding="utf-8").strip()


def _page(template: str, *, scripts: Sequence[str], **values: Any) -> str:
    """Fill a template; its scripts are the only ones that its policy knows (by hash, W3C CSP level 3)."""
    texts = [_asset(name) for name in scripts]
    hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in texts]
    allowed = " ".join(f"'sha256-{one}'" for one in hashes) or "'none'"
    policy = f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src {allowed}"
    return (
        _environment()
        .get_template(template)
        .render(
            policy=policy,
            styles=[Markup(_asset(name)) for name in STYLES],  # noqa: S704  # our own files
            scripts=[Markup(text) for text in texts],  # noqa: S704  # our own files
            Status=Status,
            **values,
        )
    )


def _script_data(data: Mapping[str, Any]) -> Markup:
    """Return JSON that can't end its script element."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for mark in "<>&\u2028\u2029":
        text = text.replace(mark, f"\\u{ord(mark):04x}")
    return Markup(text)  # noqa: S704  # escaped just above


def _moment(at_s: float | None) -> str:
    """Return a moment of the run as "12.34 s"; a dash for one that never came."""
    return "–" if at_s is None else f"{at_s:.2f} s"


# ---------------------------------------------------------------- its values


@dataclass(frozen=True, slots=True, kw_only=True)
class Headline:
    """The decision as a class name, a word, and its reason; `gate`: the one that the reason begins with, if any."""

    style: str
    word: str
    gate: str
    reason: str
    exit_code: int
    meaning: str


def _headline(decision: Decision, sentence: str, exit_code: int, gates: Iterable[str]) -> Headline:
    reason = sentence.removeprefix(f"{decision.value}: ")
    gate = next((name for name in gates if reason.startswith(f"{name}: ")), "")
    return Headline(
        style=CLASSES[decision],
        word=decision.value,
        gate=gate,
        reason=reason.removeprefix(f"{gate}: ").removeprefix(f"{decision.value}: "),
        exit_code=exit_code,
        meaning=EXIT_CODES.get(exit_code, ""),
    )


def _names(judgement: Judgement) -> list[str]:
    return [verdict.gate for verdict in judgement.verdicts if verdict.gate]


def _length(recording: Recording) -> str:
    run = recording.windows.run
    return "–" if run is None else f"{(run[1] - run[0]) / NS:.1f} s"


def _about_state(judgement: Judgement, row: verdicts.GateRow) -> bool:
    """Say whether a gate judged what is stored, not how fast: it gave no value to compare with a bound."""
    numbers = next(verdict.numbers for verdict in judgement.verdicts if (verdict.gate or "no gate") == row.name)
    return bool({"methods", "wrong", "quiet", "hashes", "witness", "kinds"} & set(numbers))


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of the log."""

    at_s: float
    kind: str
    step: str
    node: str
    text: str


def _log(recording: Recording) -> list[Line]:
    """Return what happened, the generator's statuses apart."""
    told = [event for event in recording.events if event.kind is not EventKind.LOAD]
    return [_line(recording, event) for event in told[:EVENTS_MAX]]


def _line(recording: Recording, event: Event) -> Line:
    proof = event.data.get("proof")
    text = event.detail or str(event.data.get("detail", ""))
    return Line(
        at_s=(event.at_ns - origin_ns(recording)) / NS,
        kind=event.kind.value,
        step=f"{event.step} #{event.occurrence}" if event.step else "",
        node=event.node,
        text=f"{event.data.get('phase', '')} {proof}: {text}" if proof else text,
    )


# ---------------------------------------------------------------- a set


@dataclass(frozen=True, slots=True, kw_only=True)
class SetRow:
    """A run of a set; `link` is relative to the index page."""

    name: str
    headline: Headline
    link: str
    folder: str
    gates: Sequence[verdicts.GateRow]


def _paired(judged: SetJudgement, folders: Sequence[Path]) -> list[tuple[Judgement, Path | None]]:
    """Give each judgement its folder: by its experiment's name in the folder's, in order, as a run may have none."""
    left = list(folders)
    pairs: list[tuple[Judgement, Path | None]] = []
    for judgement in judged.judgements:
        fitting = [folder for folder in left if f"-{judgement.experiment}-" in folder.name]
        chosen = fitting[0] if fitting else left[0] if left and len(left) == len(judged.judgements) else None
        if chosen is not None:
            left.remove(chosen)
        pairs.append((judgement, chosen))
    return pairs


def _set_row(judgement: Judgement, folder: Path | None) -> SetRow:
    return SetRow(
        name=judgement.experiment or "unnamed",
        headline=_headline(judgement.decision, judgement.sentence, judgement.exit_code, _names(judgement)),
        link="" if folder is None else f"{folder.name}/report.html",
        folder="" if folder is None else folder.name,
        gates=verdicts.rows(judgement),
    )
