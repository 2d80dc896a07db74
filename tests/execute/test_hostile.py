"""Files made to do harm: indexed, and copied by templates on the values that are their weapons."""

import subprocess
import sys
from pathlib import Path

from tests.conftest import Workplace

TEMPLATES = (
    "{{ PatientID | default('none') }}/{{ SOPInstanceUID }}.dcm",
    "{{ SeriesDescription }}/{{ SOPInstanceUID }}.dcm",
    "{{ PatientName }}/{{ StudyDescription }}/{{ Modality }}{{ InstanceNumber }}",
    "{{ SOPInstanceUID }}/{{ PatientID }}.dcm",
    "{{ StudyInstanceUID }}-{{ SeriesInstanceUID }}_{{ PatientName | lower }}",
    "{{ StudyDate | default('x') }}{{ StudyDescription | truncate(200) }}",
)

RULES = """
outputs = ["{out}/a/b/c/dest"]
[sources.hostile]
path = "{out}/src"
[select.everything]
level = "image"
where = "1"
"""


def test_hostile_files(workplace: Workplace, shared: Path) -> None:
    script, out = shared / "hostile/hostile.py", workplace.folder / "hostile"
    subprocess.run([sys.executable, script, "make", out, "--count", "1500"], check=True, capture_output=True)
    actions = (
        f'[copy.t{number}]\nselect = "everything"\nto = """{out}/a/b/c/dest/{number}/{template}"""\n'
        for number, template in enumerate(TEMPLATES)
    )
    workplace.rules(RULES.format(out=out) + "".join(actions))
    plan = workplace.run("plan", "--json").summary
    applied = workplace.run("apply", "--json").summary
    assert (applied["done"], applied["blocked"], applied["failed"]) == (plan["todo"], plan["blocked"], 0)
    assert applied["done"] > 1000
    assert set(plan["reasons"]) == {"todo:new", "blocked:collision", "blocked:missing-value"}

    assert workplace.run("plan", "--json").summary["todo"] == 0
    assert workplace.run("verify", "--deep").code == 0
    destination = out / "a/b/c/dest"
    checked = subprocess.run([sys.executable, script, "check", out, destination], check=False, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout
