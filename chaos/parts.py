"""The parts of an experiment file whose form a table decides: stack, load, steps with their faults, gates.

    fault: {partition: {from: others}}
            │          └─ the fields of the class that the table names
            └─ a name in chaos.faults.FAULTS

Each reader notes its problems on the page and returns None if there were any, so that the next one still reads.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

import yaml
from pydantic import Field, PlainValidator, SkipValidation, WithJsonSchema

from chaos.blast import CLIENT
from chaos.forms import Form, Name, Written, from_yaml, mapping
from chaos.guess import nearest, suggestion
from chaos.model import Load, LoadStage, NamedGate, Selector, StackSpec, Step
from chaos.ports import Watches
from chaos.positions import Page, described, plain
from chaos.refusals import owner_keys, validated
from chaos.units import DURATION, RATE, SHARE, parse_rate, parse_share

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

_OF_CALIBRATION = " of calibration"
CLOSED_LOOP = "closed loop"
OWNER = "owner-of"  # the role of whoever owns the key that a selector names

Duration = Annotated[float, Written(DURATION)]
Positive = Annotated[Duration, Field(gt=0)]
Part = Annotated[SkipValidation[Any], WithJsonSchema({})]  # a yaml.Node, read by a table


@dataclass(frozen=True, slots=True, kw_only=True)
class Tables:
    """Where names are looked up. A class's fields are its keys.

    A stack or a workload that is no dataclass names the dataclass of its settings as `settings_type`. What else a stack
    may say of itself is in `chaos.stacks.StackKind`.
    """

    faults: Mapping[str, Any]
    gates: Mapping[str, Any]
    stacks: Mapping[str, Any]
    workloads: Mapping[str, Any]


def shipped() -> Tables:
    """Return the tables of this installation, entry points included."""
    from chaos.faults import FAULTS  # noqa: PLC0415 a stranger's entry point must not break `import chaos.spec`
    from chaos.stacks import STACKS  # noqa: PLC0415
    from gates import GATES  # noqa: PLC0415
    from workloads import WORKLOADS  # noqa: PLC0415

    return Tables(faults=FAULTS, gates=GATES, stacks=STACKS, workloads=WORKLOADS)


def items(node: yaml.Node | None, page: Page, *, empty: str = "") -> Sequence[yaml.Node]:
    """Return a list's items; a problem and none for anything else, and for nothing at all if `empty` is the message."""
    if isinstance(node, yaml.SequenceNode):
        return list(node.value)
    if node is not None and plain(node) is not None:
        page.problem(node, f"a list is wanted here, not {described(node)}; begin each item with `- `")
    elif node is not None and empty:
        page.problem(node, empty)
    return ()


# ---------------------------------------------------------------- names and their tables


def _named(node: yaml.Node, page: Page) -> tuple[yaml.Node, yaml.Node] | None:
    """Return (name node, settings node) of `name` or `{name: settings}`."""
    if isinstance(node, yaml.ScalarNode) and plain(node) is not None:
        return node, yaml.ScalarNode("tag:yaml.org,2002:null", "", node.start_mark, node.end_mark)
    if isinstance(node, yaml.MappingNode) and len(node.value) == 1:
        return node.value[0][0], node.value[0][1]
    page.problem(node, f"one name is wanted here, with its settings, not {described(node)}; write {{name: {{…}}}}")
    return None


def _known(name: yaml.Node, what: str, table: Mapping[str, Any], page: Page) -> Any:
    """Return the table's entry; a problem and None for a name that is not in it."""
    if name.value in table:
        return table[name.value]
    page.problem(name, f"no such {what} '{name.value}'; {suggestion(str(name.value), table)}")
    return None


def settings_type(entry: Any) -> type[Any] | None:
    """Return the dataclass whose fields are the keys below a name: the entry's `settings_type`, or the entry itself."""
    found = getattr(entry, "settings_type", entry)
    return found if isinstance(found, type) and dataclasses.is_dataclass(found) else None


