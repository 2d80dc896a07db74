"""Runs that an error ends: the history has them, with the reason."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pyconquest_rules.disk.state_folder import FOLDER
from pyconquest_rules.engine.ledger import Ledger
from pyconquest_rules.engine.runner import Result
from pyconquest_rules.errors import DatabaseError, Error, RulesError, UsageError
from pyconquest_rules.kinds.all import outcomes


@contextmanager
def remembered(base: Path, targets: tuple[str, ...]) -> Iterator[Result]:
    """Yields the result of a run, whose number is 0 until it begins. If an error ends it, the history has the reason.

    `base` is the folder of the rules file. If the rules are invalid, and nothing was ever done there, nothing is written.
    """
    result = Result.of(outcomes())
    try:
        yield result
    except (Exception, KeyboardInterrupt) as error:
        if (base / FOLDER).is_dir() or not isinstance(error, RulesError | UsageError):
            with suppress(DatabaseError, OSError, sqlite3.Error), Ledger(base, write=True) as ledger:
                ledger.runs.note_end(result.run, " ".join(targets), result.counts, reason(error))
        raise


def reason(error: BaseException) -> str:
    """Return what an error means, on one line, without a value of a patient: no text of an error that is not ours or SQLite's."""
    match error:
        case RulesError():
            return "the rules are not valid: " + str(error).partition("\n")[0]
        case Error() | sqlite3.Error():
            return str(error).partition("\n")[0]
        case OSError(errno=int(number)) if number:  # its text has a path in it, which may name a patient
            return os.strerror(number)
        case KeyboardInterrupt():
            return "interrupted"
    return f"an error of the program itself: {type(error).__name__}"
