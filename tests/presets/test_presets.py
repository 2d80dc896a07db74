"""`init --preset NAME`: each preset works at once on real files, and makes the tree that its golden file shows."""

import re
import shutil
from pathlib import Path

import pydicom
import pytest

from pyconquest_rules.cli.init import PRESETS
from tests.conftest import REPOSITORY, Instance, Workplace

CLINIC, HOSPITAL = "examples/quickstart/data/clinic", "examples/quickstart/data/hospital"
CORPUS = "../shared/corpus"
SEGMENTATIONS = f"{CORPUS}/dcmqi/data/segmentations"
# What each preset is tried on: folders of this repository, and of the corpus.
DATA = {
    "starter": [CLINIC, HOSPITAL],
    "tree": [CLINIC, HOSPITAL],
    "bids": [CLINIC, HOSPITAL, f"{CORPUS}/dcm_qa_agfa", f"{CORPUS}/dicom2nifti/hitachi"],
    "nnunet": [CLINIC, HOSPITAL, f"{SEGMENTATIONS}/23x38x3", f"{SEGMENTATIONS}/24x38x3"],
    "rt-cohort": [CLINIC, f"{CORPUS}/dicompyler-core-rtchain"],
    "conquest": [CLINIC, HOSPITAL],
}
GOLDEN = Path(__file__).parent / "golden"
LABEL = "[0-9a-zA-Z]+"


def prepared(workplace: Workplace, preset: str) -> Workplace:
    """Copy the files that a preset is tried on to data/, and write its rules."""
    for folder in DATA[preset]:
        shutil.copytree(REPOSITORY / folder, workplace.folder / "data" / Path(folder).name)
    assert workplace.run("init", "--preset", preset).code == 0
    return workplace


def tree(workplace: Workplace) -> list[str]:
    """Return a line for each file that was made: its path, and the source that has the same bytes."""
    files = workplace.files()
    sources = {data: path for path, data in files.items() if path.startswith("data/")}
    made = (path for path in files if not path.startswith("data/") and path != "rules.toml")
    return [f"{path} = {sources[files[path]]}" for path in sorted(made)]


@pytest.mark.usefixtures("shared")
@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_works_at_once(workplace: Workplace, preset: str) -> None:
    prepared(workplace, preset)
    assert workplace.run("check").code == 0
    planned = workplace.run("plan", "--json")
    assert (planned.code, planned.summary["blocked"]) == (0, 0), planned.err
    assert workplace.run("apply").code == 0
    assert tree(workplace) == (GOLDEN / f"{preset}.txt").read_text(encoding="utf-8").splitlines()
    assert planned.summary["todo"] == len(tree(workplace))
    assert workplace.run("apply", "--json").summary["done"] == 0
    assert workplace.run("verify", "--deep").code == 0


def test_every_preset_has_its_file_and_its_line_in_the_docs() -> None:
    shipped = {file.stem for file in (REPOSITORY / "pyconquest_rules/presets").iterdir()}
    page = (REPOSITORY / "docs/rules.md").read_text(encoding="utf-8").split("## Presets\n")[1].split("\n## ")[0]
    assert shipped == PRESETS.keys() == set(re.findall(r"^\| `([a-z-]+)` \|.*\| `[a-z/-]+` \|$", page, re.MULTILINE))


@pytest.mark.parametrize(
    ("preset", "hint"), [("conquest-3", 'did you mean "conquest"?'), ("dicomdir", f"presets are: {', '.join(PRESETS)}")]
)
def test_an_unknown_preset_is_an_error(workplace: Workplace, preset: str, hint: str) -> None:
    done = workplace.run("init", "--preset", preset)
    assert (done.code, done.err) == (2, f'error: unknown preset "{preset}"; {hint}\n')
    assert workplace.files() == {}


@pytest.mark.usefixtures("shared")
def test_names_of_bids_are_valid(workplace: Workplace) -> None:
    assert prepared(workplace, "bids").run("apply").code == 0
    made = workplace.files("bids")
    assert made
    for path, data in made.items():
        assert re.fullmatch(f"sourcedata/sub-{LABEL}/ses-{LABEL}/[0-9a-z-]+/[0-9.]+\\.dcm", path), path
        instance = pydicom.dcmread(workplace.folder / "bids" / path, stop_before_pixels=True)
        assert path.split("/")[1] == f"sub-{''.join(c for c in instance.PatientID if c.isascii() and c.isalnum())}"
        assert path.split("/")[2] == f"ses-{instance.StudyDate}"
        assert len(data) > 0
    folders = {path.rpartition("/")[0] for path in made}
    assert len(folders) == len({pydicom.dcmread(workplace.folder / "bids" / path).SeriesInstanceUID for path in made})