def _settings(entry: Any, node: yaml.Node, page: Page, *, apart: Sequence[str] = ()) -> dict[str, Any] | None:
    """Return settings by field name, defaults included; texts as they stand if the entry has no dataclass for them."""
    cls = settings_type(entry)
    if cls is None:
        found = mapping(node, page)
        return (
            None if found is None else {k.replace("-", "_"): plain(v) for k, (_, v) in found.items() if k not in apart}
        )
    read = from_yaml(cls, node, page, apart=apart)
    return None if read is None else dataclasses.asdict(read)


# ---------------------------------------------------------------- stack and load


class VersionsForm(Form):
    """Which program runs: `version` of the stack itself, or `versions` of its components."""

    version: str | None = None
    versions: dict[str, str] = {}  # noqa: RUF012 frozen


def read_stack(node: yaml.Node, page: Page, tables: Tables) -> StackSpec | None:
    """Read `stack: etcd` or `stack: {etcd: {members: 3, version: 3.5.35}}`."""
    named = _named(node, page)
    entry = _known(named[0], "stack", tables.stacks, page) if named else None
    if named is None or entry is None:
        return None
    name, body = str(named[0].value), named[1]
    settings = _settings(entry, body, page, apart=("version", "versions"))
    own = mapping(body, page) or {}
    asked: dict[str, Any] = {key: plain(own[key][1]) for key in ("version", "versions") if key in own}
    read = validated(VersionsForm, asked, body, page)
    if settings is None or read is None:
        return None
    return StackSpec(
        name=name, settings=settings, versions={**read.versions, **({name: read.version} if read.version else {})}
    )


class StageForm(Form):
    """Ramp to a share of the rate (default: all of it), then hold it; the last stage holds to the end."""

    ramp: Duration = 0.0
    to: Annotated[float, Written(SHARE)] = 1.0
    hold: Duration | None = None


@dataclass(frozen=True, slots=True)
class Rate:
    """How much traffic: a number, a share of what a calibration finds, or as much as the users manage."""

    per_s: float | None = None
    calibrated_share: float | None = None

    @classmethod
    def read(cls, value: object) -> Rate:
        """Read "800/s", "60% of calibration" or "closed loop"; ValueError says what would do."""
        text = str(value)
        if text == CLOSED_LOOP:
            return cls()
        if "%" in text:
            share = parse_share(text.removesuffix(_OF_CALIBRATION))
            if not text.endswith(_OF_CALIBRATION):
                raise ValueError(f"'{text}' of what; write {text}{_OF_CALIBRATION}")
            return _positive(cls(calibrated_share=share), share, text)
        try:
            return _positive(cls(per_s=(rate := parse_rate(text))), rate, text)
        except ValueError as refusal:
            raise ValueError(f"{refusal}; or 60%{_OF_CALIBRATION}, or {CLOSED_LOOP}") from None


def _positive(rate: Rate, value: float, text: str) -> Rate:
    if value > 0:
        return rate
    raise ValueError(f"'{text}' is no traffic; write more than nothing")


class LoadForm(Form):
    """Peak traffic; beside these keys one names the workload."""

    rate: Annotated[
        Any,
        PlainValidator(Rate.read),
        WithJsonSchema(
            {"type": "string", "pattern": rf"({RATE.pattern})|^\d+(\.\d+)?%{_OF_CALIBRATION}$|^{CLOSED_LOOP}$"}
        ),
    ]
    users: Annotated[int, Field(ge=1)] = 60
    processes: Annotated[int, Field(ge=1)] = 1
    timeout: Positive = 0.5
    shape: list[StageForm] = [StageForm(ramp="2s")]  # noqa: RUF012 frozen


def read_load(node: yaml.Node, page: Page, tables: Tables) -> Load | None:
    """Read `load`: the common keys, and one key that names the workload."""
    found = mapping(node, page)
    if found is None:
        return None
    kinds = [key for key in found if key in tables.workloads]
    common = {key: plain(value) for key, (_, value) in found.items() if key not in kinds[:1]}
    read = validated(LoadForm, common, node, page, beside=tuple(tables.workloads))
    if len(kinds) != 1:
        if why := _not_one_workload(kinds, common, tables):
            page.problem(node, why)
        return None
    settings = _settings(tables.workloads[kinds[0]], found[kinds[0]][1], page)
    if read is None or settings is None:
        return None
    return Load(
        workload=kinds[0],
        rate_per_s=read.rate.per_s,
        calibrated_share=read.rate.calibrated_share,
        closed_loop=read.rate == Rate(),
        users=read.users,
        processes=read.processes,
        timeout_s=read.timeout,
        stages=_stages(read.shape),
        settings=settings,
    )


