"""The rules, with the kinds of tables that this program has."""

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Self

from pyconquest_rules.errors import Problem, RulesError
from pyconquest_rules.kinds.all import kinds
from pyconquest_rules.rules import loader, rules
from pyconquest_rules.rules.profiles import Choice


class Rules(rules.Rules):
    """A rules file, checked. `load` reads one."""

    __slots__ = ()

    @classmethod
    def load(
        cls,
        path: str | Path,
        database: Path | None = None,
        environment: Mapping[str, str] = os.environ,
        choice: Choice = loader.NOTHING,
    ) -> Self:
        """Return the rules of a file. `database` replaces the path of the index in the rules.

        `environment` has the values of `{ env = "NAME" }`. `choice` is that of `--profile` and `--var`.
        Raises RulesError with every error of the file, and UsageError if the file cannot be read or lacks what `choice` names.
        """
        return loader.load(Path(path), kinds(), cls, environment, database, choice)


def check(path: Path, database: Path | None = None, choice: Choice = loader.NOTHING) -> Rules:
    """Return the rules of a file. If no profile is chosen, check them with each of their profiles too.

    Raises as `Rules.load` does. An error that only a profile has names it.
    """
    loaded, problems = Rules.load(path, database, choice=choice), list[Problem]()
    for profile in loaded.profiles if choice.profile is None else ():
        try:
            Rules.load(path, database, choice=replace(choice, profile=profile))
        except RulesError as error:
            problems += (replace(each, message=f"{each.message}, with --profile {profile}") for each in error.problems)
    if problems:
        raise RulesError(problems)
    return loaded
