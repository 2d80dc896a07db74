"""The rules, with the kinds of tables that this program has."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from pyconquest_rules.kinds.all import kinds
from pyconquest_rules.rules import loader, rules


class Rules(rules.Rules):
    """A rules file, checked. `load` reads one."""

    __slots__ = ()

    @classmethod
    def load(cls, path: str | Path, database: Path | None = None, environment: Mapping[str, str] = os.environ) -> Self:
        """Return the rules of a file. `database` replaces the path of the index in the rules.

        `environment` has the values of `{ env = "NAME" }`.
        Raises RulesError with every error of the file, and UsageError if the file cannot be read.
        """
        return loader.load(Path(path), kinds(), cls, environment, database)