def _not_one_workload(kinds: Sequence[str], common: Mapping[str, Any], tables: Tables) -> str:
    """Say what is wrong with no workload or several; "" if one was misspelt, which has been said."""
    if kinds:
        return f"{' and '.join(kinds)} are all named here, and one workload is wanted; leave out the others"
    known = {*owner_keys(LoadForm), *tables.workloads}
    if any(key not in known and nearest(key, known) in tables.workloads for key in common):
        return ""
    return f"no workload is named here; {suggestion('', tables.workloads)}"


def _stages(shape: Sequence[StageForm]) -> tuple[LoadStage, ...]:
    """Return the stages; an item that only holds, at the share that is reached, belongs to the ramp before it."""
    stages: list[LoadStage] = []
    for item in shape:
        if stages and not item.ramp and stages[-1].hold_s is None and item.to == stages[-1].share:
            stages[-1] = dataclasses.replace(stages[-1], hold_s=item.hold)
        else:
            stages.append(LoadStage(ramp_s=item.ramp, share=item.to, hold_s=item.hold))
    inner = [dataclasses.replace(stage, hold_s=stage.hold_s or 0.0) for stage in stages[:-1]]
    return (*inner, *stages[-1:])


# ---------------------------------------------------------------- steps


class StepForm(Form):
    """A fault on a schedule. Times count from t = 0, when the load is at its peak and the warm-up is over."""

    name: Name = ""
    at: Duration
    for_: Positive | None = None
    every: Positive | None = None
    until: Positive | None = None
    on: Part
    fault: Part


class SelectorForm(Form):
    """Who is hit: one node of a role, or a count or a share of them, or the owner of a key."""

    role: str = ""
    owner_of: str = ""
    count: Annotated[int, Field(ge=1)] | None = None
    share: Annotated[Annotated[float, Written(SHARE)], Field(gt=0)] | None = None
    zone: str = ""


def read_step(node: yaml.Node, page: Page, tables: Tables, roles: Collection[str] = ()) -> Step | None:
    """Read one item of `steps`, aimed at one of `roles` if any are known. Without a name it is called as its fault."""
    found = mapping(node, page)
    if not found:
        if found is not None:
            page.problem(node, "an empty step; write {at: 8s, for: 8s, on: leader, fault: pause}")
        return None
    parts = {key: value for key, (_, value) in found.items()}
    data = {key: value if key in ("on", "fault") else plain(value) for key, value in parts.items()}
    read = validated(StepForm, data, node, page)
    on = _selector(parts["on"], page, roles, _argued(tables)) if "on" in parts else None
    kind, fault = _fault(parts["fault"], page, tables) if "fault" in parts else ("", None)
    if read is None or on is None or fault is None:
        return None
    for_s = _for_s(read, fault, node, page)
    return Step(
        name=read.name or kind, at_s=read.at, on=on, fault=fault, for_s=for_s, every_s=read.every, until_s=read.until
    )


def _fault(node: yaml.Node, page: Page, tables: Tables) -> tuple[str, Any]:
    named = _named(node, page)
    cls = _known(named[0], "fault", tables.faults, page) if named else None
    if named is None or cls is None:
        return "", None
    return str(named[0].value), from_yaml(cls, named[1], page)


def _for_s(read: StepForm, fault: Any, node: yaml.Node, page: Page) -> float:
    """Return how long a fault lasts: the step's `for`, or the `down-for` of a kill, or 0 for an operation."""
    down_for_s = getattr(fault, "down_for_s", None)
    momentary = getattr(fault, "momentary", False)
    own = (mapping(node, page) or {}).get("for", (node, node))[0]
    if momentary and read.for_ is not None:
        page.problem(own, "an operation ends by itself; leave out for, or give the fault a timeout")
    elif read.for_ is not None and down_for_s is not None:
        page.problem(own, "for and down-for say the same of a kill; leave out one of them")
    elif not momentary and read.for_ is None and down_for_s is None:
        page.problem(node, "'for' is missing here: a fault has an end; add `for: 8s`")
    return float(read.for_ or down_for_s or 0.0)


