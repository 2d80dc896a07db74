"""Make a folder with rules and an index of any number of instances, without DICOM files, to measure plans.

    python bench/fill_index.py FOLDER 1000000 [--done]
    pyconquest-rules -f FOLDER/rules.toml plan --no-index

With `--done`, the ledger records every step of the plan as done, and the destinations are sparse files of the recorded size and
mtime.
"""

import argparse
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha256
from itertools import count
from pathlib import Path

from pyconquest_rules import app
from pyconquest_rules.app.loading import Rules
from pyconquest_rules.dicom import Level
from pyconquest_rules.engine.ledger import Ledger
from pyconquest_rules.engine.recorded import now
from pyconquest_rules.index.store.schema import TABLES, Schema, quoted
from pyconquest_rules.index.store.store import Store
from pyconquest_rules.steps import Step

RULES = """\
rules_version = 1
outputs = ["export"]

[sources.archive]
path = "data"

[select.slices]
level = "series"
query = \"\"\"
select SeriesInstanceUID, 'subject-' || substr(PatientID, -6) as subject
from series where Modality in ('CT', 'MR') and ImageCount >= 4
\"\"\"

[copy.export]
select = "slices"
to = "export/{{ subject }}/{{ StudyDate | date('%Y-%m-%d') }}/{{ Modality }}/\\
{{ SeriesNumber | pad(3) }}-{{ SeriesDescription | default('series') | slug }}/{{ SOPInstanceUID }}.dcm"
"""

STUDIES, SERIES = 2, 3  # of a patient, of a study
SIZE = 525_682
MODIFIED = 1_700_000_000_000_000_000
DESCRIPTIONS = (
    "Thorax 3.0 B31f",
    "t2_tse_tra_p2_320",
    "ABD/PELVIS w/ contrast",
    "AX DWI b50 b800",
    "Kopf 1.0 H60s",
    "t1_vibe_dixon",
)

Values = Mapping[str, str]
Rows = dict[Level, list[tuple[object, ...]]]


def fill(folder: Path, instances: int) -> Rules:
    """Write rules.toml and the index into an empty folder, and return the rules."""
    (folder / "data").mkdir(parents=True)
    (folder / "rules.toml").write_text(RULES.replace("\\\n", ""), "utf-8")
    rules = Rules.load(folder / "rules.toml")
    with Store(rules.database, rules.schema) as store:
        device = store.device("archive", folder / "data")
        store.connection.execute("PRAGMA synchronous = OFF")
        with store.transaction():
            for values in _series(instances):
                _write(store.connection, rules.schema, device, values)
    return rules


def finish(rules: Rules) -> None:
    """Record every step of the plan as done, and make a sparse file at its destination."""
    with app.plan(rules) as plan, Ledger(rules.base, write=True) as ledger:
        run = ledger.runs.begin("")
        marks = ", ".join("?" * 21)
        ledger.connection.execute("BEGIN")
        ledger.connection.executemany(f"INSERT INTO done VALUES ({marks})", _done(plan.steps(), rules.base, run))
        ledger.connection.execute("COMMIT")
        ledger.runs.finish(run, dict.fromkeys(("done", "unchanged", "failed", "blocked", "bytes"), 0), "done")


def _done(steps: Iterable[Step], base: Path, run: int) -> Iterator[tuple[object, ...]]:
    folder, at, digest = "", now(), sha256().hexdigest()
    for step in steps:
        put = step.operation
        file = os.path.join(base, put.destination)
        if folder != (folder := os.path.dirname(file)):
            os.makedirs(folder, exist_ok=True)
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT)
        os.truncate(descriptor, put.stamp.size)
        os.utime(descriptor, ns=(put.stamp.mtime_ns, put.stamp.mtime_ns))
        os.close(descriptor)
        stamp = (put.stamp.size, put.stamp.mtime_ns)
        uids, what = (step.SOPInstanceUID, step.SOPInstanceUID), (put.source, *stamp, digest, digest, step.fingerprint, *stamp)
        yield "file", put.destination, "", step.action, *uids, *what, None, None, 0, 0, 0, run, at


def _series(instances: int) -> Iterator[list[Values]]:
    """Yield the values of all levels by keyword for the instances of each series. A series has 100 to 200 instances."""
    left = instances
    for number in count():
        images = min(left, 100 + number * 37 % 101)
        if not images:
            return
        left -= images
        yield [{**_above(number), **_image(number, image)} for image in range(1, images + 1)]


