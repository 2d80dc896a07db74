"""`check --format github`: errors as workflow commands, which GitHub shows beside the lines of a pull request."""

import sys
from collections.abc import Sequence

from pyconquest_rules.errors import MOST_TOLD, Problem
from pyconquest_rules.render.console import Console

IN_MESSAGES = {"%": "%25", "\r": "%0D", "\n": "%0A"}
IN_PROPERTIES = {**IN_MESSAGES, ":": "%3A", ",": "%2C"}


class GitHub(Console):
    """The console, with errors as workflow commands on standard output."""

    def problems(self, problems: Sequence[Problem]) -> None:
        """Print a command for each of the first errors of a rules file, and for the number of the others."""
        for problem in problems[:MOST_TOLD]:
            end = problem.column + problem.length - 1
            place = {"file": problem.file, "line": problem.line, "col": problem.column, "endColumn": end}
            _command(f"{problem.message}\n{problem.hint}" if problem.hint else problem.message, place)
        if len(problems) > MOST_TOLD:
            _command(f"and {len(problems) - MOST_TOLD} more", {})

    def error(self, message: str, exit_code: int) -> None:
        """Print an error without a position."""
        _command(message, {})


def _command(message: str, properties: dict[str, object]) -> None:
    listed = ",".join(f"{name}={_escaped(str(value), IN_PROPERTIES)}" for name, value in properties.items())
    sys.stdout.write(f"::error{' ' if listed else ''}{listed}::{_escaped(message, IN_MESSAGES)}\n")


def _escaped(text: str, by: dict[str, str]) -> str:
    # A byte of a file name that is not UTF-8 cannot be written.
    return text.translate({ord(each): code for each, code in by.items()}).encode(errors="replace").decode()
