"""`rules.schema.json` is up to date and useful in editors. The tests use taplo, on which the editor plugin is based."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import REPOSITORY, Workplace, needs
from tests.rules.everything import EVERYTHING

SCHEMA = REPOSITORY / "rules.schema.json"
RULES = """
[sources.archive]
path = "data"

[select.scans]
level = "series"
where = "Modality = 'CT'"

[copy.export]
select = "scans"
to = "export/{{ SOPInstanceUID }}.dcm"
"""


def lint(workplace: Workplace, text: str) -> list[tuple[int, str]]:
    """Return the lines in which taplo finds errors, and its messages."""
    program = shutil.which("taplo", path=Path(sys.executable).parent)
    needs("taplo", program is not None)
    workplace.rules(text)
    options = ["lint", "--colors", "never", "--no-auto-config", "--schema", SCHEMA.as_uri(), "rules.toml"]
    done = subprocess.run([str(program), *options], cwd=workplace.folder, capture_output=True, text=True, check=False)
    found = re.findall(r"^error: (.*)\n +┌─ .*:(\d+):\d+$", done.stderr, re.MULTILINE)
    assert (done.returncode != 0) == bool(found)
    return [(int(line), said) for said, line in found]


def schemas(at: Any) -> Iterator[dict[str, Any]]:
    """Yield every schema of a table in a JSON Schema."""
    for inside in at.values() if isinstance(at, dict) else at if isinstance(at, list) else ():
        yield from schemas(inside)
    if isinstance(at, dict) and at.get("type") == "object":
        yield at


def test_is_fresh(workplace: Workplace) -> None:
    done = workplace.run("schema")
    assert done.out == SCHEMA.read_text(encoding="utf-8"), "make it with: pyconquest-rules schema > rules.schema.json"


def test_unknown_keys_are_errors_and_known_keys_have_a_description() -> None:
    for schema in schemas(json.loads(SCHEMA.read_text(encoding="utf-8"))):
        # The columns of a CSV file may have any name.
        assert schema["additionalProperties"] is False or "properties" not in schema
        for name, key in schema.get("properties", {}).items():
            assert key.get("description"), name


@pytest.mark.parametrize("rules", [EVERYTHING, RULES, ""], ids=["everything", "little", "nothing"])
def test_valid_files_pass(workplace: Workplace, rules: str) -> None:
    assert lint(workplace, rules) == []


@pytest.mark.parametrize(
    ("right", "wrong", "line"),
    [
        ('level = "series"', 'level = "serie"', 7),
        ('path = "data"', "path = 5", 4),
        ('path = "data"', 'path = { env = "X", defualt = "y" }', 4),
        ('path = "data"', 'path = "data"\nexclude = "*.txt"', 5),
        ("where = \"Modality = 'CT'\"", "where = ''", 8),
        ('select = "scans"', 'select = "scans"\nmode = "hard"', 12),
        ('select = "scans"', 'select = "scans"\non_conflict = "replace"', 12),
        ('select = "scans"', 'select = "scans"\nneeds = ["copy.a", 1]', 12),
    ],
)
def test_an_invalid_value_is_an_error_at_its_line(workplace: Workplace, right: str, wrong: str, line: int) -> None:
    found = lint(workplace, RULES.replace(right, wrong))
    assert {at for at, _ in found} == {line}


@pytest.mark.parametrize(
    ("right", "wrong", "line"),
    [
        ('path = "data"', 'path = "data"\nexlude = []', 5),
        ('level = "series"', 'level = "series"\nquerry = "x"', 8),
        ("[copy.export]", "[copy.Export]", 10),
        ("[copy.export]", "[copies.export]", 10),
        ("[sources.archive]", "[vars]\nOut = 'x'\n[sources.archive]", 4),
    ],
)
def test_an_unknown_key_is_an_error_at_its_line(workplace: Workplace, right: str, wrong: str, line: int) -> None:
    found = lint(workplace, RULES.replace(right, wrong))
    assert all("unexpected" in said for _, said in found)
    assert line in {at for at, _ in found}


@pytest.mark.parametrize(
    ("rules", "table"),
    [
        (RULES.replace("where = \"Modality = 'CT'\"", ""), 6),
        (RULES.replace('level = "series"', 'level = "series"\nquery = "select 1"'), 6),
        (RULES.replace('path = "data"', ""), 3),
    ],
    ids=["neither query nor where", "query and where", "no path"],
)
def test_a_missing_key_is_an_error_at_its_table(workplace: Workplace, rules: str, table: int) -> None:
    assert min(line for line, _ in lint(workplace, rules)) == table
