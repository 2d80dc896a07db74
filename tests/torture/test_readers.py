"""Odd and changed files, read by us, by DCMTK's dcmdump and by pydicom: what both read is not refused, and has their values."""

import logging
import re
import shutil
import subprocess
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random

import pydicom

from pyconquest_rules.dicom import TagPath, tag_path
from pyconquest_rules.headers.header import Header, Reader, Wanted
from pyconquest_rules.headers.notes import Note
from pyconquest_rules.headers.opening import Reason
from tests.conftest import needs
from tests.headers.reading import as_text, bare, mutant, outcome
from tests.odd_files import odd_file
from tests.torture.conftest import Some

FILES, LARGEST, AT_ONCE = 2000, 60_000, 200

KEYWORDS = (
    *("SOPClassUID", "SOPInstanceUID", "StudyDate", "SeriesDate", "StudyTime", "AccessionNumber", "Modality", "Manufacturer"),
    *("ReferringPhysicianName", "StudyDescription", "SeriesDescription", "PatientName", "PatientID", "PatientBirthDate"),
    *("PatientSex", "BodyPartExamined", "SliceThickness", "ProtocolName", "StudyInstanceUID", "SeriesInstanceUID", "StudyID"),
    *("SeriesNumber", "InstanceNumber", "SliceLocation", "ImageComments", "Rows", "Columns", "BitsAllocated"),
)
WANTED = Wanted(tuple(map(tag_path, KEYWORDS)))

# Refused by us, though both others read it to its end.
REFUSED = {
    Reason.DICOMDIR: "is no instance",
    Reason.BAD_SOP_INSTANCE_UID: "a changed byte made the UID none; it would be in paths and keys",
    Reason.NO_SOP_INSTANCE_UID: "the UID is there, but is empty",
}

# By its number.
REFUSED_FILES = {"0043": "it is cut right behind the head of a sequence of 120 bytes, which both others take for empty"}

LINE = re.compile(r"\((?P<tag>[0-9a-f]{4},[0-9a-f]{4})\) .. (?P<value>.*?) +# +\d+, *\d+ \w+")
FILE = re.compile(r"# dcmdump \(\d+/\d+\): (.*)")

Read = dict[TagPath, str | None]


def test_what_others_read_is_indexed_with_the_same_values(tmp_path: Path, shared: Path, some: Some[int]) -> None:
    needs("dcmdump", shutil.which("dcmdump") is not None)
    small = [path for path in sorted((shared / "corpus").rglob("*")) if path.is_file() and path.stat().st_size < LARGEST]
    files = [made(tmp_path, number, small) for number in some(range(FILES), 300)]
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)
    by_dcmtk, reader = dict(dumped(files)), Reader(WANTED)
    read_by_both = [
        (file, theirs, by_dcmtk[file.name]) for file in files if file.name in by_dcmtk and (theirs := by_pydicom(file))
    ]
    wrong = [
        (file.name, *found)
        for file, theirs, dump in read_by_both
        for found in wrongs(outcome(reader, file), theirs, dump)
        if file.name not in REFUSED_FILES
    ]
    assert wrong == []
    assert len(read_by_both) > len(files) // 4


def wrongs(ours: Header | Reason, theirs: Read, dump: dict[str, str]) -> Iterator[tuple[str, ...]]:
    """The values in which we differ from both others, who agree; or why we refuse the file.

    Behind an element of an unknown VR both may lose elements that we read on to, each in its own way.
    """
    if isinstance(ours, Reason):
        yield from [(ours,)] if ours not in REFUSED else []
        return
    for path, value in zip(WANTED.paths, ours.values, strict=True):
        pydicoms, dcmtks = printed(theirs.get(path)), printed(dump.get(str(path)))
        lost = not pydicoms and Note.UNKNOWN_VR in ours.notes
        if pydicoms == dcmtks != printed(value if isinstance(value, str) else None) and not lost:
            yield str(path), pydicoms, str(value)


def made(folder: Path, number: int, real: Sequence[Path]) -> Path:
    """The file of this number: two of five are real ones, changed."""
    file = folder / f"{number:04}"
    if number % 5 < 3:
        file.write_bytes(odd_file(number))
    else:
        chance = Random(number)
        file.write_bytes(mutant(chance.choice(real).read_bytes(), chance))
    return file


def by_pydicom(file: Path) -> Read | None:
    """The wanted values as pydicom has them; None if it does not read the file, or without a SOPInstanceUID."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            data = pydicom.dcmread(file)
            return (
                {path: bare(as_text(data[path.tag])) for path in WANTED.paths if path.tag in data}
                if "SOPInstanceUID" in data
                else None
            )
        except Exception:  # noqa: BLE001 - whatever it may be
            return None


def dumped(files: Sequence[Path]) -> Iterator[tuple[str, dict[str, str]]]:
    """The wanted values as dcmdump prints them, of the files that it reads to their ends and that have a SOPInstanceUID."""
    asked = [word for path in WANTED.paths for word in ("+P", str(path))]
    for start in range(0, len(files), AT_ONCE):
        names = [file.name for file in files[start : start + AT_ONCE]]
        command = ["dcmdump", "+F", "+L", "+p", "-Un", *asked, *names]
        done = subprocess.run(command, cwd=files[0].parent, capture_output=True, check=False)
        failed = set(re.findall(r"reading file: (\S+)", done.stderr.decode("latin-1")))
        name, found = "", dict[str, str]()
        for line in [*done.stdout.decode("latin-1").splitlines(), "# dcmdump (0/0): end"]:
            if match := FILE.match(line):
                if "0008,0018" in found and name not in failed:
                    yield name, found
                name, found = match[1], {}
            elif match := LINE.match(line):
                found[match["tag"]] = match["value"]


def printed(value: str | None) -> str:
    """A value without what is around it in a dump, or may be at its end; we show each NUL within as U+FFFD."""
    text = "" if value is None or value == "(no value available)" else value.removeprefix("[").removesuffix("]")
    return (bare(text) or "").replace("\0", "\ufffd")
