"""`dicom_sql` of `[index]`: read the table layout of Conquest.

The rules may come from a stranger and name a file that is secret. So messages show its text only if it is a dicom.sql.
"""

from io import BytesIO, TextIOWrapper
from pathlib import Path
from typing import NamedTuple

from pyconquest_rules.disk.named_files import is_inside, read_named
from pyconquest_rules.errors import Problem, RulesError
from pyconquest_rules.index.conquest.dicom_sql import Layout, is_dicom_sql, parse, standard_text
from pyconquest_rules.rules.model import RulesFile
from pyconquest_rules.rules.places import Places

LARGEST = 1 << 20
STANDARD = "remove dicom_sql to use the standard layout"
HOW_TO_SHOW = "its text is shown only if it is below the folder of the rules file and begins with a section such as *Patient*"


class Read(NamedTuple):
    """The text of a dicom.sql, its table layout, which is None if it is invalid, and the problems."""

    text: str
    layout: Layout | None
    problems: tuple[Problem, ...] = ()


def read(rules_file: RulesFile, base: Path, places: Places) -> Read:
    """Return the table layout that the rules name, or else the standard one."""
    text, name = standard_text(), rules_file.index.dicom_sql
    if name is None:
        is_wrong = "dicom_sql" in places.document.get("index", {})
        return Read(text, None if is_wrong else parse(text))
    shown = places.written(("index", "dicom_sql"), name)
    try:
        text = TextIOWrapper(BytesIO(read_named(base / name, base, LARGEST)), encoding="utf-8").read()
        return Read(text, parse(text, shown))
    except RulesError as error:
        if is_inside(base / name, base) and is_dicom_sql(text):
            return Read(text, None, error.problems)
        # The position is shown, but neither the line nor the invalid word.
        first = error.problems[0]
        message, hint = f'"{shown}" is not a valid dicom.sql (line {first.line}, column {first.column})', HOW_TO_SHOW
    except OSError as error:
        message, hint = f'cannot read "{shown}": {error.strerror}', STANDARD
    except UnicodeDecodeError:
        message, hint = f'cannot read "{shown}": it is not UTF-8 text', STANDARD
    return Read(text, None, (places.at_value(("index", "dicom_sql"), message, hint),))
