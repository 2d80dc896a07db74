"""The builtins of `[expect.NAME]` on real files, whole and broken: they find what pydicom finds (`oracle`), and nothing else."""

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset, dcmread
from pydicom.config import disable_value_validation
from pydicom.uid import generate_uid

from pyconquest_rules.headers import pointers
from tests.conftest import Workplace
from tests.expect import oracle

SOP, SERIES, STUDY = "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID"
ON_A_SET = ("rt-chain", "one-volume", "unique-instance-numbers", "no-conflicts", "no-contradictions", "no-burned-in")
RULES = """
[sources.archive]
path = "{path}"

[select.all]
level = "series"
where = "1"
"""


def expecting(*builtins: str, more: str = 'on = "all"') -> str:
    """Return rules with builtins, which have the keys `more`."""
    return RULES + "".join(f'\n[expect.{name.replace("-", "_")}]\nbuiltin = "{name}"\n{more}\n' for name in builtins)


def rows(workplace: Workplace, builtin: str) -> list[dict[str, Any]]:
    """Return the rows of an expectation."""
    done = workplace.run("query", f"expect.{builtin.replace('-', '_')}", "--json")
    assert done.code == 0, done.err
    return [line["values"] for line in done.lines[:-1]]


def findings(workplace: Workplace, builtin: str) -> set[oracle.Finding]:
    """Return the findings of a builtin."""
    return oracle.found(rows(workplace, builtin), *((SOP,) if builtin in ("rt-chain", "no-burned-in") else (SERIES, STUDY)))


def files(workplace: Workplace, where: str) -> list[Path]:
    """Return files that the index knows."""
    done = workplace.run("query", f"select Path from files where {where}", "--json")
    return [Path(line["values"]["Path"]) for line in done.lines[:-1]]


def agrees(workplace: Workplace, builtin: str) -> bool:
    """Return whether a builtin finds what the oracle finds in the same files."""
    if builtin == "no-conflicts":
        return {row[SOP] for row in rows(workplace, builtin)} == oracle.no_conflicts(files(workplace, f"{SOP} is not null"))
    return findings(workplace, builtin) == WANTED[builtin](oracle.read(files(workplace, "Outcome = 'indexed'")))


WANTED: dict[str, Callable[[list[Dataset]], set[oracle.Finding]]] = {
    "rt-chain": oracle.rt_chain,
    "one-volume": oracle.one_volume,
    "unique-instance-numbers": oracle.unique_instance_numbers,
    "no-contradictions": oracle.no_contradictions,
    "no-burned-in": oracle.no_burned_in,
}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory, shared: Path) -> Workplace:
    """The whole corpus in an index."""
    workplace = Workplace(tmp_path_factory.mktemp("corpus")).rules(expecting(*ON_A_SET).format(path=shared / "corpus"))
    workplace.run("index")
    return workplace


@pytest.mark.parametrize("builtin", ON_A_SET)
def test_finds_what_pydicom_finds_in_the_whole_corpus(corpus: Workplace, builtin: str) -> None:
    assert rows(corpus, builtin), "the corpus has such faults"
    assert agrees(corpus, builtin)


