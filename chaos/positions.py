"""A YAML file whose every part knows where it stands.

    text ─compose─▶ nodes with marks ─▶ plain texts for the forms
                        │
                        └─▶ "file:line:column: what; what would do", all of a file at once

Only PyYAML's composer is used, never its constructor: a scalar stays the text that was written. So the key `on` is
"on" and not True, the version 3.10 is not 3.1, and `no` is a word (the traps of YAML 1.1, https://yaml.org/type/bool.html).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml

from chaos.errors import SpecError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_NULLS = frozenset({"", "~", "null", "Null", "NULL"})


class Page:
    """One file and the problems found in it so far."""

    def __init__(self, path: str, text: str) -> None:
        self.path = path
        self.text = text
        self.problems: list[tuple[int, int, str]] = []

    def problem(self, node: yaml.Node | yaml.Mark | None, message: str) -> None:
        """Note what is wrong at a node; `message` says what was read and what would do."""
        mark = node.start_mark if isinstance(node, yaml.Node) else node
        place = (mark.line + 1, mark.column + 1) if mark is not None else (1, 1)
        if (*place, message) not in self.problems:
            self.problems.append((*place, message))

    def raise_problems(self) -> None:
        """Raise one SpecError with every problem so far, in the order of the file; nothing if there is none."""
        if self.problems:
            raise SpecError([f"{self.path}:{line}:{column}: {what}" for line, column, what in sorted(self.problems)])

    def compose(self) -> yaml.MappingNode | None:
        """Return the file's mapping; None, with the problem noted, if it is not YAML or not a mapping."""
        try:
            root = yaml.compose(self.text, Loader=yaml.SafeLoader)
        except yaml.MarkedYAMLError as error:
            said = " ".join(part for part in (error.context, error.problem) if part)
            self.problem(error.problem_mark or error.context_mark, f"not YAML: {said}; {_yaml_hint(said)}")
            return None
        except yaml.reader.ReaderError as error:
            self.problem(None, f"not YAML: {error.reason} at character {error.position}; save the file as UTF-8 text")
            return None
        if not isinstance(root, yaml.MappingNode):
            self.problem(root, "an experiment is a mapping; begin with the line `chaosgate: 1`")
            return None
        if loop := _loop(root, ()):
            self.problem(loop, "this contains itself, by an alias (*); write it out")
            return None
        for double in _doubles(root, set()):
            first = next(k for k, _ in double[0].value if k.value == double[1].value)
            line = first.start_mark.line + 1
            self.problem(double[1], f"the key '{double[1].value}' was given in line {line} already; remove one of them")
        return root


def _yaml_hint(said: str) -> str:
    if "\\t" in said:
        return "indent with spaces"
    if "mapping values are not allowed" in said:
        return "put the text that contains ': ' in quotes"
    return "check the indentation, brackets and quotes there"


def _children(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [value for _, value in node.value]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


def _loop(node: yaml.Node, above: tuple[yaml.Node, ...]) -> yaml.Node | None:
    """Return a node that contains itself."""
    if any(node is ancestor for ancestor in above):
        return node
    return next((found for child in _children(node) if (found := _loop(child, (*above, node)))), None)


def _doubles(node: yaml.Node, seen: set[int]) -> Iterator[tuple[yaml.MappingNode, yaml.ScalarNode]]:
    """Yield each key that its mapping holds already; `seen` ends the walk where an alias leads back."""
    if id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, yaml.MappingNode):
        keys: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in keys:
                yield node, key
            keys.add(str(key.value))
    for child in _children(node):
        yield from _doubles(child, seen)


def entries(node: yaml.MappingNode) -> dict[str, tuple[yaml.Node, yaml.Node]]:
    """Return key text → (key node, value node); the first of a double key counts."""
    found: dict[str, tuple[yaml.Node, yaml.Node]] = {}
    for key, value in node.value:
        found.setdefault(str(key.value), (key, value))
    return found


def plain(node: yaml.Node) -> Any:
    """Return texts, lists and dicts of texts; an unquoted null is None."""
    if isinstance(node, yaml.MappingNode):
        return {key: plain(value) for key, (_, value) in entries(node).items()}
    if isinstance(node, yaml.SequenceNode):
        return [plain(item) for item in node.value]
    assert isinstance(node, yaml.ScalarNode)
    return None if node.style is None and node.value in _NULLS else node.value


def scalars(node: yaml.Node) -> Iterator[yaml.ScalarNode]:
    """Yield the values below a node, in the order of the file; keys are none."""
    if isinstance(node, yaml.ScalarNode):
        yield node
    for child in _children(node):
        yield from scalars(child)


def locate(node: yaml.Node, where: Sequence[str | int], *, key: bool = False) -> yaml.Node:
    """Return the node at a path of keys and indices, as deep as it exists; with `key` the last key's own node."""
    for depth, part in enumerate(where):
        if isinstance(node, yaml.MappingNode) and str(part) in (found := entries(node)):
            node = found[str(part)][0 if key and depth == len(where) - 1 else 1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
    return node


def described(node: yaml.Node) -> str:
    """Say what kind of thing stands there, for a message."""
    if isinstance(node, yaml.MappingNode):
        return "a mapping"
    if isinstance(node, yaml.SequenceNode):
        return "a list"
    return "nothing" if plain(node) is None else f"'{node.value}'"