def _above(number: int) -> Values:
    study = number // SERIES
    patient = study // STUDIES
    date = f"20{study % 24:02}{study % 12 + 1:02}{study % 28 + 1:02}"
    return {
        "PatientID": f"{patient * 7919 % 10_000_000:07}",
        "PatientName": f"Name{patient}^Given{patient % 97}",
        "PatientBirthDate": f"19{patient % 99:02}0{patient % 9 + 1}15",
        "PatientSex": "MFO"[patient % 3],
        "StudyInstanceUID": _uid("study", study),
        "StudyDate": date,
        "StudyTime": f"{study % 24:02}{study % 60:02}17.250000",
        "StudyID": str(study),
        "StudyDescription": "CT^Thorax" if study % 2 else "MR Abdomen",
        "AccessionNumber": f"A{study:09}",
        "ModalitiesInStudy": "CT" if study % 2 else "MR",
        "SeriesInstanceUID": _uid("series", number),
        "SeriesNumber": str(number % SERIES + 1),
        "SeriesDate": date,
        "SeriesTime": f"{study % 24:02}{study % 60:02}18.250000",
        "SeriesDescription": DESCRIPTIONS[number % len(DESCRIPTIONS)],
        "Modality": "CT" if study % 2 else "MR",
        "PatientPosition": "HFS",
        "Manufacturer": "SIEMENS",
        "ManufacturerModelName": "SOMATOM Definition AS",
        "BodyPartExamined": "CHEST",
        "ProtocolName": "Thorax_Routine",
        "StationName": f"CT{study % 9}",
        "InstitutionName": "University Hospital",
        "FrameOfReferenceUID": _uid("frame", study),
    }


def _image(series: int, number: int) -> Values:
    return {
        "SOPInstanceUID": _uid(f"image {series}", number),
        "SOPClassUID": "1.2.840.10008.5.1.4.1.1.2",
        "InstanceNumber": str(number),
        "ContentDate": "20240203",
        "ContentTime": f"1212{number % 60:02}.123000",
        "AcquisitionNumber": "2",
        "SliceLocation": f"{-number * 1.25:.4f}",
        "SamplesPerPixel": "1",
        "PhotometricInterpretation": "MONOCHROME2",
        "Rows": "512",
        "Columns": "512",
        "BitsStored": "12",
        "ImageType": "ORIGINAL\\PRIMARY\\AXIAL",
        "KVP": "120",
        "SliceThickness": "1.25",
        "ImagePositionPatient": f"-275\\-524\\{-number * 1.25:.4f}",
        "ImageOrientationPatient": "1\\0\\0\\0\\1\\0",
        "PixelSpacing": "0.976562\\0.976562",
        "RescaleIntercept": "-1024",
        "RescaleSlope": "1",
    }


def _uid(kind: str, number: int) -> str:
    """Return a UID like those of UUIDs (PS3.5 B.2): unordered, and of a typical length."""
    return f"2.25.{int(sha256(f'{kind} {number}'.encode()).hexdigest()[:32], 16)}"


def _write(connection: sqlite3.Connection, schema: Schema, device: str, images: list[Values]) -> None:
    first, last = images[0], len(images) - 1
    for level in (Level.PATIENT, Level.STUDY, Level.SERIES):
        _insert(connection, schema, level, (), [(first, ())])
    folder = f"{first['PatientID']}/{first['StudyDate']}/{first['SeriesInstanceUID']}"
    paths = [f"{folder}/IM{number:06}.dcm" for number in range(last + 1)]
    placed = [(values, (path, device)) for values, path in zip(images, paths, strict=True)]
    _insert(connection, schema, Level.IMAGE, ("ObjectFile", "DeviceName"), placed)
    connection.executemany(
        "INSERT INTO rules_files VALUES (?, ?, ?, ?, 'indexed', NULL, ?, '1.2.840.10008.1.2.1', NULL, NULL)",
        (
            (device, path, SIZE, MODIFIED + number, values["SOPInstanceUID"])
            for number, (values, path) in enumerate(zip(images, paths, strict=True))
        ),
    )


def _insert(
    connection: sqlite3.Connection,
    schema: Schema,
    level: Level,
    more: tuple[str, ...],
    rows: Iterable[tuple[Values, tuple[object, ...]]],
) -> None:
    fields = schema.level(level)
    columns = [*(field.column for field in fields), *more]
    marks = ", ".join("?" * len(columns))
    connection.executemany(
        f"INSERT OR IGNORE INTO {TABLES[level]} ({', '.join(map(quoted, columns))}) VALUES ({marks})",
        ((*(values.get(field.name) for field in fields), *place) for values, place in rows),
    )


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="a new folder")
    parser.add_argument("instances", type=int)
    parser.add_argument("--done", action="store_true", help="record every step as done")
    asked = parser.parse_args()
    rules = fill(asked.folder, asked.instances)
    if asked.done:
        finish(rules)


if __name__ == "__main__":
    main()
