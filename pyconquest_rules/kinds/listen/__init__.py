"""`[listen.NAME]`: receive instances from nodes into a source."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pyconquest_rules.rules.kinds import TableKind

if TYPE_CHECKING:
    from pyconquest_rules.kinds.listen.rule import Listen


class ListenKind(TableKind["Listen"]):
    """`[listen.NAME]`."""

    name = "listen"
    summary = "Where and how instances are received."
    acts = False

    @property
    def model(self) -> type["Listen"]:
        """Return the class of its tables."""
        from pyconquest_rules.kinds.listen.rule import Listen

        return Listen

    def bound(self, table: "Listen", base: Path, params: Mapping[str, str]) -> "Listen":
        """Return the listener with file paths relative to `base`."""
        return table.below(base)
