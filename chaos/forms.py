"""Turns a dataclass of settings into the reader, the checker and the JSON schema of its YAML form.

    @dataclass                                     latency:
    class Latency:                                   percentile: 99
        percentile: float = 99.0      ◀─reads─       limit: 400ms          # limit_s: the suffix is the unit
        limit_s: float                               during: recovery
        during: Span = Span.FAULT

The fields are the keys (`down_for_s` is `down-for`, `from_` is `from`); a suffix in `chaos.units.SUFFIXES`, or a `Unit`
in `Annotated`, says how the text is read. Two fields with one key (`floor_per_s`, `floor_share`) are two ways to say
it: "300/s" or "50% of steady". A list may be written as its only member. What `__post_init__` refuses with a ValueError
"key: why" is reported at that key. pydantic validates and makes the schema; positions and wording (refusals.py) are
ours.
"""

from __future__ import annotations

import dataclasses
import functools
import re
import sys
import types
import typing
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, Union, get_args, get_origin

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    TypeAdapter,
    ValidationError,
    WithJsonSchema,
    create_model,
)
from pydantic_core import core_schema

import chaos.model
from chaos.positions import Page, described, entries, plain
from chaos.refusals import blamed, validated, worded
from chaos.units import SHARE, Unit, split_name

if TYPE_CHECKING:
    from collections.abc import Callable

    from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
    from pydantic_core import CoreSchema

T = TypeVar("T")

# Names that a module may import for its type checker only.
_NAMES: Mapping[str, Any] = {**vars(typing), **vars(chaos.model), "Mapping": Mapping, "Sequence": Sequence}


class Form(BaseModel):
    """A mapping in the file: kebab-case keys, and no others."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        validate_by_alias=True,
        validate_by_name=False,
        alias_generator=lambda name: name.rstrip("_").replace("_", "-"),
        arbitrary_types_allowed=True,
        loc_by_alias=True,
    )


@dataclasses.dataclass(frozen=True, slots=True)
class Written:
    """The mark, for pydantic, of a float that is written with a unit: `Annotated[float, Written(DURATION)]`."""

    unit: Unit

    def read(self, value: object) -> float:
        """Return the number; ValueError says what would do."""
        if not isinstance(value, str):
            raise ValueError(f"{self.unit.name} is wanted here; write it as one text")  # noqa: TRY004 for pydantic
        return self.unit.parse(value) * self.unit.factor

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Read the text before pydantic sees a number, so that bounds apply to the number."""
        return core_schema.no_info_before_validator_function(self.read, handler(source))

    def __get_pydantic_json_schema__(self, _: CoreSchema, __: GetJsonSchemaHandler) -> dict[str, Any]:
        """Tell editors of the text."""
        return {"type": "string", "pattern": self.unit.pattern, "description": self.unit.name}


_NAME = r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?"


def _named(value: object) -> str:
    if not isinstance(value, str) or re.fullmatch(_NAME, value):
        return str(value)
    guess = re.sub(r"[^a-z0-9.]+", "-", value.lower()).strip("-.")
    would = f"did you mean '{guess}'?" if guess else "write e.g. leader-kill"
    raise ValueError(f"'{value}' is no name here: it takes small letters, digits, dashes and dots; {would}")


Name = Annotated[str, AfterValidator(_named), WithJsonSchema({"type": "string", "pattern": f"^{_NAME}$"})]


# ---------------------------------------------------------------- a dataclass's form


def from_yaml(cls: type[T], node: yaml.Node, page: Page, *, apart: Sequence[str] = ()) -> T | None:
    """Read a dataclass from its mapping (nothing at all stands for an empty one), leaving out the keys in `apart`.

    Those are read elsewhere, and known here only lest a misspelt one go without its suggestion.

    None if there was a problem; the problems are on the page.
    """
    found = mapping(node, page)
    if found is None:
        return None
    data = {k: plain(v) for k, (_, v) in found.items() if k not in apart}
    read = validated(form(cls), data, node, page, beside=apart)
    if read is None:
        return None
    try:
        return build(cls, read)
    except (ValueError, TypeError) as refusal:
        page.problem(*blamed(str(refusal), node))
        return None


def mapping(node: yaml.Node, page: Page) -> dict[str, tuple[yaml.Node, yaml.Node]] | None:
    """Return a mapping's entries, none for a node without content; a problem and None for anything else."""
    if isinstance(node, yaml.MappingNode):
        return entries(node)
    if plain(node) is None:
        return {}
    page.problem(node, f"settings are wanted here, not {described(node)}; write {{key: value}}")
    return None


_made: dict[type[Any], type[Form]] = {}


def form(cls: type[Any]) -> type[Form]:
    """Return the pydantic model of a dataclass's YAML form, the same one each time."""
    if cls not in _made:
        _made[cls] = _make(cls)
    return _made[cls]


def _make(cls: type[Any]) -> type[Form]:
    hints = typing.get_type_hints(cls, {**_NAMES, **vars(sys.modules[cls.__module__])}, include_extras=True)
    made: dict[str, Any] = {}
    for key, named in keys(cls).items():
        ways = {field.name: annotation(field.name, hints[field.name]) for field in named}
        kind = next(iter(ways.values())) if len(ways) == 1 else _one_of(ways)
        required = all(_required(field) for field in named)
        made[_attribute(key)] = (kind, Field(alias=key)) if required else (kind | None, Field(None, alias=key))
    return create_model(cls.__name__, __base__=Form, __doc__=cls.__doc__, **made)


