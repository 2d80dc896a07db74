"""The structure of the code: no circular imports, no private parts of libraries, no long modules and functions."""

import ast
import re
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
import tomli

from tests.conftest import REPOSITORY

PACKAGE = REPOSITORY / "pyconquest_rules"
MODULES = {".".join(file.relative_to(REPOSITORY).with_suffix("").parts): file for file in PACKAGE.rglob("*.py")}
LIBRARIES = {"pydicom", "pynetdicom", "jinja2", "typer", "pydantic", "rich", "tomli", "click"}

LONGEST_MODULE, LONGEST_FUNCTION, LONGEST_TEST_MODULE = 300, 60, 500
# Each with its reason. The list only gets shorter.
LONG_FUNCTIONS = {
    "headers.dialect.scan": "the innermost loop of the reader: calls would cost more than they explain",
    "headers.sendable._walked": "the same for data sets that are sent",
    "rules.check.checked": "a pipeline, one line a step, and the constructor of Rules",
}


def imports(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """Yield the imports of a module, as module and name, without the lazy imports inside functions."""
    for node in ast.iter_child_nodes(tree):
        match node:
            case ast.ImportFrom(module=str(module), names=names):
                yield from ((module, alias.name) for alias in names)
            case ast.Import(names=names):
                yield from ((alias.name, "") for alias in names)
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                continue
            case ast.If(test=ast.Name(id="TYPE_CHECKING")):
                continue
            case _:
                yield from imports(node)


def test_no_circle_of_modules() -> None:
    graph: dict[str, set[str]] = {}
    for name, file in MODULES.items():
        imported = imports(ast.parse(file.read_bytes()))
        found = {f"{module}.{part}" if f"{module}.{part}" in MODULES else module for module, part in imported}
        graph[name] = {f"{each}.__init__" if f"{each}.__init__" in MODULES else each for each in found} & MODULES.keys()
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_every_kind_is_kept_apart_from_the_others() -> None:
    contracts = tomli.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"]
    (kept,) = (each["modules"] for each in contracts if each["type"] == "independence")
    assert kept == sorted(f"pyconquest_rules.kinds.{file.parent.name}" for file in (PACKAGE / "kinds").glob("*/__init__.py"))


def test_no_private_part_of_a_library() -> None:
    found = []
    for name, file in MODULES.items():
        for module, part in imports(ast.parse(file.read_bytes())):
            if module.split(".")[0] in LIBRARIES and re.search(r"(^|\.)_[a-z]", f"{module}.{part}"):
                found.append(f"{name}: {module}.{part}")
    assert found == []


def test_modules_are_short() -> None:
    assert [name for name, file in MODULES.items() if lines(file) > LONGEST_MODULE] == []


def test_test_modules_are_short() -> None:
    assert [str(file) for file in (REPOSITORY / "tests").rglob("*.py") if lines(file) > LONGEST_TEST_MODULE] == []


def test_functions_are_short() -> None:
    long = set()
    for name, file in MODULES.items():
        for node in ast.walk(ast.parse(file.read_bytes())):
            if isinstance(node, ast.FunctionDef) and (node.end_lineno or 0) - node.lineno >= LONGEST_FUNCTION:
                long.add(f"{name.removeprefix('pyconquest_rules.')}.{node.name}")
    assert long == LONG_FUNCTIONS.keys()


def lines(file: Path) -> int:
    """Return the number of lines of a file."""
    return file.read_bytes().count(b"\n")
