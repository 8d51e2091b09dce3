"""What lies in a folder, what its table offers, and what the documents say are the same."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from chaos.faults import FAULTS
from chaos.forms import keys
from chaos.parts import SelectorForm
from chaos.probes import PROBES
from chaos.promises import SloForm
from chaos.refusals import owner_keys
from chaos.stacks import STACKS
from chaos.targets import TARGETS
from gates import GATES
from reports import REPORTS
from workloads import WORKLOADS

ROOT = Path(__file__).resolve().parents[1]
FORM = (ROOT / "experiments/README.md").read_text(encoding="utf-8")
DOCUMENTS = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "experiments/README.md", *ROOT.glob("*.md")))


def own(table):
    """Return the entries that this repository ships, by where they are defined."""
    return {name: entry for name, entry in table.items() if entry.__module__.split(".")[0] in ("chaos", "gates")}


def files_with(folder: str, method: str) -> set[str]:
    """Return the modules of a folder that hold a dataclass of settings with this method."""
    return {path.stem for path in (ROOT / folder).glob("*.py") if _has(ast.parse(path.read_text("utf-8")), method)}


def _has(tree: ast.Module, method: str) -> bool:
    classes = (node for node in tree.body if isinstance(node, ast.ClassDef) and node.decorator_list)
    return any(isinstance(part, ast.FunctionDef) and part.name == method for one in classes for part in one.body)


def folders(folder: str) -> set[str]:
    """Return what a folder holds: packages and modules, its own __init__ aside."""
    found = (path for path in (ROOT / folder).iterdir() if not path.name.startswith(("_", ".")))
    return {path.stem for path in found if path.suffix == ".py" or (path / "__init__.py").exists()}


def packages(folder: str) -> set[str]:
    """Return the packages that a folder holds; the modules beside them are what they share."""
    return {path.parent.name for path in (ROOT / folder).glob("*/__init__.py")}


def documented(column: str) -> set[str]:
    """Return the names in the first column of one table of the form's description."""
    rows = FORM.split(f"\n| {column} |", 1)[1].split("\n\n", 1)[0].splitlines()[2:]
    return {name for row in rows for name in re.findall(r"`([a-z-]+)`", row.split("|")[1])}


def test_every_fault_file_is_in_the_table():
    assert {cls.__module__.rpartition(".")[2] for cls in own(FAULTS).values()} == files_with("chaos/faults", "aim")


def test_every_fault_is_described_and_every_description_is_one():
    assert documented("fault") == set(own(FAULTS))


def test_every_gate_file_is_in_the_table():
    implied = {"validity"}  # part of every judgement, asked for by no file
    assert {cls.__module__.rpartition(".")[2] for cls in own(GATES).values()} == files_with("gates", "judge") - implied


def test_every_gate_is_described_and_every_description_is_one():
    assert documented("gate") == set(own(GATES))


def row(column: str, name: str) -> str:
    """Return the line of one table of the form's description that is about `name`."""
    rows = FORM.split(f"\n| {column} |", 1)[1].split("\n\n", 1)[0].splitlines()[2:]
    return next(line for line in rows if f"`{name}`" in line.split("|")[1])


def unsaid(column: str, table) -> list[str]:
    """Return the settings that the description of their owner does not name; `shape` has those of its like."""
    return [
        f"{name}.{key}"
        for name, cls in own(table).items()
        for key in keys(cls)
        if not re.search(rf"\b{key}\b", row(column, name)) and not (name == "shape" and key in LIKE_SHAPE)
    ]


LIKE_SHAPE = {key for name in ("latency", "loss") for key in keys(FAULTS[name])} | {"loss"}


def test_every_setting_of_a_gate_is_described():
    assert unsaid("gate", GATES) == []


def test_every_setting_of_a_fault_is_described():
    assert unsaid("fault", FAULTS) == []


def test_every_selector_and_every_promise_is_described():
    for form in (SelectorForm, SloForm):
        for key in owner_keys(form):
            assert re.search(rf"\b{key}: ", FORM), f"experiments/README.md does not say what {key} is"


def test_every_setting_of_a_stack_and_of_a_workload_is_described_and_every_description_is_one():
    for column, kinds in (("stack", STACKS), ("load", WORKLOADS)):
        for name, kind in kinds.items():
            assert documented(f"`{column}: {name}`") == set(keys(kind.settings_type))


def test_a_setting_that_is_not_described_is_found():
    @dataclass
    class Made:
        hidden_s: float = 1.0

    Made.__module__ = "gates.errors"
    assert unsaid("gate", {"errors": Made}) == ["errors.hidden"]


def test_a_gate_lies_in_the_file_of_its_name():
    assert {name: cls.__module__ for name, cls in own(GATES).items()} == {
        name: f"gates.{name.replace('-', '_')}" for name in own(GATES)
    }


def test_every_target_is_in_the_table_but_the_one_that_touches_nothing():
    confirms_what_never_happened, runs_no_stack_yet, what_targets_share = "memory", "kubernetes", "agents"
    assert set(TARGETS) == folders("chaos/targets") - {
        confirms_what_never_happened,
        runs_no_stack_yet,
        what_targets_share,
    }


def test_every_stack_is_in_the_table():
    assert {name for name in STACKS if (ROOT / "chaos/stacks" / name).exists()} == packages("chaos/stacks")


def test_every_file_of_probes_looks_at_a_stack_that_there_is():
    assert {kind.stack for kind in PROBES.values()} == folders("chaos/probes") <= set(STACKS)


def test_every_workload_lies_in_the_file_or_the_folder_of_its_name():
    assert set(WORKLOADS) <= folders("workloads")


def test_every_report_is_in_the_table():
    renders = {path.stem for path in (ROOT / "reports").glob("*.py") if "\ndef render(" in path.read_text("utf-8")}
    assert renders <= set(REPORTS)


@pytest.mark.parametrize("name", sorted({*TARGETS, *STACKS, *WORKLOADS, *REPORTS}))
def test_every_other_name_is_in_the_documents(name):
    assert re.search(rf"\b{re.escape(name)}\b", DOCUMENTS), f"{name}: say in a document what it is"


@pytest.mark.parametrize("path", sorted((ROOT / "experiments").rglob("*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_experiment_is_listed(path):
    assert f"| {path.name} |" in FORM


def test_every_listed_experiment_is_shipped():
    listed = set(re.findall(r"^\| ([\w-]+\.yaml) \|", FORM, re.MULTILINE))
    assert listed == {path.name for path in (ROOT / "experiments").rglob("*.yaml")}


@pytest.mark.parametrize("entry", [*own(FAULTS).values(), *own(GATES).values()], ids=lambda cls: cls.__name__)
def test_every_setting_object_says_what_it_is(entry):
    assert entry.__doc__, f"{entry.__name__}: one sentence of what it is"
    assert not entry.__doc__.startswith(f"{entry.__name__}("), f"{entry.__name__}: dataclass's own text is no sentence"


@pytest.mark.parametrize("stack", sorted(STACKS))
def test_the_form_names_every_role_and_operation_of_a_stack(stack):
    for word in (*STACKS[stack].roles, *STACKS[stack].operations):
        assert word in FORM, f"{stack}: experiments/README.md does not say what {word} is"
