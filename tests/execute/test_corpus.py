"""The main job on real files: every copy is its source, and the second run writes nothing."""

import os
from pathlib import Path

from tests.conftest import Workplace

FOLDER = "export/{{ PatientID | default('none') }}/{{ StudyInstanceUID }}/{{ SeriesInstanceUID }}"

RULES = """
[index]
accept = ["conflict", "dicomdir", "malformed", "no-SOPInstanceUID", "invalid-SOPInstanceUID", "truncated"]

[sources.corpus]
path = "%s"

[select.mr_and_ct]
level = "series"
where = "Modality in ('MR', 'CT')"

[copy.export]
select = "mr_and_ct"
to = "%s/{{ SOPInstanceUID }}.dcm"
"""

FILES = """
select f.path, i.SOPInstanceUID from images i join rules_files f on f.path = i.ObjectFile and f.device = i.DeviceName
where SeriesInstanceUID in (select SeriesInstanceUID from mr_and_ct)
"""


def everything(folder: Path) -> dict[str, tuple[int, int, int]]:
    """inode, mtime and ctime of all files and folders."""
    found = {path: path.lstat() for path in [folder, *folder.rglob("*")]}
    return {str(path): (status.st_ino, status.st_mtime_ns, status.st_ctime_ns) for path, status in found.items()}


def test_all_mr_and_ct_of_the_corpus(workplace: Workplace, shared: Path) -> None:
    corpus = shared / "corpus"
    workplace.rules(RULES % (corpus, FOLDER))
    first = workplace.run("apply", "--json")
    assert (first.code, first.summary["failed"], first.summary["blocked"]) == (0, 0, 0)
    rows = [row["values"] for row in workplace.run("query", FILES, "--json").lines if row["event"] == "row"]
    assert len(rows) == first.summary["done"] > 50
    copied = {os.path.basename(name): data for name, data in workplace.files("export").items()}
    assert copied == {f"{row['SOPInstanceUID']}.dcm": (corpus / row["path"]).read_bytes() for row in rows}

    before = everything(workplace.folder / "export")
    second = workplace.run("apply", "--json")
    assert (second.code, second.summary["done"], second.summary["unchanged"]) == (0, 0, len(rows))
    assert everything(workplace.folder / "export") == before
    assert workplace.run("plan", "--detailed-exitcode").code == 0
    assert workplace.run("verify", "--deep").code == 0