def keys(cls: type) -> dict[str, list[dataclasses.Field[Any]]]:
    """Return YAML key → the fields that it may fill."""
    found: dict[str, list[dataclasses.Field[Any]]] = {}
    for field in dataclasses.fields(cls):
        if field.init:
            found.setdefault(split_name(field.name)[0], []).append(field)
    return found


def _attribute(key: str) -> str:
    """Return a pydantic field name that meets no keyword and no method of BaseModel."""
    return f"key_{key.replace('-', '_')}"


def build(cls: type[T], read: Form) -> T:
    """Make the dataclass from its validated form; keys without a value keep the dataclass's defaults."""
    values: dict[str, Any] = {}
    for key, named in keys(cls).items():
        value = getattr(read, _attribute(key))
        if isinstance(value, _Way):
            values[value.field] = value.value
        elif value is not None:
            values[named[0].name] = value
    return cls(**values)


def _required(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


# ---------------------------------------------------------------- a field's annotation


@dataclasses.dataclass(frozen=True, slots=True)
class _Way:
    """A value, and which of the fields with one key it is for."""

    field: str
    value: Any


def annotation(name: str, hint: Any) -> Any:
    """Return what pydantic shall make of a field: its own type, with a unit if its name or its hint says one."""
    unit, bare = _unit(name, hint), _bare(hint)
    if unit is not None:
        return (
            Annotated[float, Written(unit), AfterValidator(round)] if bare is int else Annotated[float, Written(unit)]
        )
    if get_origin(bare) in (tuple, list, Sequence):
        item = annotation("", get_args(bare)[0])
        return Annotated[types.GenericAlias(tuple, (item, ...)), _OneOrMany()]
    if get_origin(bare) in (Mapping, dict):
        inner = get_args(bare)[1]
        item = Annotated[float, Written(SHARE)] if inner is float else annotation("", inner)
        return types.GenericAlias(dict, (str, item))
    if get_origin(bare) is types.UnionType and bool in get_args(bare):  # a switch, or settings: tls: true | {ca: …}
        (settings,) = (arg for arg in get_args(bare) if arg is not bool)
        return Annotated[annotation("", settings), _OrSwitch()]
    if isinstance(bare, type) and dataclasses.is_dataclass(bare):
        return Annotated[form(bare), AfterValidator(functools.partial(build, bare))]
    return bare


def _with_tail(schema: dict[str, Any]) -> dict[str, Any]:
    """Let a share be one "of steady" for editors, too."""
    return {**schema, "pattern": r"^\d+(\.\d+)?%( of steady)?$"} if schema.get("pattern") == SHARE.pattern else schema


def _of_steady(value: object) -> object:
    return value.removesuffix(" of steady") if isinstance(value, str) else value


def _unit(name: str, hint: Any) -> Unit | None:
    """Return the unit in a hint (`Annotated[float, SHARE] | None`), else the one in the name of a number."""
    for part in (hint, *get_args(hint)):
        for mark in getattr(part, "__metadata__", ()):
            if isinstance(mark, Unit):
                return mark
    return split_name(name)[1] if _bare(hint) in (float, int) else None


def _bare(hint: Any) -> Any:
    """Return a hint without Annotated and without None."""
    if get_origin(hint) is Annotated:
        return _bare(get_args(hint)[0])
    if get_origin(hint) in (Union, types.UnionType):
        left = [arg for arg in get_args(hint) if arg is not type(None)]
        return _bare(left[0]) if len(left) == 1 else hint
    return hint


class _OneOrMany:
    """The mark, for pydantic, of a list that may be written as its only member."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(_as_list, handler(source))

    def __get_pydantic_json_schema__(self, inner: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        many = handler(inner)
        return {"anyOf": [many["items"], many]}


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str | dict) else value


class _OrSwitch:
    """The mark, for pydantic, of settings in whose place true or false may stand."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_wrap_validator_function(_switched, handler(source))

    def __get_pydantic_json_schema__(self, inner: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"anyOf": [{"type": "boolean"}, handler(inner)]}


_SWITCH = TypeAdapter(bool)


def _switched(value: object, settings: Callable[[object], object]) -> object:
    return settings(value) if isinstance(value, dict) else _SWITCH.validate_python(value)


def _one_of(ways: Mapping[str, Any]) -> Any:
    """Return the annotation of one key that may fill any of several fields: the first way that can be read."""
    adapters = {
        name: TypeAdapter(Annotated[kind, BeforeValidator(_of_steady)] if name.endswith("_share") else kind)
        for name, kind in ways.items()
    }

    def read(value: object) -> _Way:
        refusals = []
        for name, adapter in adapters.items():
            try:
                return _Way(name, adapter.validate_python(value))
            except ValidationError as refusal:
                refusals.append(worded(refusal.errors()[0], ()))
        raise ValueError("; or: ".join(refusals))

    schema = {"anyOf": [_with_tail(adapter.json_schema()) for adapter in adapters.values()]}
    return Annotated[Any, PlainValidator(read), WithJsonSchema(schema)]
