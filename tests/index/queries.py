"""Rows of queries of the index."""

from typing import Any

from tests.conftest import Workplace


def tuples(workplace: Workplace, sql: str) -> list[tuple[Any, ...]]:
    done = workplace.run("query", sql, "--json")
    assert done.code == 0, done.err
    return [tuple(line["values"].values()) for line in done.lines[:-1]]


RULES = """
[sources.archive]
path = "{path}"
"""


def rows(workplace: Workplace, query: str) -> list[dict[str, object]]:
    done = workplace.run("query", query, "--json")
    assert done.code == 0, done.err
    return [line["values"] for line in done.lines[:-1]]
