"""The JSON Schema of experiment files: the forms' own schemas, put where the tables' names are.

An editor reads YAML's numbers as numbers, and this program reads them as text; the schema speaks the editor's language.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic.json_schema import models_json_schema

from chaos.forms import form
from chaos.parts import LoadForm, MarksForm, SelectorForm, StepForm, Tables, VersionsForm, settings_type
from chaos.promises import SloForm

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from chaos.forms import Form

Schema = dict[str, Any]

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_FREE: Schema = {"type": "object"}


def schema(whole: type[Form], tables: Tables) -> Schema:
    """Return the schema of the form of a whole file, with what the tables name."""
    forms: dict[tuple[str, str], type[Form]] = {
        ("file", ""): whole,
        ("load", ""): LoadForm,
        ("step", ""): StepForm,
        ("selector", ""): SelectorForm,
        ("marks", ""): MarksForm,
        ("versions", ""): VersionsForm,
        ("slo", ""): SloForm,
        **dict(_forms(tables)),
    }
    refs, made = models_json_schema([(f, "validation") for f in forms.values()], ref_template="#/$defs/{model}")
    defs: Schema = _without_defaults(made["$defs"])
    ref = {where: refs[model, "validation"] for where, model in forms.items()}
    _join(defs, ref)
    _name_parts(defs, ref, tables)
    root = _own(defs, ref["file", ""])
    return {"$schema": _DIALECT, "title": "chaosgate experiment", **root, "$defs": defs}


def _forms(tables: Tables) -> Iterator[tuple[tuple[str, str], type[Form]]]:
    for kind, table in _kinds(tables).items():
        for name, entry in table.items():
            if (cls := settings_type(entry)) is not None:
                yield (kind, name), form(cls)


def _kinds(tables: Tables) -> Mapping[str, Mapping[str, Any]]:
    return {"fault": tables.faults, "gate": tables.gates, "stack": tables.stacks, "workload": tables.workloads}


def _own(defs: Schema, ref: Schema) -> Schema:
    """Return the definition that a reference points to."""
    found: Schema = defs[ref["$ref"].rsplit("/", 1)[1]]
    return found


def _join(defs: Schema, ref: Mapping[tuple[str, str], Schema]) -> None:
    """Let gates know their marks and stacks their versions; a form forbids what it doesn't list."""
    for (kind, _), one in ref.items():
        extra = {"gate": "marks", "stack": "versions"}.get(kind)
        if extra:
            _own(defs, one)["properties"] |= _own(defs, ref[extra, ""])["properties"]


def _name_parts(defs: Schema, ref: Mapping[tuple[str, str], Schema], tables: Tables) -> None:
    """Fill in the parts that a table decides."""

    def by_name(kind: str) -> Schema:
        return {name: ref.get((kind, name), _FREE) for name in sorted(_kinds(tables)[kind])}

    root = _own(defs, ref["file", ""])["properties"]
    step = _own(defs, ref["step", ""])["properties"]
    load = _own(defs, ref["load", ""])
    load["properties"] |= by_name("workload")
    argued = {role: {"type": "string"} for kind in tables.stacks.values() for role in getattr(kind, "roles_of", ())}
    _own(defs, ref["selector", ""])["properties"] |= argued
    step["on"] = {"anyOf": [{"type": "string"}, ref["selector", ""]]}
    step["fault"] = _one_name(by_name("fault"))
    gate = _one_name(by_name("gate"))
    named = {"type": "object", "minProperties": 1, "maxProperties": 1, "additionalProperties": gate}
    root |= {
        "chaosgate": {"const": 1, "description": "The version of this form."},
        "stack": _one_name(by_name("stack")),
        "load": ref["load", ""],
        "beside": ref["load", ""],
        "steps": {"type": "array", "items": ref["step", ""]},
        "gates": {"type": "array", "items": {"anyOf": [gate, named]}, "minItems": 1},
        "slo": ref["slo", ""],
    }
    _own(defs, ref["file", ""])["anyOf"] = [{"required": ["gates"]}, {"required": ["slo"]}]


def _one_name(settings: Mapping[str, Schema]) -> Schema:
    """Return the schema of `name` or `{name: settings}`."""
    alone = {"enum": list(settings)}
    fields = {name: {"anyOf": [one, {"type": "null"}]} for name, one in settings.items()}
    one = {
        "type": "object",
        "properties": fields,
        "additionalProperties": False,
        "minProperties": 1,
        "maxProperties": 1,
    }
    return {"anyOf": [alone, one]}


def _without_defaults(part: Any) -> Any:
    """Return a schema without defaults: they are numbers here and texts in the file."""
    if isinstance(part, dict):
        return {k: _without_defaults(v) for k, v in part.items() if k != "default" or isinstance(v, dict)}
    return [_without_defaults(item) for item in part] if isinstance(part, list) else part