def save(folder: Path, datasets: list[Dataset]) -> None:
    """Write data sets as files of a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with disable_value_validation():
        for number, dataset in enumerate(datasets):
            dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
            dataset.save_as(folder / f"{number}.dcm")


def indexed(workplace: Workplace, datasets: list[Dataset], rules: str) -> None:
    """Index data sets with these rules."""
    save(workplace.folder / "data", datasets)
    workplace.rules(rules.format(path="data"))
    workplace.run("index")


def volume(shared: Path) -> list[Dataset]:
    """Return 20 neighbouring slices of an MR, in their order, without pixels."""
    read = oracle.read((shared / "corpus/pacsman_data/dicomseries").glob("*.dcm"))
    return sorted(read, key=lambda each: (oracle.place(each) or ((), 0.0))[1])[40:60]


def put(dataset: Dataset, **elements: object) -> None:
    """Set elements of a data set."""
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)


def again(dataset: Dataset, **elements: object) -> Dataset:
    """Return a copy of an instance with another UID and other elements."""
    other = deepcopy(dataset)
    put(other, SOPInstanceUID=generate_uid(), **elements)
    return other


def changed(slices: list[Dataset], **elements: object) -> list[Dataset]:
    """Change elements of the tenth slice."""
    return [*slices[:9], again(slices[9], **elements), *slices[10:]]


def moved(slices: list[Dataset], mm: float) -> list[Dataset]:
    """Move the tenth slice along the normal of this axis-parallel stack."""
    one, other = (each.ImagePositionPatient for each in slices[8:10])
    step = [b - a for a, b in zip(one, other, strict=True)]
    length = sum(each * each for each in step) ** 0.5
    return changed(slices, ImagePositionPatient=[b + mm * s / length for b, s in zip(other, step, strict=True)])


def without_position(slices: list[Dataset]) -> list[Dataset]:
    """Remove every position from the tenth slice."""
    slices = changed(slices)
    for keyword in ("ImagePositionPatient", "SliceLocation"):
        if keyword in slices[9]:
            delattr(slices[9], keyword)
    return slices


VOLUMES: dict[str, tuple[Callable[[list[Dataset]], list[Dataset]], set[str]]] = {
    "complete": (lambda s: s, set()),
    "shorter": (lambda s: s[3:-2], set()),
    "one slice": (lambda s: s[:1], set()),
    "a slice missing": (lambda s: s[:9] + s[10:], {"slices missing: 1"}),
    "slices missing twice": (lambda s: s[:5] + s[7:11] + s[12:], {"slices missing: 3"}),
    "a slice moved": (lambda s: moved(s, 0.4), {"distances between slices differ"}),
    "a slice moved a little": (lambda s: moved(s, 0.02), set()),
    "a slice twice": (lambda s: [*s, again(s[9])], {"1 of 21 images repeat a position"}),
    "another orientation": (lambda s: changed(s, ImageOrientationPatient=[0, 1, 0, 0, 0, -1]), {"2 orientations"}),
    "another size": (lambda s: changed(s, Rows=17), {"images of different sizes"}),
    "another spacing": (lambda s: changed(s, PixelSpacing=[0.7, 0.7]), {"images of different pixel spacings"}),
    "a spacing rounded": (lambda s: changed(s, PixelSpacing=[s[0].PixelSpacing[0] + 0.0004, s[0].PixelSpacing[1]]), set()),
    "a localizer": (lambda s: changed(s, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]), {"1 of 20 images are localizers"}),
    "no position": (without_position, {"1 of 20 images have no position", "slices missing: 1"}),
    "no position at all": (lambda s: without_position(s[9:10] * 10)[9:], set()),
}


@pytest.mark.parametrize("case", VOLUMES)
def test_one_volume(workplace: Workplace, shared: Path, case: str) -> None:
    broken, problems = VOLUMES[case]
    indexed(workplace, broken(volume(shared)), expecting("one-volume"))
    assert {problem for _, problem in findings(workplace, "one-volume")} == problems
    assert agrees(workplace, "one-volume")


def test_unique_instance_numbers(workplace: Workplace, shared: Path) -> None:
    slices = volume(shared)
    numbers = [int(each.InstanceNumber) for each in slices]
    indexed(
        workplace,
        [*slices, again(slices[0]), again(slices[0]), again(slices[3], InstanceNumber=numbers[4])],
        expecting("unique-instance-numbers"),
    )
    assert {problem for _, problem in findings(workplace, "unique-instance-numbers")} == {
        f"3 instances have InstanceNumber {numbers[0]}",
        f"2 instances have InstanceNumber {numbers[4]}",
    }
    assert agrees(workplace, "unique-instance-numbers")


@pytest.mark.parametrize("on_conflict", ["error", "first-source", "newest"])
def test_no_conflicts(workplace: Workplace, shared: Path, on_conflict: str) -> None:
    first, second, third = (deepcopy(each) for each in volume(shared)[:3])
    put(second, SliceThickness=9, SOPInstanceUID=first.SOPInstanceUID)
    rules = f'{expecting("no-conflicts")}\n[index]\non_conflict = "{on_conflict}"\n'
    indexed(workplace, [first, second, third, deepcopy(third)], rules)
    (row,) = rows(workplace, "no-conflicts")
    assert row[SOP] == first.SOPInstanceUID
    assert {Path(row["Path"]).name, Path(row["OtherFile"]).name} == {"0.dcm", "1.dcm"}
    assert agrees(workplace, "no-conflicts")


def test_no_contradictions(workplace: Workplace, shared: Path) -> None:
    slices = volume(shared)
    other_study = again(slices[0], StudyInstanceUID="1.2.3", SeriesInstanceUID="1.2.3.4")
    indexed(
        workplace,
        [
            *slices[:3],
            again(slices[4], PatientID="somebody else"),
            other_study,
            again(other_study, StudyInstanceUID=slices[0].StudyInstanceUID),
            again(slices[0], StudyInstanceUID="1.2.9", SeriesInstanceUID="1.2.9.1"),
        ],
        expecting("no-contradictions"),
    )
    assert findings(workplace, "no-contradictions") == {
        (slices[0].StudyInstanceUID, "the study has two patients"),
        ("1.2.3.4", "the series is in two studies"),
    }
    assert agrees(workplace, "no-contradictions")


def test_no_burned_in(workplace: Workplace, shared: Path) -> None:
    slices = volume(shared)
    ultrasound, capture = "1.2.840.10008.5.1.4.1.1.6.1", "1.2.840.10008.5.1.4.1.1.7"
    said = {"YES": ultrasound, "NO": ultrasound, "yes": slices[0].SOPClassUID, "": capture}
    indexed(
        workplace,
        [
            *slices[:2],
            again(slices[2], BurnedInAnnotation="YES"),
            again(slices[2], SOPClassUID=capture),
            *(again(slices[3], SOPClassUID=of, BurnedInAnnotation=value) for value, of in said.items()),
        ],
        expecting("no-burned-in"),
    )
    assert len(rows(workplace, "no-burned-in")) == 5
    assert agrees(workplace, "no-burned-in")
    values = workplace.run("query", "select distinct BurnedInAnnotation as b from images", "--json").lines[:-1]
    assert {line["values"]["b"] for line in values} == {None, "YES", "NO", "yes"}


def chain(shared: Path) -> dict[str, Dataset]:
    """Return a CT, and the structure set, plan and dose for it. The structure set names only this CT image."""
    folder = shared / "corpus/dicompyler-core-rtchain/example_data"
    names = {"ct": "ct.0", "structures": "rtss", "plan": "rtplan", "dose": "rtdose"}
    found: dict[str, Dataset] = {name: dcmread(folder / f"{file}.dcm", stop_before_pixels=True) for name, file in names.items()}
    structures, uid = found["structures"], found["ct"].SOPInstanceUID
    for frame in structures.ReferencedFrameOfReferenceSequence:
        for series in frame.RTReferencedStudySequence[0].RTReferencedSeriesSequence:
            kept = [each for each in series.ContourImageSequence if each.ReferencedSOPInstanceUID == uid]
            series.ContourImageSequence = kept
    for roi in structures.ROIContourSequence:
        for contour in roi.get("ContourSequence") or ():
            for image in contour.get("ContourImageSequence") or ():
                image.ReferencedSOPInstanceUID = uid
    return found


def elsewhere(dataset: Dataset) -> None:
    """Put an instance into another frame of reference."""
    put(dataset, FrameOfReferenceUID="1.2.3.4.5")


def names_nothing(*sequences: str) -> Callable[[Dataset], None]:
    """Return a function that removes sequences."""

    def remove(dataset: Dataset) -> None:
        for sequence in sequences:
            del dataset[sequence]

    return remove


CHAINS: dict[str, tuple[tuple[str, Callable[[Dataset], None]] | None, tuple[str, ...], set[str]]] = {
    "complete": (None, (), set()),
    "no plan": (None, ("plan",), {"not in the index: 1 of 1 named plan"}),
    "no structure set": (None, ("structures",), {"not in the index: 1 of 1 named structure set"}),
    "no image": (None, ("ct",), {"not in the index: 1 of 1 named image"}),
    "an image elsewhere": (("ct", elsewhere), (), {"in another frame of reference: 1 of 1 named image"}),
    "a plan elsewhere": (
        ("plan", elsewhere),
        (),
        {"in another frame of reference: 1 of 1 named structure set", "in another frame of reference: 1 of 1 named plan"},
    ),
    "a dose elsewhere": (("dose", elsewhere), (), {"in another frame of reference: 1 of 1 named plan"}),
    "a dose alone": (("dose", names_nothing("ReferencedRTPlanSequence")), (), {"names no plan"}),
    "a plan alone": (("plan", names_nothing("ReferencedStructureSetSequence")), (), {"names no structure set"}),
    "structures alone": (
        ("structures", names_nothing("ReferencedFrameOfReferenceSequence", "ROIContourSequence")),
        (),
        {"names no image"},
    ),
}


@pytest.mark.parametrize("case", CHAINS)
def test_rt_chain(workplace: Workplace, shared: Path, case: str) -> None:
    change, left_out, problems = CHAINS[case]
    datasets = chain(shared)
    if change:
        change[1](datasets[change[0]])
    indexed(workplace, [each for name, each in datasets.items() if name not in left_out], expecting("rt-chain"))
    assert {problem for _, problem in findings(workplace, "rt-chain")} == problems
    assert agrees(workplace, "rt-chain")


@pytest.mark.parametrize(("patterns", "matches"), [(("ptv",), True), (("^nothing", "^heart"), True), (("tv",), False)])
def test_rt_chain_finds_the_target(workplace: Workplace, shared: Path, patterns: tuple[str, ...], *, matches: bool) -> None:
    datasets = chain(shared)
    for roi, name in zip(datasets["structures"].StructureSetROISequence, ("Heart", "PTV 70"), strict=False):
        roi.ROIName = name
    indexed(workplace, [*datasets.values()], expecting("rt-chain", more=f'on = "all"\nroi_match = {[*patterns]}'))
    assert findings(workplace, "rt-chain") == oracle.rt_chain([*datasets.values()], roi=patterns)
    assert bool(findings(workplace, "rt-chain")) is not matches


def test_rt_chain_takes_nothing_unread_for_complete(workplace: Workplace, shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pointers, "MOST_ITEMS", 0)
    datasets = chain(shared)
    indexed(workplace, [*datasets.values()], expecting("rt-chain"))
    objects = {each.SOPInstanceUID for name, each in datasets.items() if name != "ct"}
    assert findings(workplace, "rt-chain") == {(uid, "has references that cannot be read") for uid in objects}


def test_rt_chain_is_about_the_set(workplace: Workplace, shared: Path) -> None:
    where = "Modality in ('RTSTRUCT', 'RTDOSE')"
    indexed(
        workplace, [*(datasets := chain(shared)).values()], expecting("rt-chain").replace('where = "1"', f'where = "{where}"')
    )
    wanted = oracle.rt_chain([*datasets.values()], lambda each: each.Modality in ("RTSTRUCT", "RTDOSE"))
    assert findings(workplace, "rt-chain") == wanted
    assert {problem for _, problem in wanted} == {
        "in the index, but not in the set: 1 of 1 named image",
        "in the index, but not in the set: 1 of 1 named plan",
    }


def test_timepoints(workplace: Workplace, shared: Path) -> None:
    slices = volume(shared)
    scans = [("A", "week 0", "MR"), ("A", "week 4", "MR"), ("B", "week 0", "CT"), ("", "week 4", "CT")]
    datasets = [
        again(
            slices[0], PatientID=who, StudyDescription=when, Modality=what, StudyInstanceUID=f"1.{n}", SeriesInstanceUID=f"2.{n}"
        )
        for n, (who, when, what) in enumerate(scans, start=1)
    ]
    demands = [*scans[:2], ("A", "week 8", "MR"), ("B", "week 0", "MR"), ("C", "week 0", "MR")]
    lines = ["subject,StudyDescription,modality,note", *(f"{','.join(each)}, seen" for each in demands)]
    (workplace.folder / "protocol.csv").write_text("\n".join(lines))
    rules = expecting("timepoints", more='on = "all"\ntable = "protocol"') + (
        '\n[tables.protocol]\ncsv = "protocol.csv"\nkey = ["PatientID", "StudyDescription", "modality"]\n'
        'columns = {{ subject = "PatientID" }}\n'
    )
    indexed(workplace, datasets, rules)
    found = rows(workplace, "timepoints")
    assert {(row["PatientID"], row["StudyDescription"], row["modality"]) for row in found} == oracle.timepoints(
        demands, datasets, ("PatientID", "StudyDescription", "Modality")
    )
    assert {(row["note"], row["problem"]) for row in found} == {("seen", "the set has no such row")}


@pytest.mark.parametrize(("most", "problems"), [(0.0, 2), (0.2, 2), (0.25, 0)])
def test_readable(workplace: Workplace, shared: Path, most: float, problems: int) -> None:
    rules = expecting("readable", more=f'source = "archive"\nmax_share = {most}')
    save(workplace.folder / "data", volume(shared)[:9])
    whole = (workplace.folder / "data/0.dcm").read_bytes()
    for name in ("a", "b"):
        (workplace.folder / f"data/{name}.dcm").write_bytes(whole[: len(whole) // 2])
    (workplace.folder / "data/DICOMDIR").write_bytes((shared / "corpus/pydicom/dicomdirtests/DICOMDIR").read_bytes())
    (workplace.folder / "data/note.txt").write_text("not DICOM")
    workplace.rules(rules.format(path="data")).run("index")
    found = rows(workplace, "readable")
    assert len(found) == problems
    assert all(row["seen"] == 12 for row in found)
    assert {row["Reason"]: row["files"] for row in found} == ({"truncated": 2, "dicomdir": 1} if problems else {})
