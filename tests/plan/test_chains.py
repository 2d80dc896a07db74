"""Expanded sets along every kind of reference, whole and dangling, in both directions, against what pydicom reads."""

import shutil
from pathlib import Path

import pytest

from tests.chains import Reading, write_chain
from tests.conftest import Workplace

MODALITIES = ("CT", "PT", "RTSTRUCT", "RTPLAN", "RTDOSE", "RTIMAGE", "RTRECORD", "REG", "SEG", "SR", "PR", "KO", "RWV")
EXPANDS = {"all": MODALITIES, "some": ("REG", "PR", "RTPLAN"), "one": ("RTDOSE",)}
FILES = (
    *("ct", "ct2", "pt", "pt2", "rtss", "rtplan", "plan2", "rtdose", "dose2", "rtimage", "record", "reg", "deformed"),
    *("seg", "sr", "old_sr", "rwv", "state", "blending", "ko"),
)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory, shared: Path) -> Path:
    """A folder with a file of each kind of object."""
    folder = tmp_path_factory.mktemp("chain")
    write_chain(folder, shared / "corpus")
    assert {path.stem for path in folder.iterdir()} == {*FILES}
    return folder


def rules(level: str = "") -> str:
    """Return a rules file with a set for each modality to start from and each list of modalities to add."""
    sets = "".join(f"[select.{each.lower()}_series]\nlevel = 'series'\nwhere = \"Modality = '{each}'\"\n" for each in MODALITIES)
    for each in MODALITIES:
        for name, modalities in EXPANDS.items():
            sets += f"[select.{each.lower()}_{name}]\nfrom = '{each.lower()}_series'\nexpand = {[*modalities]}\n{level}"
            sets += "incomplete = 'warn'\n"
    return f"[sources.data]\npath = 'data'\n{sets}"


def found(workplace: Workplace, columns: str, end: str = "") -> dict[str, list[tuple[str, ...]]]:
    """Return the rows of every expanded set by its name; with `end`, those of its table with that end."""
    names = [f"{each.lower()}_{name}" for each in MODALITIES for name in EXPANDS]
    rows: dict[str, list[tuple[str, ...]]] = {name: [] for name in names}
    query = " union all ".join(f"select '{name}' as name, {columns} from \"{name}{end}\"" for name in names)
    for line in workplace.run("query", query, "--json").lines:
        if line["event"] == "row":
            name, *values = line["values"].values()
            rows[name].append(tuple(map(str, values)))
    return rows


@pytest.mark.parametrize("gone", [None, *FILES])
def test_every_chain_equals_what_pydicom_reads(workplace: Workplace, files: Path, gone: str | None) -> None:
    data = workplace.folder / "data"
    shutil.copytree(files, data)
    if gone:
        (data / f"{gone}.dcm").unlink()
    workplace.rules(rules()).run("index")
    reading = Reading(file for file in files.iterdir() if file.stem != gone)
    rows = found(workplace, "SeriesInstanceUID, via")
    missing = found(workplace, "SeriesInstanceUID, MissingUID", end=" missing")
    for each in MODALITIES:
        for name, modalities in EXPANDS.items():
            of = f"{each.lower()}_{name}"
            start = reading.of(each)
            series = reading.expanded(start, modalities)
            assert sorted(row[0] for row in rows[of]) == sorted(series), of
            assert {row[0] for row in rows[of] if row[1] == "from"} == start, of
            assert set(missing[of]) == reading.missing(series), of


def test_a_set_of_images_gets_every_image_of_what_is_added(workplace: Workplace, files: Path) -> None:
    shutil.copytree(files, workplace.folder / "data")
    workplace.rules(rules("level = 'image'\n")).run("index")
    reading = Reading(files.iterdir())
    rows = found(workplace, "SOPInstanceUID, via")
    for each in MODALITIES:
        for name, modalities in EXPANDS.items():
            series = reading.expanded(reading.of(each), modalities)
            instances = [uid for one in series for uid in reading.instances[one]]
            assert sorted(row[0] for row in rows[f"{each.lower()}_{name}"]) == sorted(instances)


@pytest.mark.parametrize("folder", ["highdicom", "dcmqi/data/sr-example"])
def test_real_segmentations_and_reports_equal_what_pydicom_reads(workplace: Workplace, shared: Path, folder: str) -> None:
    data = workplace.folder / "data"
    # That report has the SeriesInstanceUID of a CT series.
    shutil.copytree(shared / "corpus" / folder, data, ignore=shutil.ignore_patterns("sr_document.dcm"))
    workplace.rules(rules()).run("index")
    reading = Reading(data.glob("*.dcm"))
    rows = found(workplace, "SeriesInstanceUID")
    missing = found(workplace, "SeriesInstanceUID, MissingUID", end=" missing")
    for each in MODALITIES:
        series = reading.expanded(reading.of(each), MODALITIES)
        assert {row[0] for row in rows[f"{each.lower()}_all"]} == series
        assert set(missing[f"{each.lower()}_all"]) == reading.missing(series)
