"""What pydantic found wrong with a form, in our words and at its place in the file.

    {"type": "missing", "loc": ("at",)}  ─▶  x.yaml:9:5: 'at' is missing here; add `at: …`

A misspelt key is told of once, as the key that it may have been meant for, and not as missing, too.
"""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING, Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, TypeAdapter, ValidationError

from chaos.guess import nearest, suggestion
from chaos.positions import entries, locate

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pydantic_core import ErrorDetails

    from chaos.positions import Page

F = TypeVar("F", bound=BaseModel)


def validated(
    model: type[F], data: Mapping[str, Any], node: yaml.Node, page: Page, *, beside: Sequence[str] = ()
) -> F | None:
    """Validate a form; every error goes to its place on the page, and then None is returned.

    `beside`: more keys that may stand in the same mapping, which somebody else reads.
    """
    try:
        return model.model_validate(data)
    except ValidationError as found:
        errors = found.errors()
        meant = {(*_where(e)[:-1], _meant(e, model, beside)) for e in errors if e["type"] == "extra_forbidden"}
        for error in errors:
            if error["type"] != "missing" or _where(error) not in meant:  # a misspelt key is told of once
                _place(error, model, node, page, beside)
        return None


def salvaged(model: type[BaseModel], data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values, by field name, of a form's keys that can be read, whatever is wrong with the others."""
    found: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        key = field.alias or name
        if key in data:
            with contextlib.suppress(ValidationError):
                found[name] = TypeAdapter(field.rebuild_annotation()).validate_python(data[key])
        elif not field.is_required():
            found[name] = field.get_default(call_default_factory=True)
    return found


def _where(error: ErrorDetails) -> tuple[str | int, ...]:
    return tuple(part for part in error["loc"] if not str(part).startswith("function-"))


def _meant(error: ErrorDetails, model: type[BaseModel], beside: Sequence[str]) -> str:
    """Return the key that an unknown one may have been meant for."""
    where = _where(error)
    return nearest(str(where[-1]), _known_keys(model, where[:-1], beside))


def _known_keys(model: type[BaseModel], where: Sequence[str | int], beside: Sequence[str]) -> tuple[str, ...]:
    return owner_keys(_owner(model, where)) + (() if where else tuple(beside))


def _place(error: ErrorDetails, model: type[BaseModel], node: yaml.Node, page: Page, beside: Sequence[str]) -> None:
    where = _where(error)
    if error["type"] == "missing":
        page.problem(locate(node, where[:-1]), f"'{where[-1]}' is missing here; add `{where[-1]}: …`")
        return
    unknown = error["type"] == "extra_forbidden"
    known = _known_keys(model, where[:-1], beside) if unknown else ()
    page.problem(*blamed(worded(error, known), locate(node, where, key=unknown)))


def owner_keys(model: type[BaseModel]) -> tuple[str, ...]:
    """Return the keys that a form knows."""
    return tuple(field.alias or name for name, field in model.model_fields.items())


def _owner(model: type[BaseModel], where: Sequence[str | int]) -> type[BaseModel]:
    """Return the form of a nested mapping."""
    for part in where:
        field = next((f for n, f in model.model_fields.items() if part in (f.alias, n)), None)
        inner = None if field is None else _inner_form(field.annotation)
        model = inner or model
    return model


def _inner_form(hint: Any) -> type[BaseModel] | None:
    if isinstance(hint, type) and issubclass(hint, BaseModel):
        return hint
    return next((found for arg in get_args(hint) if (found := _inner_form(arg))), None)


_WANTED: Mapping[str, str] = {
    "int": "a whole number; write e.g. 3",
    "float": "a number; write e.g. 0.5",
    "bool": "yes or no; write true or false",
    "string": "a text; write one word or put it in quotes",
    "list": "a list; write [one, two]",
    "tuple": "a list; write [one, two]",
    "dict": "a mapping; write {key: value}",
    "model": "a mapping; write {key: value}",
}
_BOUNDS: Mapping[str, str] = {
    "greater_than": "more than {gt}",
    "greater_than_equal": "{ge} or more",
    "less_than": "less than {lt}",
    "less_than_equal": "{le} or less",
}


def worded(error: ErrorDetails, known: Sequence[str]) -> str:
    """Return our sentence for an error of pydantic: what was read and why it is wrong; what would do."""
    kind, context, loc = error["type"], error.get("ctx", {}), error["loc"]
    read = _shown(error["input"])
    if kind == "extra_forbidden":
        return f"no such key '{loc[-1]}' here; {suggestion(str(loc[-1]), known)}"
    if kind == "value_error":
        return str(context["error"])
    if kind in ("enum", "literal_error"):
        choices = re.findall(r"'([^']*)'", str(context["expected"]))
        return f"{read} is none of the choices; {suggestion(read.strip(chr(39)), choices)}"
    if kind in _BOUNDS:
        return f"{read} is out of range; write {_BOUNDS[kind].format(**context)}"
    wanted = _WANTED.get(kind.split("_")[0], "")
    return f"{read} is not {wanted}" if wanted else f"{read}: {error['msg']}"


def _shown(value: object) -> str:
    if isinstance(value, str):
        return f"'{value}'"
    return {dict: "a mapping", list: "a list", type(None): "nothing"}.get(type(value), repr(value))


def blamed(refusal: str, node: yaml.Node) -> tuple[yaml.Node, str]:
    """Return (the value that a refusal "key: why" is about, why), else the node and all of it."""
    key, _, why = refusal.partition(": ")
    if isinstance(node, yaml.MappingNode) and why and key in entries(node):
        return entries(node)[key][1], why
    return node, refusal
