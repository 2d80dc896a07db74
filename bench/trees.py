"""Make a large, realistic tree of DICOM files from real ones: `python -m bench.trees FOLDER --ct 2000 --mr 4000`.

Every file is a copy of a real one with new values of the same length for SOPInstanceUID, SeriesInstanceUID, StudyInstanceUID and
PatientID. Headers, private blocks, nesting and pixel data stay real. With `--varied`, elements that change along a real
series change too, also in length: SOPInstanceUID, InstanceNumber, ImagePositionPatient, SliceLocation and times. The same
arguments give the same bytes. The real files are those of `bench.corpus`.

ct: slices; those of the corpus have 512 x 512 pixels and 0.5 MB. mr: slices of 30 to 320 kB, some with large private
headers. rt: RTSTRUCT, RTPLAN, RTDOSE. The files are FOLDER/KIND/study/series/0000000.dcm; each patient has one study.
"""

import argparse
import re
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from itertools import islice
from pathlib import Path

import pydicom
from pydicom.errors import InvalidDicomError
from pydicom.uid import UID

from bench.corpus import has_corpus, real_files

OF_THE_CORPUS: Mapping[str, Sequence[str]] = {
    "ct": ("dicompyler-core-rtchain/example_data/ct.0.dcm", "dcmqi/data/segmentations/ct-3slice/*.dcm", "rt-utils/ct_*.dcm"),
    "mr": ("dcm_qa_nih/**/*", "heudiconv/**/*.dcm", "dcm_qa_toshiba/**/*", "nibabel/**/*", "pacsman_data/**/*"),
    "rt": ("dicompyler-core-rtchain/example_data/rt*.dcm", "pydicom/**/rtplan.dcm", "pydicom/**/rtstruct.dcm"),
}
OF_PYDICOM: Mapping[str, Sequence[str]] = {"ct": ("CT_small.dcm",), "mr": ("MR_small.dcm",), "rt": ("rtplan.dcm", "rtdose.dcm")}
KINDS = ("ct", "mr", "rt")
MOST_OF_A_PATTERN = 3

# Each with the smallest length that allows enough different values.
IDENTIFIERS = {"SOPInstanceUID": 24, "SeriesInstanceUID": 24, "StudyInstanceUID": 24, "PatientID": 4}
SERIES_OF_A_STUDY = 3
DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@dataclass(frozen=True, slots=True)
class Template:
    """The parts of a real file, in order. Every second part is an identifier, whose keyword is in `keywords`."""

    parts: Sequence[bytes]
    keywords: Mapping[bytes, str]
    lengths: Mapping[str, int]

    def renamed(self, new: Mapping[str, str]) -> bytes:
        """Return the file with other identifiers of the same length."""
        values = {old: old[: -self.lengths[keyword]] + new[keyword].encode() for old, keyword in self.keywords.items()}
        return b"".join(values.get(part, part) if number % 2 else part for number, part in enumerate(self.parts))


def templates(kind: str, *, pixels: bool) -> list[Template]:
    """Return the real files of a kind whose identifiers can be replaced."""
    folder, patterns = real_files(), OF_THE_CORPUS if has_corpus() else OF_PYDICOM
    found: list[Template] = []
    for pattern in patterns[kind]:
        usable = filter(None, (template(path, pixels=pixels) for path in sorted(folder.glob(pattern)) if path.is_file()))
        found += islice(usable, MOST_OF_A_PATTERN)
    return found


def template(path: Path, *, pixels: bool) -> Template | None:
    """Return a real file as a template; None if it is not a DICOM file, or if an identifier is missing or too short."""
    file = BytesIO(path.read_bytes())
    try:
        dataset = pydicom.dcmread(file, stop_before_pixels=True)
    except InvalidDicomError:
        return None
    data = file.getvalue() if pixels else file.getvalue()[: file.tell()]
    found = {keyword: str(dataset.get(keyword, "")) for keyword in IDENTIFIERS}
    # A UID is replaced everywhere. A PatientID may be any text, so it is replaced only in its element.
    places = {value.encode(): keyword for keyword, value in found.items() if keyword != "PatientID"}
    places |= {head + found["PatientID"].encode(): "PatientID" for head in patient_id_heads(found["PatientID"])}
    if any(len(found[keyword]) < least for keyword, least in IDENTIFIERS.items()):
        return None
    longest_first = sorted(places, key=len, reverse=True)  # one UID may begin with another
    parts = re.split(b"(%s)" % b"|".join(map(re.escape, longest_first)), data)
    if len({places[part] for part in parts[1::2]}) < len(IDENTIFIERS):
        return None
    return Template(parts, places, {keyword: len(value) for keyword, value in found.items()})


