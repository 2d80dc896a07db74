"""Numbers of IS and DS: texts that pydicom reads in its default mode are numbers in the views, all others are text."""

import math
from pathlib import Path
from random import Random

import pydicom
import pytest

from tests.conftest import Workplace
from tests.index.queries import tuples
from tests.index.written import put

RULES = '[sources.data]\npath = "data"\n'
KEYWORDS = {"IS": "InstanceNumber", "DS": "SliceThickness"}

# Python takes these for numbers, but SQLite does not hold them or no other reader knows them: text, as docs/rules.md says.
TEXTS = ["NaN", "nan", "inf", "-inf", "Infinity", "1e400", "1_000", "1_0.5", "\x0b5", "5\x0c", "\xa05", "\x1c5"]

VALUES = [
    *("1,5", "1.0", "1e3", "1E3", "+5", " 5 ", "0x1F", "1.5.2", "1.5", "-0", "007", "1.", ".5", "-.5", "+.5e-2", "1.e3", ".e3"),
    *("1e", "1e+", "e5", "1e-2", "10e-1", "1d3", "--5", "5-", "- 5", "1 2", "5\n", "\t5", "5\r\n", " \t5 \n", "1\n2", "5 e3"),
    *("99999999999999999999", "2147483648", "0\xb2", "five", "5mm", "1/2", "1,000.5", ".", "+", "-", "1+1", "1e5.5", "1e+-5"),
    *(
        "5%",
        "$5",
        "(5)",
        "1:2",
        "0b1",
        "0o7",
        "1e0",
        "1e+2",
        "1.5e",
        "1..5",
        "..5",
        "5..",
        "+ 5",
        "++5",
        "1e 5",
        "e",
        "E1",
        "1ee1",
    ),
]


def pydicom_reads(file: Path, keyword: str) -> object:
    """Return the number that pydicom reads, if it is finite; None for text and unreadable values."""
    try:
        value = pydicom.dcmread(file).get(keyword)
    except (ValueError, OverflowError):  # an IS with an exponent of hundreds
        return None
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def in_the_view(workplace: Workplace, values: list[str]) -> dict[str, list[object]]:
    """Return each value as IS and as DS in the view `images`, by the name of its file."""
    for number, value in enumerate(values, start=1):
        put(workplace, f"{number:05}.dcm", number, {keyword: (vr, value) for vr, keyword in KEYWORDS.items()})
    assert workplace.rules(RULES).run("index", "--json").summary["indexed"] == len(values)
    found = tuples(workplace, f"select ObjectFile, {', '.join(KEYWORDS.values())} from images order by 1")
    return {file: numbers for file, *numbers in found}


def random_values(seed: int, number: int) -> list[str]:
    """Texts that are almost numbers."""
    random = Random(seed)
    return ["".join(random.choices("0123456789.+-eE, \t\n", k=random.randint(1, 7))) for _ in range(number)]


@pytest.mark.filterwarnings("ignore:Invalid value", "ignore:The value length", "ignore:Value ")
@pytest.mark.parametrize("values", [VALUES, random_values(1, 300), random_values(2, 300)], ids=["chosen", "seed 1", "seed 2"])
def test_numbers_are_those_that_pydicom_reads(workplace: Workplace, values: list[str]) -> None:
    values = [value for value in values if value.strip(" ")]
    for (file, ours), value in zip(in_the_view(workplace, values).items(), values, strict=True):
        theirs = [pydicom_reads(workplace.folder / "data" / file, keyword) for keyword in KEYWORDS.values()]
        assert ours == [value.strip(" ") if number is None else number for number in theirs], repr(value)


def test_text_that_no_other_reader_takes_for_a_number_is_text(workplace: Workplace) -> None:
    found = in_the_view(workplace, TEXTS)
    assert [*found.values()] == [[value, value] for value in TEXTS]


@pytest.mark.parametrize("value", ["1,5", "1.5.2", "0x1F", "NaN", "five"])
def test_text_in_place_of_a_number_cannot_be_compared_in_a_template(workplace: Workplace, value: str) -> None:
    put(workplace, "1.dcm", 1, {"SliceThickness": ("DS", value)})
    to = "out/{% if SliceThickness > 1 %}thick{% else %}thin{% endif %}/{{ SOPInstanceUID }}.dcm"
    action = f'[select.all]\nlevel = "image"\nwhere = "true"\n[copy.c]\nselect = "all"\nto = "{to}"\n'
    plan = workplace.rules(f'outputs = ["out"]\n{RULES}{action}').run("plan", "--list", "--json")
    step = plan.lines[0]
    assert (plan.code, step["status"], step["reason"]) == (1, "blocked", "bad-value")
    assert step["message"] == "SliceThickness cannot be compared: one side is a number, the other a text"
