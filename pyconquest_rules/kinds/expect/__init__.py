"""`[expect.NAME]`: what the data must be like before actions use it."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pyconquest_rules.engine.assertions import Assertion
from pyconquest_rules.kinds.kind import AssertingKind

if TYPE_CHECKING:
    from pyconquest_rules.errors import Problem
    from pyconquest_rules.index.query.selection import Sets
    from pyconquest_rules.kinds.expect.rule import Expect
    from pyconquest_rules.rules.kinds import Seen
    from pyconquest_rules.rules.positions import Path
    from pyconquest_rules.rules.rules import Rules


class ExpectKind(AssertingKind["Expect"]):
    """`[expect.NAME]`."""

    name = "expect"
    summary = "Expectations about the data, which hold back actions if they fail."
    acts = False

    @property
    def model(self) -> type["Expect"]:
        """Return the class of its tables."""
        from pyconquest_rules.kinds.expect.rule import Expect

        return Expect

    def check(self, table: "Expect", place: "Path", seen: "Seen") -> "Iterator[Problem]":
        """Yield keys that do not belong together, and builtins that do not fit their set."""
        from pyconquest_rules.kinds.expect.rule import check

        return check(table, place, seen)

    def holds(self, table: "Expect") -> tuple[str, ...] | None:
        """Return the actions that an expectation blocks."""
        return table.blocks

    def assertion(self, name: str, table: "Expect", rules: "Rules", sets: "Sets") -> Assertion:
        """Return the assertion of an expectation."""
        from pyconquest_rules.kinds.expect.rule import made

        query = made(table, sets, {each.name: each.key for each in rules.tables})
        text, params = query or (table.query or "", rules.values)
        return Assertion(name, text, params, table.max_rows, table.severity == "error")
