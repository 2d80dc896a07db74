"""The rules, with the kinds of tables that this program has."""

import os
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path

from pyconquest_rules.kinds.all import kinds
from pyconquest_rules.rules import loader, rules


class Rules(rules.Rules):
    """A rules file, checked. `load` reads one."""

    __slots__ = ()

    @staticmethod
    def load(path: str | Path, database: Path | None = None) -> "Rules":
        """Return the rules of a file, on the index `database` if one is named.

        Raises RulesError with every mistake, UsageError if there is no such file.
        """
        return load(Path(path), database=database)


def load(file: Path, environment: Mapping[str, str] = os.environ, database: Path | None = None) -> Rules:
    """Return the same; `{ env = "X" }` is of `environment`."""
    checked = loader.load(file, kinds(), environment, database)
    return Rules(**{field.name: getattr(checked, field.name) for field in fields(checked)})