def _argued(tables: Tables) -> frozenset[str]:
    """Return the roles that are of something, as stacks name them."""
    return frozenset(role for kind in tables.stacks.values() for role in getattr(kind, "roles_of", ()))


def _selector(node: yaml.Node, page: Page, roles: Collection[str], argued: Collection[str]) -> Selector | None:
    if isinstance(node, yaml.ScalarNode) and plain(node) is not None:
        return Selector(role=_role(node, page, roles, argued))
    found = mapping(node, page)
    if found is None:
        return None
    of = next((key for key in found if key in argued), "")
    own = {key: plain(value) for key, (_, value) in found.items() if key != of}
    read = validated(SelectorForm, own, node, page)
    if read is None:
        return None
    if of and not (read.role or read.owner_of):
        _role(found[of][0], page, roles)
        return Selector(role=of, argument=str(plain(found[of][1]) or ""), zone=read.zone)
    if of or bool(read.role) == bool(read.owner_of):
        page.problem(node, "who is hit is said in one way; write either role: member or owner-of: some-key")
    if read.count is not None and read.share is not None:
        page.problem(found["share"][0], "count and share are two ways to say how many; leave out one of them")
    if read.role:
        _role(found["role"][1], page, roles, argued)
    elif read.owner_of and roles and OWNER not in roles:
        page.problem(found[OWNER][0], f"the stack can't say who owns a key; {suggestion('', _victims(roles))}")
    role, argument = (OWNER, read.owner_of) if read.owner_of else (read.role, "")
    return Selector(role=role, argument=argument, count=read.count, share=read.share, zone=read.zone)


def _role(node: yaml.Node, page: Page, roles: Collection[str], argued: Collection[str] = ()) -> str:
    """Return a role's name, checked against those that the stack names, if it does."""
    if node.value in argued and (not roles or node.value in roles):
        page.problem(node, f"{node.value} what; write on: {{{node.value}: …}}")
        return str(node.value)
    if roles and node.value not in roles:
        page.problem(node, f"no such role '{node.value}'; {suggestion(str(node.value), _victims(roles))}")
    return str(node.value)


def _victims(roles: Collection[str]) -> set[str]:
    """Return the roles that a step can be aimed at by name."""
    return {*roles} - {CLIENT, OWNER}


# ---------------------------------------------------------------- gates


class MarksForm(Form):
    """What may be said of any gate, beside its own settings."""

    expect: Literal["pass", "fail"] = "pass"
    because: str = ""
    stops_run: bool = False
    published: str = ""
    of: str = ""


MARKS = ("expect", "because", "stops-run", "published", "of")


def read_gate(node: yaml.Node, page: Page, tables: Tables) -> NamedGate | None:
    """Read one item of `gates`: `kind`, `{kind: settings}`, or `{name: {kind: settings}}`."""
    named = _named(node, page)
    if named is None:
        return None
    name, kind, body = named[0], named[0], named[1]
    if name.value not in tables.gates and isinstance(body, yaml.MappingNode) and len(body.value) == 1:
        kind, body = body.value[0]
    cls = _known(kind, "gate", tables.gates, page)
    found = mapping(body, page) if cls is not None else None
    if cls is None or found is None:
        return None
    marks = validated(MarksForm, {key: plain(found[key][1]) for key in MARKS if key in found}, body, page)
    gate = from_yaml(cls, body, page, apart=MARKS)
    if marks is None or gate is None:
        return None
    if marks.stops_run and not isinstance(gate, Watches):
        page.problem(found["stops-run"][0], f"{kind.value} is judged after the run only; leave it out")
    if marks.expect == "fail" and not marks.because:
        page.problem(
            found["expect"][0], 'a failure is expected for a reason; add because: "…", with the upstream thread'
        )
    if marks.expect == "pass" and marks.because:
        page.problem(found["because"][0], "a reason for what; add expect: fail, or leave it out")
    read = NamedGate(name=str(name.value), gate=gate, kind=str(kind.value), stops_run=marks.stops_run)
    return dataclasses.replace(read, expect_fail=marks.because, published=marks.published, of=marks.of)
