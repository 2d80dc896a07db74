"""Files made to do harm: indexed, and copied by templates on the values that are their weapons."""

import json
import os
import resource
import subprocess
import sys
from base64 import b64decode, b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Workplace

TEMPLATES = (
    "{{ PatientID }}/{{ SOPInstanceUID }}.dcm",
    "{{ PatientID | default('none') }}/{{ SOPInstanceUID }}.dcm",
    "{{ SeriesDescription }}/{{ SOPInstanceUID }}.dcm",
    "{{ PatientName }}/{{ StudyDescription }}/{{ Modality }}{{ InstanceNumber }}",
    "{{ SOPInstanceUID }}/{{ PatientID }}.dcm",
    "{{ StudyInstanceUID }}-{{ SeriesInstanceUID }}_{{ PatientName | lower }}",
    "{{ StudyDate | default('x') }}{{ StudyDescription | truncate(200) }}",
)

# Some have the SOPInstanceUIDs of good files: of a source that comes later they are the ones that are refused.
RULES = """
outputs = ["{out}/a/b/c/dest"]
[sources.good]
path = "{out}/src"
exclude = ["mutant/**", "nondicom/**"]
[sources.mutants]
path = "{out}/src/mutant"
[sources.strangers]
path = "{out}/src/nondicom"
[select.everything]
level = "image"
where = "1"
"""

SECONDS, A_FILE, BYTES = 180, 5, 512 << 20


@pytest.fixture
def hostile(request: pytest.FixtureRequest, workplace: Workplace, shared: Path) -> Path:
    """The folder with the hostile tree; with `--torture` all of it."""
    number = "10000" if request.config.getoption("torture") else "1500"
    out = workplace.folder / "hostile"
    make = [sys.executable, str(shared / "hostile/hostile.py"), "make", str(out), "--count", number]
    subprocess.run(make, check=True, capture_output=True)
    actions = (
        f'[copy.t{number}]\nselect = "everything"\nto = """{out}/a/b/c/dest/{number}/{template}"""\n'
        for number, template in enumerate(TEMPLATES)
    )
    workplace.rules(RULES.format(out=out) + "".join(actions))
    return out


def limited(workplace: Workplace, *arguments: str) -> dict[str, Any]:
    """Runs a command that may not take longer, nor more memory, than it should; gives its summary."""
    command = [sys.executable, "-m", "pyconquest_rules", *arguments, "--json"]
    process = subprocess.Popen(command, cwd=workplace.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    resource.prlimit(process.pid, resource.RLIMIT_CPU, (SECONDS, SECONDS))
    out, err = process.communicate()
    assert process.returncode in (0, 1), err
    assert "bug in the program" not in err
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 <= BYTES
    summary: dict[str, Any] = json.loads(out.splitlines()[-1])
    return summary


def checked(shared: Path, out: Path, *options: str) -> str:
    """What the script says that made the files; "" where it has nothing to say against us."""
    command = [sys.executable, str(shared / "hostile/hostile.py"), "check", str(out), str(out / "a/b/c/dest"), *options]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    return done.stdout if done.returncode else ""


def test_nothing_is_harmed_and_everything_is_told(workplace: Workplace, shared: Path, hostile: Path) -> None:
    limited(workplace, "index", "--report", "report.jsonl")
    plan = limited(workplace, "plan")
    applied = limited(workplace, "apply")
    assert (applied["done"], applied["blocked"], applied["failed"]) == (plan["todo"], plan["blocked"], 0)
    assert applied["done"] > 1000
    assert set(plan["reasons"]) == {"todo:new", "blocked:collision", "blocked:missing-value"}
    assert limited(workplace, "plan")["todo"] == 0
    assert limited(workplace, "verify", "--deep")["ok"] == applied["done"]
    told = workplace.folder / "told.jsonl"
    told.write_text("".join(f"{json.dumps(line)}\n" for line in as_asked_for(workplace.folder / "report.jsonl", hostile)))
    assert checked(shared, hostile, "--report", str(told)) == ""


def as_asked_for(report: Path, out: Path) -> Iterator[dict[str, str]]:
    """Our report as the script wants it: paths below its tree, duplicates as what they are, no file twice, no member."""
    root = os.fsencode(os.path.realpath(out / "src")) + b"/"
    cases = {b64decode(case["path_b64"]) for case in json.loads((out / "expectation.json").read_text())["cases"]}
    for line in map(json.loads, report.read_text().splitlines()):
        path = b64decode(line["path_b64"]).removeprefix(root)
        if b"//" in path:  # the script knows archives, not their members
            continue
        # A path that is too long is told as far down as it could be followed; the case is the folder that it begins in.
        path = path if path in cases else next((case for case in cases if path.startswith(case + b"/")), path)
        outcome = "indexed" if line["outcome"] == "duplicate" else line["outcome"]
        if line["reason"] == "long-SOPInstanceUID":  # the script wants a UID of 65 characters refused; it is indexed and noted
            outcome = "rejected"
        if line["reason"] != "excluded":  # from one source: it is told by another
            yield {**line, "path_b64": b64encode(path).decode(), "outcome": outcome}


# Reads files one after the other, and is killed by the system if one takes longer than so many seconds of a processor.
READ_ALL = """
import os, signal, sys
from pyconquest_rules.headers.header import Reader, Wanted
from pyconquest_rules.headers.opening import Rejected
from pyconquest_rules.index.store.records import records
from pyconquest_rules.app.loading import Rules
from pathlib import Path

reader = Reader(records(Rules.load(Path("rules.toml")).schema).wanted)
for folder, _, names in os.walk(os.fsencode(sys.argv[1])):
    for name in names:
        signal.setitimer(signal.ITIMER_PROF, float(sys.argv[2]))
        try:
            reader.read(os.path.join(folder, name))
        except Rejected:
            pass
"""


def test_no_file_takes_longer_than_it_should(workplace: Workplace, shared: Path) -> None:
    out = workplace.rules("").folder / "hostile"
    make = [sys.executable, str(shared / "hostile/hostile.py"), "make", str(out), "--count", "1500"]
    subprocess.run([*make, "--big"], check=True, capture_output=True)  # a bomb, and a file of gigabytes
    read = [sys.executable, "-c", READ_ALL, str(out / "src"), str(A_FILE)]
    subprocess.run(read, cwd=workplace.folder, check=True)
