"""What no review should have to look for. Each check has a text in which it finds something."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PRODUCT = ("chaos", "gates", "workloads", "reports", "tools")
LONG_FILES = {
    "chaos/model.py": "every value of a run on one page",
    "chaos/engine.py": "the one deciding thread, to be read from top to bottom",
}
FILE_MAX, FUNCTION_MAX = 400, 50

FORBIDDEN = {  # what → (pattern, what would do)
    "a path of one machine": (r"(?<![\w.~])/(work|root|home|Users)/", "take it from an argument or the environment"),
    "a registry's address": (
        r"https?://[\w.-]*(pypi\.org|pythonhosted\.org|proxy\.golang\.org|registry\.npmjs|docker\.io|ghcr\.io)",
        "leave it to the machine's own pip, go and docker settings",
    ),
    "a note of how it was built": (
        r"(?i)\bshared/(facts|prototypes)|\bprototypes?/|\bfacts/\w|\b(claude|chatgpt|copilot|language model|llm)\b",
        "cite the paper, the upstream issue or the man page",
    ),
    "unfinished work": (r"\b(TODO|FIXME|XXX|HACK)\b", "do it, or say in a document that it is not done"),
    "a name that says nothing": (r"^\s*class \w*(Manager|Handler|Helper|Utils|Abstract)\b", "use the field's noun"),
}


def sources(*folders: str) -> list[Path]:
    found = (path for folder in folders for path in (ROOT / folder).rglob("*") if path.suffix in _TEXTS)
    return sorted(path for path in found if "__pycache__" not in path.parts)


_TEXTS = {".py", ".md", ".yaml", ".toml", ".html", ".css", ".js", ".go", ".mod"}
EVERY = [
    path
    for path in (*sources(*PRODUCT, "experiments", "benchmarks", "tests", ".ci"), *ROOT.glob("*.md"), ROOT / "Makefile")
    if path != Path(__file__).resolve() and not path.match("reports/assets/uPlot*")
]
PYTHON = [*(path for path in sources(*PRODUCT) if path.suffix == ".py"), ROOT / "chaosgate_pytest.py"]


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def found(what: str, text: str) -> list[str]:
    """Return the lines in which it is found, each as "number: line"."""
    pattern = re.compile(FORBIDDEN[what][0])
    return [f"{number}: {line.strip()}" for number, line in enumerate(text.splitlines(), 1) if pattern.search(line)]


@pytest.mark.parametrize("what", sorted(FORBIDDEN))
def test_there_is_nowhere(what):
    places = [f"{name(path)}:{line}" for path in EVERY for line in found(what, path.read_text("utf-8"))]
    assert not places, f"{what}; {FORBIDDEN[what][1]}:\n" + "\n".join(places)


@pytest.mark.parametrize(
    ("what", "text"),
    [
        ("a path of one machine", 'BASE = Path("/home/me/labs")'),
        ("a registry's address", "see https://pypi.org/simple"),
        ("a note of how it was built", "# after shared/prototypes/shaper.py"),
        ("unfinished work", "x = 1  # TODO: more"),
        ("a name that says nothing", "class RunManager:"),
    ],
)
def test_the_check_says_no(what, text):
    assert found(what, f"fine\n{text}\n") == [f"2: {text}"]
    assert not found(what, "cut = Path(base) / 'work' / 'home'  # a way to do it\n")


# ---------------------------------------------------------------- lengths


def long_functions(text: str) -> list[str]:
    tree = ast.parse(text)
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    lengths = {f"{node.lineno}: {node.name}": (node.end_lineno or node.lineno) - node.lineno + 1 for node in functions}
    return [f"{where} has {lines} lines" for where, lines in lengths.items() if lines > FUNCTION_MAX]


def test_no_function_is_longer_than_a_screen():
    places = [f"{name(path)}:{line}" for path in PYTHON for line in long_functions(path.read_text("utf-8"))]
    assert not places, f"at most {FUNCTION_MAX}; let it branch and call what computes:\n" + "\n".join(places)


def test_a_long_function_is_found():
    assert long_functions("def f():\n" + "    x = 1\n" * FUNCTION_MAX) == ["1: f has 51 lines"]


def test_long_files_have_their_reason():
    lengths = {name(path): len(path.read_text("utf-8").splitlines()) for path in PYTHON}
    long = {where: lines for where, lines in lengths.items() if lines > FILE_MAX}
    assert not {k: v for k, v in long.items() if k not in LONG_FILES}, "split it, or give a reason in LONG_FILES"
    assert not {k for k in LONG_FILES if k not in long}, "no longer long: take it out of LONG_FILES"


# ---------------------------------------------------------------- catching everything


def unreasoned(text: str) -> list[str]:
    """Return lines that catch everything, without a reason on the line, and do not raise in the end."""
    lines = text.splitlines()
    caught = (node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ExceptHandler) and _broad(node))
    return [
        f"{node.lineno}: {lines[node.lineno - 1].strip()}"
        for node in caught
        if not isinstance(node.body[-1], ast.Raise) and not _reason(lines[node.lineno - 1])
    ]


def _broad(handler: ast.ExceptHandler) -> bool:
    caught = handler.type
    names = caught.elts if isinstance(caught, ast.Tuple) else [caught]
    return any(one is None or (isinstance(one, ast.Name) and one.id in ("Exception", "BaseException")) for one in names)


def _reason(line: str) -> str:
    """Return what a line's comment says beside the linter's code."""
    comment = line.partition("#")[2]
    return re.sub(r"noqa:\s*[A-Z0-9, ]+|[#\-–—\s]", "", comment)


def test_whoever_catches_everything_says_why_or_raises():
    places = [f"{name(path)}:{line}" for path in PYTHON for line in unreasoned(path.read_text("utf-8"))]
    assert not places, "catch what you mean, or write the reason on the line:\n" + "\n".join(places)


@pytest.mark.parametrize("line", ["except Exception:", "except:", "except (OSError, BaseException):  # noqa: BLE001"])
def test_catching_everything_without_a_reason_is_found(line):
    assert unreasoned(f"try:\n    f()\n{line}\n    pass\n") == [f"3: {line}"]


def test_a_reason_or_raising_again_will_do():
    assert not unreasoned("try:\n    f()\nexcept Exception:  # noqa: BLE001  # a stranger's\n    pass\n")
    assert not unreasoned("try:\n    f()\nexcept BaseException:\n    undo()\n    raise\n")
    assert not unreasoned("try:\n    f()\nexcept OSError:\n    pass\n")


# ---------------------------------------------------------------- what is shipped to nodes


def foreign(text: str, allowed: tuple[str, ...]) -> set[str]:
    """Return the modules imported that are neither the standard library's nor allowed."""
    imported: set[str] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(node.module or "")
    outside = {module for module in imported if module.split(".")[0] not in sys.stdlib_module_names}
    return {module for module in outside if not module.startswith(allowed)}


SHIPPED = (
    "chaos.agent",
    "chaos.model",
    "chaos.errors",
    "chaos.clock",
    "chaos.environment",
    "chaos.jsonlines",
    "chaos.piped",
    "chaos.targets.netns.wire",
    "chaos.targets.netns.syscalls",
)

BESIDE = ("errors", "clock", "environment", "jsonlines", "piped", "targets/netns/wire", "targets/netns/syscalls")


def test_what_is_shipped_to_nodes_needs_the_standard_library_only():
    texts = {name(path): path.read_text("utf-8") for path in PYTHON if "agent" in path.parts}
    texts |= {f"chaos/{part}.py": (ROOT / f"chaos/{part}.py").read_text("utf-8") for part in BESIDE}
    needs = {where: found for where, text in texts.items() if (found := foreign(text, SHIPPED))}
    assert not needs


def test_a_foreign_import_is_found():
    assert foreign("import os\nfrom numpy import array\nfrom chaos.model import Cut\n", SHIPPED) == {"numpy"}


@pytest.mark.parametrize("path", PYTHON, ids=name)
def test_every_module_opens_with_what_it_is(path):
    assert ast.get_docstring(ast.parse(path.read_text("utf-8"))), f"{name(path)}: open with a picture or an argument"
