"""From the text of a rules file to Rules, or to all of its mistakes at once."""

import os
from collections.abc import Mapping
from io import BytesIO, TextIOWrapper
from pathlib import Path

from pyconquest_rules.errors import RulesError, UsageError
from pyconquest_rules.rules.check import Check
from pyconquest_rules.rules.limits import beyond
from pyconquest_rules.rules.places import Places
from pyconquest_rules.rules.rules import Rules
from pyconquest_rules.rules.syntax import parsed
from pyconquest_rules.rules.validation import validated

LARGEST = 1 << 20


def load(file: Path, environment: Mapping[str, str] = os.environ) -> Rules:
    """The rules of a file, checked without data or network.

    Raises RulesError with every mistake, UsageError where there is no such file.
    """
    source = _text(file)
    shown = min(os.path.relpath(file), str(file), key=len)
    places = Places(shown, source, parsed(shown, source))
    if too_much := beyond(places):
        raise RulesError(too_much)
    model, problems = validated(places, environment)
    if model is None:
        raise RulesError(problems)
    check = Check(file, model, places)
    if problems or check.problems:
        raise RulesError([*problems, *check.problems])
    return check.rules()


def _text(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            data = opened.read(LARGEST + 1)
        if len(data) > LARGEST:
            raise UsageError(f"{file} is larger than {LARGEST} bytes, which no rules file is")
        # Some editors begin UTF-8 with a mark that TOML does not know.
        return TextIOWrapper(BytesIO(data), encoding="utf-8-sig").read()
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise UsageError(f"{file} is not UTF-8 text (line {line})") from None
    except OSError as error:
        raise UsageError(f"cannot read the rules file {file}: {os.strerror(error.errno or 0)}") from None
