"""`[archive.NAME]`: what `check` reports."""

import pytest

from tests.conftest import Workplace

RULES = """
outputs = ["out"]

[sources.archive]
path = "data"

[select.scans]
level = "series"
query = "select SeriesInstanceUID, PatientID as subject from series where Modality = 'CT'"

[archive.packed]
select = "scans"
to = "out/{{ subject }}.zip"
member = "{{ Modality }}/{{ SOPInstanceUID }}.dcm"
"""
MEMBER = 'member = "{{ Modality }}/{{ SOPInstanceUID }}.dcm"'


@pytest.mark.parametrize(
    ("before", "after", "place", "message"),
    [
        ('select = "scans"', 'select = "scan"', "13:10", 'did you mean "scans"?'),
        ("{{ subject }}.zip", "{{ subjects }}.zip", "14:14", 'did you mean "subject"?'),
        ("{{ subject }}.zip", "{{ subject }}.zip.gz", "14:6", "an archive ends with .zip or .tar"),
        ("{{ subject }}.zip", "{{ subject }}", "14:6", "an archive ends with .zip or .tar"),
        ("out/{{ subject }}.zip", "other/{{ subject }}.zip", "14:7", 'it must be below "out"'),
        (MEMBER, 'members = "x"', "15:1", 'did you mean "member"?'),
        (MEMBER, "", "12:10", '"member" is missing'),
        (MEMBER, 'member = ""', "15:10", "must not be empty"),
        (MEMBER, 'member = "/{{ SOPInstanceUID }}.dcm"', "15:10", "the name of a member is relative"),
        (MEMBER, 'member = "a/../{{ SOPInstanceUID }}.dcm"', "15:10", '".." is not a safe part of a name'),
        (MEMBER, 'member = "a:b/{{ SOPInstanceUID }}.dcm"', "15:10", '"a:b" is not a safe part of a name'),
        (MEMBER, "member = 'a\\{{ SOPInstanceUID }}.dcm'", "15:10", '"a\\x.dcm" is not a safe part of a name'),
        (MEMBER, 'member = "nul/{{ SOPInstanceUID }}.dcm"', "15:10", '"nul" is not a safe part of a name'),
        (MEMBER, 'member = "{{ SOPInstanceUid }}.dcm"', "15:14", 'did you mean "SOPInstanceUID"?'),
        (MEMBER, 'member = "{{ SOPInstanceUID "', "15:10", "template"),
        (MEMBER, 'member = "{{ Modality }}/"', "15:10", "it ends with a folder"),
        (MEMBER, f"{MEMBER}\ndicomdir = true", "15:1", "dicomdir = true cannot have member"),
        (MEMBER, 'dicomdir = "yes"', "15:12", "must be true or false"),
        (MEMBER, f'{MEMBER}\non_conflict = "rename"', "16:15", 'an archive cannot have on_conflict = "rename"'),
        (MEMBER, f'{MEMBER}\nneeds = ["archive.other"]', "16:10", 'unknown action "archive.other"'),
        (MEMBER, f'{MEMBER}\ntags = ["{{{{ subject }}}}"]', "16:10", "member of [archive]"),
    ],
)
def test_is_checked_with_places(workplace: Workplace, before: str, after: str, place: str, message: str) -> None:
    assert before in RULES
    done = workplace.rules(RULES.replace(before, after, 1)).run("check")
    assert done.code == 2
    assert f"rules.toml:{place}: " in done.err, done.err
    assert message in done.err, done.err


@pytest.mark.parametrize(
    "member",
    [
        "{{ SOPInstanceUID }}",
        "a/./b//{{ SOPInstanceUID }}.dcm",
        "{% if Modality == 'CT' %}ct{% else %}x{% endif %}/{{ SOPInstanceUID }}",
    ],
)
def test_accepts_any_safe_name(workplace: Workplace, member: str) -> None:
    assert workplace.rules(RULES.replace(MEMBER, f'member = "{member}"')).run("check").code == 0