def patient_id_heads(value: str) -> tuple[bytes, bytes]:
    """Return the bytes before the value of a PatientID in a little endian file, with and without a VR (PS3.5 7.1)."""
    length = len(value) + len(value) % 2
    return struct.pack("<HH2sH", 0x0010, 0x0020, b"LO", length), struct.pack("<HHL", 0x0010, 0x0020, length)


def new_identifiers(template: Template, kind: str, series: int, instance: int) -> dict[str, str]:
    """Return the identifiers of an instance by its number and its series, as long as those of the template."""
    study = series // SERIES_OF_A_STUDY
    numbers = {"SOPInstanceUID": instance, "SeriesInstanceUID": series, "StudyInstanceUID": study}
    new = {}
    for arc, (keyword, number) in enumerate(numbers.items()):
        prefix = f"1.2.826.9{arc}{KINDS.index(kind)}."
        new[keyword] = f"{prefix}1{str(number).zfill(template.lengths[keyword] - len(prefix) - 1)}"
    new["PatientID"] = kind[0].upper() + base36(study).zfill(template.lengths["PatientID"] - 1)
    return new


def base36(number: int) -> str:
    """Return a number in base 36."""
    return (base36(number // 36) if number >= 36 else "") + DIGITS[number % 36]


def varied(data: bytes, series: int, number: int) -> bytes:
    """Return the file as a slice of a series: elements that change from slice to slice get values of any length."""
    dataset = pydicom.dcmread(BytesIO(data))
    uid = UID(f"{dataset.SOPInstanceUID[:-9]}{series}.{number + 1}")
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = uid
    place, seconds = f"{-131.25 + 1.25 * number:.7g}", 36_000 + 0.37 * number
    time = f"{seconds // 3600:02.0f}{seconds // 60 % 60:02.0f}{seconds % 60:05.2f}".rstrip("0").rstrip(".")
    changes: dict[str, object] = {
        "InstanceNumber": number + 1,
        "SliceLocation": place,
        "ContentTime": time,
        "AcquisitionTime": time,
    }
    if dataset.get("ImagePositionPatient"):
        changes["ImagePositionPatient"] = [*map(str, dataset.ImagePositionPatient[:2]), place]
    for keyword, value in changes.items():
        if keyword in dataset:
            setattr(dataset, keyword, value)
    out = BytesIO()
    dataset.save_as(out)
    return out.getvalue()


def files(kind: str, count: int, per_series: int, *, vary: bool = False, pixels: bool = True) -> Iterator[tuple[str, bytes]]:
    """Yield the relative paths and the bytes of `count` files of a kind."""
    real = templates(kind, pixels=pixels)
    for number in range(count):
        series, slice_ = divmod(number, per_series)
        study = series // SERIES_OF_A_STUDY
        of = real[study % len(real)]
        data = of.renamed(new_identifiers(of, kind, series, number))
        yield f"{kind}/{study}/{series}/{number:07}.dcm", varied(data, series, slice_) if vary else data


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    for kind in KINDS:
        parser.add_argument(f"--{kind}", type=int, default=0, help=f"the number of {kind.upper()} files")
    parser.add_argument(
        "--per-series", type=int, default=100, help="slices per series (100); an RT object is a series of its own"
    )
    parser.add_argument("--varied", action="store_true", help="elements that change along a series change, also in length")
    parser.add_argument("--no-pixels", action="store_true", help="every file ends before its pixel data")
    asked = parser.parse_args()
    for kind in KINDS:
        per_series = 1 if kind == "rt" else asked.per_series
        made = files(kind, getattr(asked, kind), per_series, vary=asked.varied, pixels=not asked.no_pixels)
        for path, data in made:
            file = asked.folder / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)


if __name__ == "__main__":
    main()
