"""`check` of `[convert.NAME]`: each error has its position, and the commands of the rules are listed."""

import pytest

from tests.conftest import Workplace

RULES = """\
[sources.archive]
path = "data"
[select.mr]
level = "series"
query = "select SeriesInstanceUID, Modality as subject, min(InstanceNumber) as first from images group by SeriesInstanceUID"
[convert.nii]
select = "mr"
command = ["dcm2niix", "-f", "{{ subject }}", "{{ inputs }}"]
[convert.nii.outputs]
"out.nii" = "nifti/{{ PatientID }}/{{ subject }}.nii"
"""


@pytest.mark.parametrize(
    ("before", "after", "place", "message"),
    [
        ('["dcm2niix", ', '["{{ subject }}", ', "9:16", "the program must be the same for all instances"),
        ('["dcm2niix", ', '["{{ inputs }}/run", ', "9:16", "the program must be the same for all instances"),
        ('["dcm2niix", ', '["", ', "9:12", "the program has no name"),
        ('["dcm2niix", "-f", "{{ subject }}", "{{ inputs }}"]', "[]", "9:11", "must not be empty"),
        ('["dcm2niix", "-f", "{{ subject }}", "{{ inputs }}"]', '"dcm2niix"', "9:11", "must be a list"),
        ("{{ inputs }}", "{{ input }}", "9:51", 'did you mean "inputs"?'),
        ("{{ inputs }}", "{{ inputs", "9:47", "the template cannot be read"),
        ("{{ inputs }}", "{{ subject.upper() }}", "9:64", "templates cannot call functions"),
        (
            '"{{ subject }}", ',
            '"{{ InstanceNumber }}", ',
            "9:34",
            '"InstanceNumber" may differ between the instances of one series',
        ),
        ('"{{ subject }}", ', '"{{ first }}", ', "", ""),
        (
            "{{ subject }}.nii",
            "{{ SOPInstanceUID }}.nii",
            "11:39",
            '"SOPInstanceUID" may differ between the instances of one series',
        ),
        ('select = "mr"', 'select = "mr"\nper = "study"', "", ""),
        ('select = "mr"', 'select = "mr"\nper = "row"', "", ""),
        ('select = "mr"', 'select = "mr"\nper = "image"', "9:7", 'must be "patient", "study", "series" or "row"'),
        ('"out.nii" =', '"../out.nii" =', "11:1", "this is not a file in {{ outputs }}"),
        ('"out.nii" =', '"/etc/passwd" =', "11:1", "this is not a file in {{ outputs }}"),
        ('"out.nii" =', '"a//b" =', "11:1", "this is not a file in {{ outputs }}"),
        ('"out.nii" =', '"*" = "../x"\n"out.nii" =', "11:8", "outside the outputs"),
        ('"out.nii" =', '"*" = "nifti/{{ inputs }}"\n"out.nii" =', "11:17", '"inputs" is neither a column'),
        ('select = "mr"', 'select = "mr"\nenvironment = { HOME = "x" }', "9:17", '"HOME" cannot be set here'),
        ('select = "mr"', 'select = "mr"\nenvironment = { "A=B" = "x" }', "9:17", '"A=B" cannot be set here'),
        ('select = "mr"', 'select = "mr"\nenvironment = { X = "{{ PatientID }}" }', "9:25", "no instance is known yet"),
        ('select = "mr"', 'select = "mr"\nenvironment = { X = "{{ vars.x }}" }', "9:25", 'unknown variable "vars.x"'),
        ('select = "mr"', 'select = "mr"\non_conflict = "rename"', "9:15", "a file of many instances cannot be renamed"),
        ('select = "mr"', 'select = "mr"\njobs = 0', "9:8", "must be greater than or equal to 1"),
        ('select = "mr"', 'select = "mr"\ntimeout = 0', "9:11", "must be greater than 0"),
        ('select = "mr"', 'select = "mr"\nsuccess = []', "9:11", "must not be empty"),
        ('select = "mr"', 'select = "mr"\nshell = true', "9:1", 'unknown key "shell"'),
    ],
)
def test_errors_have_positions(workplace: Workplace, before: str, after: str, place: str, message: str) -> None:
    assert before in RULES
    done = workplace.rules(RULES.replace(before, after, 1)).run("check")
    assert done.code == (2 if place else 0), done.err
    if place:
        assert f"rules.toml:{place}: " in done.err, done.err
        assert message in done.err, done.err


def test_check_lists_the_commands(workplace: Workplace) -> None:
    workplace.rules(RULES)
    done = workplace.run("check")
    assert (done.code, done.out.splitlines()[1:]) == (
        0,
        ["  convert.nii runs, with --allow-commands: dcm2niix -f '{{ subject }}' '{{ inputs }}'"],
    )
    assert workplace.run("check", "--json").summary["commands"] == {
        "convert.nii": ["dcm2niix", "-f", "{{ subject }}", "{{ inputs }}"]
    }
    assert workplace.rules('[sources.a]\npath = "data"\n').run("check", "--json").summary["commands"] == {}


def test_no_value_of_the_environment_is_listed(workplace: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", "a-secret")
    rules = f'[vars]\ntoken = {{ env = "TOKEN" }}\n{RULES}'.replace(
        "[convert.nii.outputs]", 'environment = { T = "{{ vars.token }}" }\n[convert.nii.outputs]'
    )
    done = workplace.rules(rules.replace('"-f"', '"{{ vars.token }}"')).run("check")
    assert done.code == 0, done.err
    assert "a-secret" not in done.out + done.err
