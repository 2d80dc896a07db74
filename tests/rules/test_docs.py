"""docs/rules.md is complete and correct."""

import json
import re
import sqlite3
from collections.abc import Iterator
from typing import Any

import pytest
import tomli

from pyconquest_rules.dicom import Level
from pyconquest_rules.index.conquest.dicom_sql import parse, standard_text
from pyconquest_rules.index.store.schema import VIEWS, schema
from pyconquest_rules.index.store.tables import statements
from pyconquest_rules.paths import safe_part
from pyconquest_rules.templates import Template
from pyconquest_rules.templates.filters import FILTERS
from tests.conftest import REPOSITORY, Workplace

PAGE = (REPOSITORY / "docs" / "rules.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (.*)\n((?:(?!^## ).*\n)*)", PAGE, re.MULTILINE))
EXAMPLES = re.findall(r"^```toml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
SCANS = "\n[select.scans]\nlevel = \"series\"\nwhere = \"Modality in ('CT', 'MR')\"\n"
CELL = re.compile(r"(?<!\\)\|")


def rows(text: str) -> list[list[str]]:
    """Return the cells of the tables of a text, without the heads."""
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    heads = {before for before, line in zip(text.splitlines(), text.splitlines()[1:], strict=False) if line.startswith("|---")}
    return [[cell.strip().replace("\\|", "|") for cell in CELL.split(line)[1:-1]] for line in lines if line not in heads]


def keys() -> list[tuple[str, str, Any]]:
    """Return the section, the name and the schema of every key of a rules file."""
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
    for table in tomli.loads(text).get("tables", {}).values():
        (workplace.folder / table["csv"]).write_text(f"{','.join(table['key'])}\n", encoding="utf-8")
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
def test_templates_render_as_the_page_shows(template: str, value: str, gives: str) -> None:
    compiled = Template(template.strip("`"), {})
    (name,) = compiled.names
    given = None if value == "missing" else float(value.strip("`")) if name == "KVP" else value.strip("`")
    assert compiled.path({name: given}).path == gives.strip("`")


@pytest.mark.parametrize(
    ("value", "becomes"),
    [row[:2] for row in rows(SECTIONS["Templates"].partition("### Safe path parts")[2])],
    ids=lambda cell: cell,
)
def test_values_become_the_names_that_the_page_shows(value: str, becomes: str) -> None:
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


def environment_keys() -> set[tuple[str, str]]:
    """Return the tables and keys for which the schema allows an environment variable."""
    whole = json.loads((REPOSITORY / "rules.schema.json").read_text(encoding="utf-8"))

    def walk(at: Any, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
        reference = at.get("$ref", "").rpartition("/")[2]
        if reference == "Text":
            yield path
        elif reference:
            yield from walk(whole["$defs"][reference], path)
        for key, inside in at.get("properties", {}).items():
            yield from walk(inside, (*path, key))
        for inside in (*at.get("patternProperties", {}).values(), *([at["items"]] if "items" in at else [])):
            yield from walk(inside, path)

    return {("/".join(path[:-1]), path[-1]) for path in walk({"properties": whole["properties"]}, ())}


def test_the_page_lists_every_key_that_accepts_an_environment_variable() -> None:
    section = SECTIONS["`[vars]`"].partition("### The environment")[2]
    words = {"top of the file": "", "`tls` of `[nodes.NAME]`": "nodes/tls", "`[index]`": "index", "`[vars]`": ""}
    words |= {f"`[{kind}.NAME]`": kind for kind in ("sources", "tables", "nodes", "profile")}
    documented = set()
    for where, keys_ in [row for row in rows(section) if len(row) == 2]:
        names = ["vars"] if where == "`[vars]`" else re.findall(r"`(\w+)`", keys_)
        documented |= {(words[where], name) for name in names}
    assert documented == environment_keys()


NODE = '[nodes.n]\nae_title = "N"\nhost = "h"\nport = 104\n'
TAKES = {
    "outputs": "outputs = [{}]\n",
    "vars": "[vars]\nx = {}\n",
    "index database": "[index]\ndatabase = {}\n",
    "source": "[sources.s]\npath = {}\n",
    "host": '[nodes.n]\nae_title = "N"\nport = 104\nhost = {}\n',
    "commitment_host": NODE + "commitment_host = {}\n",
    "tls": NODE + "tls = {{ ca = {} }}\n",
}
TAKES_NOT = {
    "layout": ('[sources.s]\npath = "data"\nlayout = {}\n', "{{ vars.NAME }}"),
    "where": ('[select.x]\nlevel = "image"\nwhere = {}\n', ":NAME"),
    "port": ('[nodes.n]\nae_title = "N"\nhost = "h"\nport = {}\n', "The environment"),
    "ae_title": ('[nodes.n]\nae_title = {}\nhost = "h"\nport = 104\n', "The environment"),
    "listen host": ('[listen.x]\nae_title = "N"\nport = 104\ninto = "s"\nhost = {}\n', "The environment"),
    "mode": ('[copy.x]\nselect = "s"\nto = "x"\nmode = {}\n', "The environment"),
    "hash": ("[index]\nhash = {}\n", "The environment"),
    "params": ('[select.x]\nlevel = "image"\nwhere = "1"\nparams = {{ a = {} }}\n', ":NAME"),
}


@pytest.mark.parametrize("key", TAKES)
def test_check_accepts_an_environment_variable(workplace: Workplace, monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    monkeypatch.setenv("TEST_VALUE", "value")
    done = workplace.rules(TAKES[key].format('{ env = "TEST_VALUE" }')).run("check")
    assert (done.code, done.err) == (0, "")


@pytest.mark.parametrize("key", TAKES_NOT)
def test_check_refuses_an_environment_variable_elsewhere(workplace: Workplace, key: str) -> None:
    text, hint = TAKES_NOT[key]
    done = workplace.rules(text.format('{ env = "TEST_VALUE" }')).run("check")
    assert done.code == 2
    assert hint in done.err, done.err
