"""From the text of a rules file to Rules, or to all of its mistakes at once."""

import os
from collections.abc import Mapping, Sequence
from errno import EFBIG
from io import BytesIO, TextIOWrapper
from pathlib import Path
from typing import Any

from pyconquest_rules.disk.named_files import read_named
from pyconquest_rules.errors import RulesError, UsageError
from pyconquest_rules.rules.check import checked
from pyconquest_rules.rules.kinds import TableKind
from pyconquest_rules.rules.limits import beyond
from pyconquest_rules.rules.model import form
from pyconquest_rules.rules.places import Places
from pyconquest_rules.rules.problems import Problems
from pyconquest_rules.rules.rules import Rules
from pyconquest_rules.rules.syntax import parsed
from pyconquest_rules.rules.validation import validated

LARGEST = 1 << 20


def load(
    file: Path,
    kinds: Sequence[TableKind[Any]],
    environment: Mapping[str, str] = os.environ,
    database: Path | None = None,
) -> Rules:
    """Return the rules of a file, checked without data or network. `database` takes the place of the index that they name.

    Raises RulesError with every mistake, UsageError where there is no such file.
    """
    source = _text(file)
    shown = min(os.path.relpath(file), str(file), key=len)
    places, allowed = Places(shown, source, _document(file, shown, source)), form(kinds)
    if too_much := beyond(places):
        raise RulesError(too_much)
    rules_file, problems = validated(places, allowed, environment)
    if rules_file is None:
        raise RulesError(problems)
    return checked(file, rules_file, kinds, allowed, places, Problems(problems), database)


def _text(file: Path) -> str:
    try:
        data = read_named(file, file.parent, LARGEST)
        # Some editors begin UTF-8 with a mark that TOML does not know.
        return TextIOWrapper(BytesIO(data), encoding="utf-8-sig").read()
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise UsageError(f"{file} is not UTF-8 text (line {line})") from None
    except OSError as error:
        if error.errno == EFBIG:
            raise UsageError(f"{file} is larger than {LARGEST} bytes, which no rules file is") from None
        raise UsageError(f"cannot read the rules file {file}: {error.strerror}") from None


def _document(file: Path, shown: str, source: str) -> dict[str, Any]:
    """The document of a TOML text. Raises RulesError at the first place where it is none.

    A link can come with the rules of a stranger and lead to a secret beside them. Of what a link leads to no text is shown
    unless it is a rules file: then UsageError is raised.
    """
    try:
        document = parsed(shown, source)
    except RulesError:
        if not file.is_symlink():
            raise
        document = {}
    if "rules_version" not in document and file.is_symlink():
        raise UsageError(f"{file} is a link to a file that is not a valid rules file; name the file itself with -f")
    return document
