"""docs/rules.md says all that there is, and what it says is so."""

import json
import re
import sqlite3
from typing import Any

import pytest
import tomli

from pyconquest_rules.dicom import Level
from pyconquest_rules.index.dicom_sql import parse, standard_text
from pyconquest_rules.index.tables import VIEWS, schema, statements
from pyconquest_rules.paths import safe_part
from pyconquest_rules.templates import FILTERS, Template
from tests.conftest import REPOSITORY, Workplace

PAGE = (REPOSITORY / "docs" / "rules.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (.*)\n((?:(?!^## ).*\n)*)", PAGE, re.MULTILINE))
EXAMPLES = re.findall(r"^```toml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
SCANS = "\n[select.scans]\nlevel = \"series\"\nwhere = \"Modality in ('CT', 'MR')\"\n"
CELL = re.compile(r"(?<!\\)\|")


def rows(text: str) -> list[list[str]]:
    """The cells of the tables of a text, without those that name the columns."""
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    heads = {before for before, line in zip(text.splitlines(), text.splitlines()[1:], strict=False) if line.startswith("|---")}
    return [[cell.strip().replace("\\|", "|") for cell in CELL.split(line)[1:-1]] for line in lines if line not in heads]


def keys() -> list[tuple[str, str, Any]]:
    """The section, the name and the schema of every key of a rules file."""
    whole = json.loads((REPOSITORY / "rules.schema.json").read_text(encoding="utf-8"))
    found: list[tuple[str, str, Any]] = []
    for kind, top in whole["properties"].items():
        inside = top.get("patternProperties", {"": top}).popitem()[1].get("$ref", "").rpartition("/")[2]
        heading = {"schema": "`[[schema.LEVEL]]`", "index": "`[index]`", "vars": "`[vars]`"}
        section = heading.get(kind, f"`[{kind}.NAME]`" if "patternProperties" in top else f"`{kind}`")
        inner = whole["$defs"].get(inside, {}).get("properties", {}) | (
            whole["$defs"]["SchemaColumn"]["properties"] if kind == "schema" else {}
        )
        found += [(section, name, key) for name, key in inner.items()] or [(section, kind, top)]
    return found


@pytest.mark.parametrize(("section", "name", "key"), keys(), ids=lambda value: value if isinstance(value, str) else "")
def test_has_every_key(section: str, name: str, key: Any) -> None:
    documented = {row[0].strip("`"): row for row in rows(SECTIONS[section])}
    if section == "`[vars]`":
        assert {"any name", "env", "default"} <= documented.keys()
        return
    row = documented[name]
    default = key.get("default")
    if default is not None:
        assert (default if isinstance(default, str) else json.dumps(default)) in row[2]
    reference = key.get("$ref", "").rpartition("/")[2]
    choices = json.loads((REPOSITORY / "rules.schema.json").read_text(encoding="utf-8"))["$defs"].get(reference, {}).get("enum")
    for choice in choices or ():
        assert f"`{choice}`" in row[1]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.splitlines()[0].strip("[]"))
def test_examples_pass_check(workplace: Workplace, example: str) -> None:
    text = example if "rules_version" in example else f"rules_version = 1\n{example}"
    wanted = {copy["select"] for copy in tomli.loads(text).get("copy", {}).values()}
    text += SCANS if "scans" in wanted and "[select.scans]" not in text else ""
    (workplace.folder / "rules.toml").write_text(text, encoding="utf-8")
    done = workplace.run("check")
    assert (done.code, done.err) == (0, "")


def test_has_every_filter() -> None:
    documented = {re.match(r"`(\w+)", row[0])[1] for row in rows(SECTIONS["Templates"]) if "|" in row[1]}  # type: ignore[index]
    assert documented >= FILTERS.keys()


@pytest.mark.parametrize(
    ("template", "value", "gives"),
    [row[-3:] for row in rows(SECTIONS["Templates"]) if row[-3].startswith(("`{{", "`{%"))],
    ids=lambda cell: cell,
)
def test_templates_give_what_the_page_says(template: str, value: str, gives: str) -> None:
    compiled = Template(template.strip("`"), {})
    (name,) = compiled.names
    given = None if value == "missing" else float(value.strip("`")) if name == "KVP" else value.strip("`")
    assert compiled.path({name: given}).path == gives.strip("`")


@pytest.mark.parametrize(
    ("value", "becomes"),
    [row[:2] for row in rows(SECTIONS["Templates"].partition("### Safe path parts")[2])],
    ids=lambda cell: cell,
)
def test_values_become_the_names_that_the_page_says(value: str, becomes: str) -> None:
    assert safe_part(value.strip("`")) == becomes.strip("`")


@pytest.mark.parametrize("level", Level)
def test_has_every_column(level: Level) -> None:
    standard = schema(parse(standard_text()))
    connection = sqlite3.connect(":memory:", isolation_level=None)
    for statement in statements(standard):
        connection.execute(statement)
    documented = {row[0].strip("`"): {*re.findall(r"\w+", " ".join(row[1:]))} for row in rows(SECTIONS["Views and columns"])}
    columns = {name for (name,) in connection.execute("SELECT name FROM pragma_table_info(?)", (VIEWS[level],))}
    for above in [*Level][: [*Level].index(level)]:
        columns -= documented[VIEWS[above]]
    assert columns <= documented[VIEWS[level]]
    assert documented[VIEWS[level]] <= {
        name for (name,) in connection.execute("SELECT name FROM pragma_table_info(?)", (VIEWS[level],))
    }
