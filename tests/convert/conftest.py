"""A workplace with a small program that converts: it joins the files of a group, and marks what it makes with a number."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Instance, Workplace

SERIES, SLICES = 3, 4
RULES = """
[sources.archive]
path = "data"

[select.scans]
level = "series"
where = "Modality = 'CT'"

[convert.joined]
select = "scans"
command = ["tools/join.sh", "{{ input_list }}", "{{ outputs }}"]
[convert.joined.outputs]
"joined.bin" = "out/{{ PatientID }}/{{ SeriesNumber }}.bin"
"about.txt" = "out/{{ PatientID }}/{{ SeriesNumber }}.txt"
"""

# Each run of a command has a number of its own, so that a test sees which commands ran.
JOIN = """#!/bin/sh
cat /proc/sys/kernel/random/uuid > "$2/about.txt"
cat "$2/about.txt" > "$2/joined.bin"
while read -r file; do cat "$file" >> "$2/joined.bin"; done < "$1"
"""

Script = Callable[[str], None]


@pytest.fixture
def script(workplace: Workplace) -> Script:
    """Write the program."""

    def write(text: str) -> None:
        file = workplace.folder / "tools/join.sh"
        file.parent.mkdir(exist_ok=True)
        file.write_text(text if text.startswith("#!") else f"#!/bin/sh\n{text}\n")
        file.chmod(0o755)

    return write


@pytest.fixture
def converting(workplace: Workplace, instance: Instance, script: Script) -> Workplace:
    """A workplace with three series, of which none is converted yet."""
    for series in range(SERIES):
        for number in range(SLICES):
            add(instance, series, number)
    script(JOIN)
    return workplace.rules(RULES)


def add(instance: Instance, series: int, number: int, **elements: object) -> Path:
    """Write an instance of a series."""
    levels = {
        "SeriesInstanceUID": f"1.2.826.0.1.3680043.10.3.{series}",
        "StudyInstanceUID": f"1.2.826.0.1.3680043.10.2.{series // 2}",
        "SOPInstanceUID": f"1.2.826.0.1.3680043.10.1.{series}.{number}",
        "SeriesNumber": series,
        "InstanceNumber": number,
    }
    return instance(f"data/{series}/{number}.dcm", **{**levels, **elements})
