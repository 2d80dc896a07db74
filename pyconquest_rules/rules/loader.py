"""Load a rules file: parse it, check it, and report all its errors at once."""

import os
from collections.abc import Mapping, Sequence
from errno import EFBIG
from io import BytesIO, TextIOWrapper
from pathlib import Path
from typing import Any, TypeVar

from pyconquest_rules.disk.named_files import read_named
from pyconquest_rules.errors import RulesError, UsageError
from pyconquest_rules.rules.check import checked
from pyconquest_rules.rules.including import LARGEST, joined
from pyconquest_rules.rules.kinds import TableKind
from pyconquest_rules.rules.limits import beyond
from pyconquest_rules.rules.model import form
from pyconquest_rules.rules.places import Places
from pyconquest_rules.rules.problems import Problems
from pyconquest_rules.rules.profiles import Choice, applied
from pyconquest_rules.rules.rules import Rules
from pyconquest_rules.rules.syntax import parsed
from pyconquest_rules.rules.validation import validated

NOTHING = Choice()
R = TypeVar("R", bound=Rules)


def load(
    file: Path,
    kinds: Sequence[TableKind[Any]],
    make: type[R],
    environment: Mapping[str, str] = os.environ,
    database: Path | None = None,
    choice: Choice = NOTHING,
) -> R:
    """Return the rules of a file, as the class `make`. They are checked without data and without a network.

    The rules may have tables of `kinds`. `environment` has the values of `{ env = "NAME" }`. `database` replaces the path of
    the index in the rules. `choice` replaces values of variables and leaves actions out.
    Raises RulesError with every error of the file, and UsageError if the file cannot be read or lacks what `choice` names.
    """
    source = _text(file)
    shown = min(os.path.relpath(file), str(file), key=len)
    places, allowed = Places(shown, source, _document(file, shown, source)), form(kinds)
    places = joined(places, file, len(source.encode()))
    if too_much := beyond(places):
        raise RulesError(too_much)
    places = applied(choice, places)
    rules_file, problems = validated(places, allowed, environment)
    if rules_file is None:
        raise RulesError(problems)
    return checked(file, rules_file, kinds, allowed, places, Problems(problems), make, database, choice.profile)


def _text(file: Path) -> str:
    try:
        data = read_named(file, file.parent, LARGEST)
        # Some editors write a byte order mark, which TOML does not allow.
        return TextIOWrapper(BytesIO(data), encoding="utf-8-sig").read()
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise UsageError(f"{file} is not UTF-8 text (line {line}); save it as UTF-8") from None
    except OSError as error:
        if error.errno == EFBIG:
            raise UsageError(f"{file} is larger than {LARGEST} bytes; a rules file must be smaller") from None
        raise UsageError(f"cannot read the rules file {file}: {error.strerror}") from None


def _document(file: Path, shown: str, source: str) -> dict[str, Any]:
    """Return the document of a TOML text. Raises RulesError if it is not valid TOML.

    If the file is a link to anything but a rules file, UsageError is raised instead, without text of the file: a stranger's
    rules may come with a link to a secret.
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
