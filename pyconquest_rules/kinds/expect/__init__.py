"""`[expect.NAME]`: what the data must be like before actions use it."""

from typing import TYPE_CHECKING

from pyconquest_rules.engine.assertions import Assertion
from pyconquest_rules.kinds.kind import AssertingKind

if TYPE_CHECKING:
    from pyconquest_rules.index.query.selection import Sets
    from pyconquest_rules.kinds.expect.rule import Expect
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

    def assertion(self, name: str, table: "Expect", rules: "Rules", sets: "Sets") -> Assertion:
        """Return the assertion of an expectation."""
        return Assertion(name, table.query, rules.values, table.max_rows, table.severity == "error", table.blocks)
