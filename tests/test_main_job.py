"""The main job of a user: rules, index, plan, apply. The second run does nothing."""

from tests.conftest import Instance, Workplace

RULES = """
[sources.archive]
path = "data"

[select.scans]
level = "series"
where = "Modality = 'CT'"

[copy.export]
select = "scans"
to = "export/{{ PatientID }}/{{ SOPInstanceUID }}.dcm"
"""


def test_copies_once_and_then_does_nothing(workplace: Workplace, instance: Instance) -> None:
    for number in range(3):
        instance(f"data/{number}.dcm")
    workplace.rules(RULES)
    first = workplace.run("apply", "--json")
    assert first.code == 0
    assert first.summary["done"] == 3
    assert sorted(workplace.files("export").values()) == sorted(workplace.files("data").values())
    second = workplace.run("apply", "--json")
    assert (second.code, second.summary["done"], second.summary["unchanged"]) == (0, 0, 3)
    assert workplace.run("plan", "--detailed-exitcode").code == 0
