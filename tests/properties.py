"""Properties of a run that must hold for any values of the instances."""

from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import strategies as st

from tests.conftest import Workplace, save
from tests.plan.manual import copies, planned

TO = "export/{{ PatientID | default('none') }}/{{ InstanceNumber | default('0') }}.dcm"
LETTERS = st.sampled_from([*"aAbB1_./\\: ~", "\u0308", "\u00fc", "\u00df", "\u212a", "..", "\n", "CON", "x" * 130])
VALUES = st.none() | st.lists(LETTERS, max_size=4).map("".join)
INSTANCES = st.lists(st.tuples(VALUES, st.none() | st.integers(0, 3)), min_size=1, max_size=8)


def workplace_of(folder: Path, instances: list[tuple[str | None, int | None]]) -> Workplace:
    (folder / "data").mkdir()
    for number, (patient, instance) in enumerate(instances):
        elements = {
            "SOPClassUID": "1.2.840.10008.5.1.4.1.1.2",
            "SpecificCharacterSet": "ISO_IR 192",
            "SOPInstanceUID": f"1.2.3.{number}",
            "StudyInstanceUID": f"1.2.4.{number}",
            "SeriesInstanceUID": f"1.2.5.{number}",
            "PatientID": patient,
            "InstanceNumber": instance,
        }
        save(folder / f"data/{number}.dcm", elements)
    return Workplace(folder)


def check_every_copy_is_one_source(instances: list[tuple[str | None, int | None]], on_conflict: str) -> None:
    """After `apply` nothing is left to do, and no two instances share a destination."""
    with TemporaryDirectory() as name:
        workplace = workplace_of(Path(name), instances)
        workplace.rules("outputs = ['export']\n" + copies(TO, on_conflict=on_conflict))
        sources = workplace.files("data")
        applied = workplace.run("apply", "--json").summary
        assert applied["failed"] == 0
        assert applied["done"] + applied["blocked"] == len(sources)

        assert {status for status, _ in planned(workplace).values()} <= {"blocked"}
        assert workplace.run("apply", "--json").summary["done"] == 0

        exported = workplace.files("export")
        assert len(exported) == applied["done"], "two instances share a destination"
        assert len({name.casefold() for name in exported}) == len(exported)
        assert len(set(exported.values())) == len(exported)
        assert set(exported.values()) <= set(sources.values())
        assert workplace.files("data") == sources
        assert {path.parts[0] for path in map(Path, workplace.files())} <= {"data", "export", "rules.toml"}
        assert workplace.run("verify", "--deep").code == 0


def check_repairs(instances: list[tuple[str | None, int | None]], data: st.DataObject) -> None:
    """The next `apply` restores copies that were deleted or changed."""
    with TemporaryDirectory() as name:
        workplace = workplace_of(Path(name), instances)
        workplace.rules(copies(TO, on_conflict="rename", on_changed="restore"))
        workplace.run("apply")
        exported = workplace.files("export")
        for path in exported:
            file = workplace.folder / "export" / path
            match data.draw(st.sampled_from(["stays", "goes", "changes"])):
                case "goes":
                    file.unlink()
                case "changes":
                    file.write_bytes(b"changed")
        if data.draw(st.booleans()):
            (workplace.folder / "conquest.db").unlink()
        workplace.run("apply")
        assert workplace.files("export") == exported
