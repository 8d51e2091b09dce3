"""What an slo promises, as gates: the triple (γ, λ, τ) of StreamShield (Fang et al., arXiv:2602.03189).

    slo: {completeness: exact, latency: 400ms, recovery: 5s}
           γ │                   λ │             τ └─▶ slo-recovery: {recovery: {limit: 5s}}
             │                     └─▶ slo-latency: {latency: {percentile: 99, limit: 400ms, during: steady}}
             └─▶ the gates that judge the stack's state, those left out that the file lists itself

λ is owed while nothing is broken; τ says how soon after a fault all is as it was again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from chaos.forms import Form, mapping
from chaos.guess import suggestion
from chaos.model import NamedGate, Slo, Span
from chaos.parts import Positive  # noqa: TC001 pydantic asks for the annotations at run time
from chaos.positions import described, locate, plain
from chaos.refusals import validated

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import yaml

    from chaos.checks import Where
    from chaos.positions import Page

LATENCY, RECOVERY = "slo-latency", "slo-recovery"  # the names of the gates made


class SloForm(Form):
    """What is promised: completeness of the state, latency while nothing is broken, and how soon all is well again."""

    completeness: Literal["exact", "partial"] = "exact"
    latency: Positive | None = None
    recovery: Positive | None = None


def read_slo(node: yaml.Node, page: Page) -> Slo | None:
    """Read `slo`; None, with the problem on the page, if it can't be."""
    found = mapping(node, page)
    if not found:
        if found is not None:
            page.problem(node, f"{described(node)} is promised here; write e.g. {{latency: 400ms, recovery: 5s}}")
        return None
    read = validated(SloForm, {key: plain(value) for key, (_, value) in found.items()}, node, page)
    if read is None:
        return None
    return Slo(completeness=read.completeness, latency_s=read.latency, recovery_s=read.recovery)


def gates_of(
    slo: Slo, node: yaml.Node, listed: Sequence[NamedGate], page: Page, *, stack: Any, gates: Mapping[str, Any]
) -> tuple[tuple[Where, NamedGate], ...]:
    """Return the gates of an slo, each with its place in the file; what can't be judged goes on the page.

    `listed` are the file's own gates, `stack` is the entry of the stacks' table (None: unknown), `gates` that table.
    """
    wanted = _state_gates(slo, node, page, stack)
    if missing := [kind for kind in wanted if kind not in gates]:
        page.problem(node, f"no such gate '{missing[0]}', by which the stack's state is judged; install it")
        return ()
    own = {gate.kind for gate in listed}
    state = {kind: settings for kind, settings in wanted.items() if kind not in own}
    made = (*_of_state(state, gates), *_of_times(slo, stack, gates))
    for where, gate in made:
        if any(gate.name == other.name for other in listed):
            page.problem(locate(node, where[1:]), f"another gate has the name '{gate.name}' here; give it another one")
    return made


def _state_gates(slo: Slo, node: yaml.Node, page: Page, stack: Any) -> Mapping[str, Mapping[str, Any]]:
    known: Mapping[str, Mapping[str, Mapping[str, Any]]] = getattr(stack, "state_gates", {})
    if stack is not None and slo.completeness not in known:
        why = f"this stack has no gates for completeness '{slo.completeness}'; {suggestion('', known)}"
        page.problem(locate(node, ("completeness",)), why)
    return known.get(slo.completeness, {})


def _of_state(wanted: Mapping[str, Mapping[str, Any]], gates: Mapping[str, Any]) -> Iterator[tuple[Where, NamedGate]]:
    for kind, settings in wanted.items():
        yield ("slo", "completeness"), NamedGate(name=kind, kind=kind, gate=gates[kind](**settings))


def _of_times(slo: Slo, stack: Any, gates: Mapping[str, Any]) -> Iterator[tuple[Where, NamedGate]]:
    """Yield the gates of latency and recovery; a stack whose answers are not its point has others than the usual."""
    if slo.latency_s is not None:
        kind, settings = getattr(stack, "latency_gate", ("latency", {"percentile": 99.0}))
        gate = gates[kind](limit_s=slo.latency_s, during=Span.STEADY, **settings)
        yield ("slo", "latency"), NamedGate(name=LATENCY, kind=kind, gate=gate)
    if slo.recovery_s is not None:
        kind, settings = getattr(stack, "recovery_gate", ("recovery", {}))
        gate = gates[kind](limit_s=slo.recovery_s, **settings)
        yield ("slo", "recovery"), NamedGate(name=RECOVERY, kind=kind, gate=gate)
