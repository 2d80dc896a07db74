"""The preset `conquest` compared with the paths that a Conquest server gave to the same values (../shared/conquest)."""

import re
from hashlib import sha256
from pathlib import Path
from shutil import copy

import pydicom
import pytest

from tests.conftest import REPOSITORY, Instance, Workplace

PRESET = (REPOSITORY / "pyconquest_rules/presets/conquest.toml").read_text(encoding="utf-8")
NUMBERED = {
    int(number): line
    for numbers, line in re.findall(r"^# +([0-9, ]+): +(to = .*)$", PRESET, re.MULTILINE)
    for number in numbers.split(",")
}
CODES = dict(re.findall(r"^#   (%\S+) +(\{\{.*)$", PRESET, re.MULTILINE))
# The number of letters that stand for the time of arrival.
TIMES = {0: 10, **dict.fromkeys(range(1, 6), 14)}
MANUFACTURER = CODES["%V0008,0070"]
FREE = {
    17: f"{MANUFACTURER}/{MANUFACTURER}/{{{{ SeriesDescription | default('unknown') }}}}/{{{{ SOPInstanceUID }}}}.dcm",
    18: "{{ id | truncate(4) }}_ID_Name_foo/{{ SeriesInstanceUID }}.dcm",
    19: "{{ name }}/{{ Group | default('unknown') }}_{{ SOPInstanceUID }}.dcm",
}
GROUP = '[[schema.image]]\ncolumn = "Group"\ntag = "FractionGroupSequence[0].FractionGroupNumber"\n'
UIDS = ("1.2.3.4.5.1", "1.2.777.777.77.7.7777.7777.20030903150023")


@pytest.fixture
def received(workplace: Workplace, instance: Instance) -> Workplace:
    """A workplace with two instances of the values that the server received, and the preset."""
    instance(
        "data/image.dcm",
        **{"PatientName": "Van der Berg^Jo?hn, X ", "PatientID": "A B.C/1234567890123456789..."},
        **{"StudyInstanceUID": "1.2.3.1", "StudyID": "ST/1 2", "StudyDate": "20040119"},
        **{"StudyDescription": "Chest, routine; w contrast", "Manufacturer": "GE MEDICAL SYSTEMS"},
        **{"SeriesInstanceUID": "1.2.3.1.7", "SeriesNumber": 7, "SOPInstanceUID": UIDS[0], "InstanceNumber": 42},
    )
    copy(REPOSITORY / "examples/quickstart/data/clinic/rtplan.dcm", workplace.folder / "data")
    assert workplace.run("init", "--preset", "conquest").code == 0
    return workplace


def made(workplace: Workplace, to: str, more: str = "") -> set[str]:
    """Return the paths that the preset gives with another line for `to`."""
    text, replaced = re.subn(r"^to = .*$", lambda _: to, PRESET, flags=re.MULTILINE)
    assert replaced == 1
    (workplace.folder / "rules.toml").write_text(text + more, encoding="utf-8")
    assert workplace.run("check").code == 0, workplace.run("check").err
    assert workplace.run("apply").code == 0
    return set(workplace.files("export"))


def given(shared: Path, number: int) -> tuple[str, set[str]]:
    """Return a FileNameSyntax and the paths that the server gave, with letters of the UID instead of the time of arrival."""
    lines = (shared / "conquest/filenamesyntax_results.txt").read_text(encoding="utf-8").splitlines()
    rows = [line.split("\t") for line in lines if line.startswith(f"{number}\t")]
    assert len(rows) == 2
    paths = set[str]()
    for (*_, path), uid in zip(rows, UIDS, strict=True):
        letters = sha256(uid.encode()).hexdigest()[: TIMES.get(number, 0)]
        timed = re.sub(r"1795331[0-9]{3}([0-9]{4})?(?=\.(?:v2|dcm)$)", letters, path) if letters else path
        paths.add(re.sub(r"\.v2$", ".dcm", timed))
    return rows[0][1], paths


@pytest.mark.parametrize("number", range(13))
def test_a_numbered_syntax_gives_the_tree_of_the_server(received: Workplace, shared: Path, number: int) -> None:
    assert made(received, NUMBERED[number]) == given(shared, number)[1]


@pytest.mark.parametrize("number", [14, 15])
def test_a_syntax_with_codes_becomes_a_template_by_the_table(received: Workplace, shared: Path, number: int) -> None:
    syntax, paths = given(shared, number)
    template = re.sub(r"%[a-z]+(\[[0-9,]+\])?", lambda code: CODES[code[0]], syntax)
    assert made(received, f'to = "export/{template}"') == paths


@pytest.mark.parametrize("number", FREE)
def test_other_codes(received: Workplace, shared: Path, number: int) -> None:
    assert made(received, f'to = "export/{FREE[number]}"', GROUP) == given(shared, number)[1]


def test_the_preset_as_shipped_is_syntax_8(received: Workplace, shared: Path) -> None:
    assert received.run("apply").code == 0
    assert set(received.files("export")) == given(shared, 8)[1]


def test_every_line_of_the_table_is_a_valid_template(received: Workplace) -> None:
    templates = "_".join(CODES.values())
    assert len(CODES) == 18
    assert len(made(received, f'to = "export/{templates}/{{{{ SOPInstanceUID }}}}.dcm"')) == 2


def test_missing_values_and_values_of_special_characters(received: Workplace) -> None:
    for file in (received.folder / "data").iterdir():
        plan = pydicom.dcmread(file)
        plan.PatientName, plan.PatientID = "", " . "
        del plan.StudyID
        plan.save_as(file)
    paths = made(received, NUMBERED[12])
    assert {path.rpartition("/")[0] for path in paths} == {"empty_unknown/CT_empty/7", "empty_unknown/RTPLAN_empty/2"}
