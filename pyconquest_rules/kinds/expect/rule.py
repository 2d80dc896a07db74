"""`[expect.NAME]`: its keys, its checks, and the query that it stands for."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import ConfigDict, Field

from pyconquest_rules.errors import Mistake, Problem
from pyconquest_rules.index.query.selection import SetMistake
from pyconquest_rules.kinds.expect.builtins import BUILTINS
from pyconquest_rules.kinds.expect.builtins.builtin import Given, KeyMistake, Name, Query
from pyconquest_rules.rules.fields import ActionName, Reference, SetName, Sql, Table
from pyconquest_rules.rules.kinds import Seen
from pyconquest_rules.rules.positions import Path

if TYPE_CHECKING:
    from pyconquest_rules.index.query.selection import Sets


class Expect(Table):
    """An expectation about the data: a query for rows that should not be there, or a builtin."""

    model_config = ConfigDict(json_schema_extra={"oneOf": [{"required": ["query"]}, {"required": ["builtin"]}]})

    query: Annotated[Sql | None, Field(description="A SELECT that returns the rows that should not be there.")] = None
    builtin: Annotated[Name | None, Field(description="The name of a builtin expectation, instead of a query.")] = None
    on: Annotated[SetName | None, Field(description="The set that the builtin examines.")] = None
    roi_match: Annotated[
        tuple[str, ...] | None,
        Field(
            min_length=1,
            description="Regular expressions, of which one must match the name of an ROI in each structure set. For `rt-chain`.",
        ),
    ] = None
    table: Annotated[
        Annotated[str, Reference("table", "tables")] | None,
        Field(description="The CSV table, of [tables], whose rows the set must have. For `timepoints`."),
    ] = None
    source: Annotated[
        Annotated[str, Reference("source", "sources")] | None,
        Field(description="The source whose files must be readable. For `readable`."),
    ] = None
    max_share: Annotated[
        float, Field(ge=0, lt=1, description="The share of refused files that is allowed, such as 0.01. For `readable`.")
    ] = 0.0
    severity: Annotated[
        Literal["error", "warn"],
        Field(description='"error": if it fails, the actions of `blocks` are held back. "warn": it is only shown.'),
    ] = "error"
    max_rows: Annotated[int, Field(strict=True, ge=0, description="The most rows that are allowed.")] = 0
    blocks: Annotated[
        tuple[ActionName, ...] | None,
        Field(description="The actions that are held back; if left out, all except retrievals."),
    ] = None


OF_BUILTINS = frozenset({key for builtin in BUILTINS.values() for key in (*builtin.needs, *builtin.takes)})
"""The keys that belong to some builtins only."""


def made(expect: Expect, sets: "Sets", keys: Mapping[str, tuple[str, ...]]) -> Query | None:
    """Return the query of a builtin; None if the expectation has none. `keys` are those of the CSV tables, by name.

    Raises Mistake if a set or a table does not fit the builtin.
    """
    return BUILTINS[expect.builtin].query(Given(expect, sets, keys)) if expect.builtin is not None else None


def check(expect: Expect, place: Path, seen: Seen) -> Iterator[Problem]:
    """Yield a problem for each key that is missing or does not belong to the query or builtin, or the error of the builtin."""
    written = seen.places.at(place)
    if ("query" in written) == ("builtin" in written):
        both = "query" in written
        message = f'the expectation "{place[-1]}" {"has query and builtin" if both else "needs query or builtin"}'
        hint = "keep one of the two" if both else 'for example: builtin = "no-conflicts" and on = "SET"'
        yield seen.places.at_key(place, message, hint)
        return
    if "builtin" in written and expect.builtin is None:
        return  # reported as an unknown builtin
    builtin = BUILTINS[expect.builtin] if expect.builtin is not None else None
    allowed = (*builtin.needs, *builtin.takes) if builtin else ()
    for key in sorted(OF_BUILTINS - {*allowed} & {*written}):
        hint = f"{expect.builtin} has: {', '.join(allowed)}" if builtin else "remove it, or use a builtin instead of the query"
        yield seen.places.at_key((*place, key), f'"{key}" does not belong to {expect.builtin or "a query"}', hint)
    missing = [key for key in (builtin.needs if builtin else ()) if key not in written]
    for key in missing:
        description = Expect.model_fields[key].description
        yield seen.places.at_value((*place, "builtin"), f'"{key}" is missing: {expect.builtin} needs it', description)
    valid = builtin is not None and all(getattr(expect, key) is not None for key in builtin.needs)
    if valid and seen.sets.knows(expect.on, expect.table):
        yield from _compiled(expect, place, seen)


def _compiled(expect: Expect, place: Path, seen: Seen) -> Iterator[Problem]:
    """Yield the error of a builtin on an empty index. An error of a set is reported there."""
    keys = {name: table.key for name, table in seen.tables["tables"].items()}
    try:
        query = made(expect, seen.sets.sets, keys)
        if query is not None:
            seen.sets.sets.counted(".".join(map(str, place)), *query, 0)
    except SetMistake:
        return
    except KeyMistake as mistake:
        yield seen.places.at_value((*place, mistake.key), mistake.message, seen.sets.discreet(mistake).hint)
    except Mistake as mistake:
        yield seen.places.at_value((*place, "builtin"), f"{expect.builtin}: {mistake.message}", mistake.hint)