def test_two_patients_never_share_a_label_of_bids(workplace: Workplace, instance: Instance) -> None:
    instance("data/1.dcm", Modality="MR", PatientID="P-1", StudyInstanceUID="1.2.1", SeriesInstanceUID="1.2.1.1")
    instance("data/2.dcm", Modality="MR", PatientID="p 1", StudyInstanceUID="1.2.2", SeriesInstanceUID="1.2.2.1")
    assert workplace.run("init", "--preset", "bids").code == 0
    done = workplace.run("apply")
    assert (done.code, workplace.files("bids")) == (4, {})
    assert "expect.one_patient_each has 1 row that should not be there" in done.err + done.out


def test_bids_reports_what_has_no_label(workplace: Workplace, instance: Instance) -> None:
    instance("data/1.dcm", Modality="MR", StudyInstanceUID="1.2.1", SeriesInstanceUID="1.2.1.1")
    instance("data/2.dcm", Modality="MR", PatientID=None, StudyInstanceUID="1.2.2", SeriesInstanceUID="1.2.2.1")
    instance("data/3.dcm", Modality="MR", StudyDate=None, StudyInstanceUID="1.2.3", SeriesInstanceUID="1.2.3.1")
    assert workplace.run("init", "--preset", "bids").code == 0
    done = workplace.run("apply")
    assert (done.code, len(workplace.files("bids"))) == (0, 1)
    assert "expect.nothing_left_out has 2 rows that should not be there" in done.err + done.out


def test_the_label_of_bids_is_what_remains_of_any_patient_id(workplace: Workplace, instance: Instance) -> None:
    ids = ["plain", "With Space", "a_b-c.d", "Müller 7", "日本12", "0000", "x" * 64, "*?[^"]
    for number, each in enumerate(ids):
        of = f"1.2.3.{number}"
        instance(f"data/{number}.dcm", PatientID=each, Modality="MR", StudyInstanceUID=of, SeriesInstanceUID=f"{of}.1")
    assert workplace.run("init", "--preset", "bids").code == 0
    assert workplace.run("index").code == 0
    rows = [line["values"] for line in workplace.run("query", "subjects", "--json").lines[:-1]]
    assert {row["PatientID"]: row["subject"] for row in rows} == {
        each: "".join(c for c in each if c.isascii() and c.isalnum()) for each in ids
    }
    done = workplace.run("plan", "--json")
    assert (done.summary["blocked"], done.summary["todo"]) == (1, len(ids) - 1)  # nothing remains of the last one


@pytest.mark.usefixtures("shared")
def test_the_folders_of_nnunet_are_named_as_its_files(workplace: Workplace) -> None:
    assert prepared(workplace, "nnunet").run("apply").code == 0
    folders = {path.rpartition("/")[0] for path in workplace.files("dicom")}
    images = {folder.removeprefix("imagesTr/") for folder in folders if folder.startswith("imagesTr/")}
    labels = {folder.removeprefix("labelsTr/") for folder in folders if folder.startswith("labelsTr/")}
    assert images
    assert images == {f"{case}_0000" for case in labels}
    for folder in folders:
        read = [pydicom.dcmread(file) for file in (workplace.folder / "dicom" / folder).iterdir()]
        if folder.startswith("images"):
            assert len({each.SeriesInstanceUID for each in read}) == 1
            continue
        (image,) = {each.ReferencedSeriesSequence[0].SeriesInstanceUID for each in read}
        first = next((workplace.folder / "dicom/imagesTr" / f"{folder.removeprefix('labelsTr/')}_0000").iterdir())
        assert pydicom.dcmread(first).SeriesInstanceUID == image


def test_the_table_of_subjects_that_bids_suggests_works_in_place_of_its_set(workplace: Workplace, instance: Instance) -> None:
    text = (REPOSITORY / "pyconquest_rules/presets/bids.toml").read_text(encoding="utf-8")
    (suggested,) = re.findall(r"^# +(\[tables\.subjects\])\n# +(csv = .*)$", text, re.MULTILINE)
    rules, replaced = re.subn(r'\[select\.subjects\].*?"""\n.*?"""\n', "\n".join((*suggested, "")), text, flags=re.DOTALL)
    assert replaced == 1
    instance("data/1.dcm", Modality="MR")
    (workplace.folder / "subjects.csv").write_text("PatientID,subject\nP1,01\n", encoding="utf-8")
    (workplace.folder / "rules.toml").write_text(rules, encoding="utf-8")
    assert workplace.run("apply").code == 0
    (path,) = workplace.files("bids")
    assert path.startswith("sourcedata/sub-01/ses-20240203/000-series-"), path
