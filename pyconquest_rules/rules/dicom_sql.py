"""`dicom_sql` of `[index]`: the layout of the Conquest tables, read with care: the file may be a secret of somebody else's."""

from io import BytesIO, TextIOWrapper
from pathlib import Path
from typing import NamedTuple

from pyconquest_rules.disk.named_files import is_inside, read_named
from pyconquest_rules.errors import Problem, RulesError
from pyconquest_rules.index.conquest.dicom_sql import Layout, is_dicom_sql, parse, standard_text
from pyconquest_rules.rules.model import RulesFile
from pyconquest_rules.rules.places import Places

LARGEST = 1 << 20
HOW_TO_SHOW = "its text is shown only if it lies below the folder of the rules and begins with a section, as *Patient*"


class Read(NamedTuple):
    """The text, its layout, None if it is not known, and what is wrong with it."""

    text: str
    layout: Layout | None
    problems: tuple[Problem, ...] = ()


def read(rules_file: RulesFile, base: Path, places: Places) -> Read:
    """Return the layout that the rules name, the standard one if they name none."""
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
        # Neither the line is shown nor the word that is wrong.
        first = error.problems[0]
        message, hint = f'"{shown}" is not a valid dicom.sql (line {first.line}, column {first.column})', HOW_TO_SHOW
    except OSError as error:
        message, hint = f'cannot read "{shown}": {error.strerror}', "leave dicom_sql out for the standard layout"
    except UnicodeDecodeError:
        message, hint = f'cannot read "{shown}": it is not UTF-8 text', "leave dicom_sql out for the standard layout"
    return Read(text, None, (places.at_value(("index", "dicom_sql"), message, hint),))
