"""`[archive.NAME]`: packed, unchanged, packed again, verified, repaired, pruned."""

import io
import sqlite3
import tarfile
import zipfile
from contextlib import closing
from hashlib import sha256
from typing import Any

import pytest

from tests.conftest import Instance, Workplace

PATIENTS, EACH = 3, 4
RULES = """
outputs = ["out"]

[sources.archive]
path = "data"

[select.scans]
level = "image"
where = "Modality = 'CT'"

[archive.packed]
select = "scans"
to = "out/{{ PatientID }}.zip"
member = "{{ Modality }}/{{ InstanceNumber }}.dcm"
"""


@pytest.fixture
def packed(workplace: Workplace, instance: Instance) -> Workplace:
    """A workplace with the instances of three patients, each of which gets an archive."""
    for patient in range(PATIENTS):
        for number in range(EACH):
            instance(f"data/{patient}/{number}.dcm", PatientID=f"P{patient}", InstanceNumber=number, pixels=bytes(1000))
    return workplace.rules(RULES)


def members(archive: bytes) -> dict[str, bytes]:
    """Return the members of a zip file or a tar file."""
    if zipfile.is_zipfile(io.BytesIO(archive)):
        with zipfile.ZipFile(io.BytesIO(archive)) as read:
            assert read.testzip() is None
            return {name: read.read(name) for name in read.namelist()}
    with tarfile.open(fileobj=io.BytesIO(archive)) as read:
        return {member.name: read.extractfile(member).read() for member in read}  # type: ignore[union-attr]


def reasons(workplace: Workplace, *targets: str) -> dict[str, int]:
    found: dict[str, int] = workplace.run("plan", *targets, "--json").summary["reasons"]
    return found


def ledger(workplace: Workplace, query: str) -> list[Any]:
    with closing(sqlite3.connect(workplace.folder / ".pyconquest-rules/state.db")) as state:
        return state.execute(query).fetchall()


@pytest.mark.parametrize("ending", [".zip", ".tar"])
def test_each_path_is_an_archive(packed: Workplace, ending: str) -> None:
    packed.rules(RULES.replace(".zip", ending))
    sources = packed.files("data")
    planned = packed.run("plan", "--json").summary
    assert planned["reasons"] == {"todo:new": PATIENTS}
    assert planned["actions"]["archive.packed"]["bytes"] == sum(map(len, sources.values()))
    assert packed.run("apply", "--json").summary["packed"] == PATIENTS
    made = packed.files("out")
    assert [*made] == [f"P{patient}{ending}" for patient in range(PATIENTS)]
    for patient in range(PATIENTS):
        found = members(made[f"P{patient}{ending}"])
        assert [*found] == [f"CT/{number}.dcm" for number in range(EACH)]
        assert found == {f"CT/{number}.dcm": sources[f"{patient}/{number}.dcm"] for number in range(EACH)}
    again = packed.run("apply", "--json").summary
    assert (again["done"], again["unchanged"]) == (0, PATIENTS)
    assert packed.files("out") == made
    assert packed.run("verify", "--deep", "--json").summary["ok"] == PATIENTS
    assert packed.run("plan", "--detailed-exitcode").code == 0


def test_only_the_archive_of_a_changed_instance_is_made_again(packed: Workplace, instance: Instance) -> None:
    packed.run("apply")
    before = packed.files("out")
    instance("data/1/2.dcm", PatientID="P1", InstanceNumber=2, pixels=bytes(2000))
    assert reasons(packed) == {"todo:source-changed": 1, "unchanged:done": 2}
    packed.run("apply")
    after = packed.files("out")
    assert {name for name in before if before[name] != after[name]} == {"P1.zip"}
    assert members(after["P1.zip"])["CT/2.dcm"] == (packed.folder / "data/1/2.dcm").read_bytes()


def test_an_added_or_removed_instance_makes_its_archive_again(packed: Workplace, instance: Instance) -> None:
    packed.run("apply")
    instance("data/0/9.dcm", PatientID="P0", InstanceNumber=9)
    (packed.folder / "data/2/3.dcm").unlink()
    assert reasons(packed) == {"todo:source-changed": 2, "unchanged:done": 1}
    packed.run("apply")
    made = packed.files("out")
    assert [len(members(made[f"P{patient}.zip"])) for patient in range(PATIENTS)] == [EACH + 1, EACH, EACH - 1]


def test_another_name_of_a_member_makes_its_archive_again(packed: Workplace) -> None:
    packed.run("apply")
    packed.rules(RULES.replace("{{ InstanceNumber }}.dcm", "{{ InstanceNumber }}"))
    assert reasons(packed) == {"todo:source-changed": PATIENTS}
    packed.run("apply")
    assert "CT/0" in members(packed.files("out")["P0.zip"])
    assert reasons(packed) == {"unchanged:done": PATIENTS}


def test_a_source_with_a_new_place_changes_nothing_in_the_bytes(packed: Workplace) -> None:
    packed.run("apply")
    before = packed.files("out")
    (packed.folder / "data/1").rename(packed.folder / "data/9")
    assert packed.run("apply").code == 0
    assert packed.files("out") == before
    assert reasons(packed) == {"unchanged:done": PATIENTS}


def test_the_ledger_knows_each_member(packed: Workplace) -> None:
    packed.run("apply")
    rows = ledger(packed, "SELECT target, member, SOPInstanceUID, source, source_sha256, sha256 FROM done WHERE kind = 'member'")
    assert len(rows) == PATIENTS * EACH
    made = packed.files("out")
    for target, member, uid, source, source_sha256, digest in rows:
        data = members(made[target.removeprefix("out/")])[member]
        assert sha256(data).hexdigest() == source_sha256 == digest
        assert uid.encode() in data
        assert (packed.folder / source.decode()).read_bytes() == data
    assert ledger(packed, "SELECT count(*) FROM done WHERE kind = 'file'") == [(PATIENTS,)]


def test_members_that_left_leave_the_ledger(packed: Workplace) -> None:
    packed.run("apply")
    (packed.folder / "data/2/3.dcm").unlink()
    packed.run("apply")
    rows = ledger(packed, "SELECT member FROM done WHERE kind = 'member' AND target = 'out/P2.zip' ORDER BY member")
    assert rows == [("CT/0.dcm",), ("CT/1.dcm",), ("CT/2.dcm",)]


def test_explain_names_the_archive_of_an_instance(packed: Workplace) -> None:
    packed.run("apply")
    [(uid,)] = ledger(packed, "SELECT SOPInstanceUID FROM done WHERE target = 'out/P1.zip' AND member = 'CT/2.dcm'")
    explained = packed.run("explain", uid)
    assert explained.code == 0
    assert "out/P1.zip" in explained.out
    assert "CT/2.dcm" in explained.out
    of_archive = packed.run("explain", "out/P1.zip", "--json")
    assert of_archive.summary["instances"] == EACH
    steps = [step for line in of_archive.lines[:-1] for step in line["steps"]]
    assert sorted(step["member"] for step in steps) == [f"CT/{number}.dcm" for number in range(EACH)]


def test_a_changed_archive_is_found_and_repaired(packed: Workplace) -> None:
    packed.run("apply")
    before = packed.files("out")
    archive = packed.folder / "out/P1.zip"
    archive.write_bytes(before["P1.zip"][:-1] + b"x")
    assert packed.run("verify", "--deep", "--json").summary["changed"] == 1
    assert reasons(packed) == {"blocked:destination-changed": 1, "unchanged:done": 2}
    packed.run("verify", "--deep", "--repair")
    assert packed.run("apply").code == 0
    assert packed.files("out") == before
    archive.unlink()
    assert reasons(packed) == {"todo:destination-missing": 1, "unchanged:done": 2}
    packed.run("apply")
    assert packed.files("out") == before


def test_on_changed_and_on_conflict(packed: Workplace) -> None:
    (packed.folder / "out").mkdir()
    archive = packed.folder / "out/P1.zip"
    archive.write_bytes(b"of somebody else")
    assert reasons(packed) == {"blocked:conflict": 1, "todo:new": 2}
    packed.rules(RULES + 'on_conflict = "overwrite"\non_changed = "restore"\n')
    assert packed.run("apply").code == 0
    before = packed.files("out")
    assert len(members(before["P1.zip"])) == EACH
    archive.write_bytes(b"changed")
    assert packed.run("apply").code == 0
    assert packed.files("out") == before


def test_archives_that_are_there_already_are_adopted(packed: Workplace) -> None:
    """As after the state was lost."""
    packed.run("apply")
    before = packed.files("out")
    (packed.folder / ".pyconquest-rules/state.db").unlink()
    assert reasons(packed) == {"todo:adopt": PATIENTS}
    assert packed.run("apply", "--json").summary["adopted"] == PATIENTS
    assert packed.files("out") == before
    assert reasons(packed) == {"unchanged:done": PATIENTS}
    assert ledger(packed, "SELECT count(*) FROM done WHERE kind = 'member'") == [(PATIENTS * EACH,)]


def test_prune_deletes_archives_without_instances(packed: Workplace) -> None:
    packed.rules(RULES + "prune = true\n")
    packed.run("apply")
    for file in (packed.folder / "data/1").iterdir():
        file.unlink()
    assert reasons(packed) == {"todo:prune": 1, "unchanged:done": 2}
    assert packed.run("apply", "--json").summary["removed"] == 1
    assert [*packed.files("out")] == ["P0.zip", "P2.zip"]
    assert ledger(packed, "SELECT count(*) FROM done WHERE target = 'out/P1.zip'") == [(0,)]


def test_a_source_that_changes_meanwhile_leaves_nothing(packed: Workplace) -> None:
    packed.run("index")
    (packed.folder / "data/1/2.dcm").write_bytes(b"changed since")
    done = packed.run("apply", "--no-index", "--json")
    assert (done.code, done.summary["failed"], done.summary["packed"]) == (1, 1, PATIENTS - 1)
    failed = [line for line in done.lines if line.get("event") == "failed"]
    assert "the source changed since it was indexed; run again" in str(failed)
    assert [*packed.files("out")] == ["P0.zip", "P2.zip"]
    assert not [*(packed.folder / "out").glob(".pyconquest*")]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"SeriesDescription": "a"}, {"SeriesDescription": "a"}),
        ({"SeriesDescription": "a"}, {"SeriesDescription": "A"}),
        ({"SeriesDescription": "caf\u00e9"}, {"SeriesDescription": "cafe\u0301"}),
        ({"SeriesDescription": "a"}, {"SeriesDescription": "a "}),
        ({"SeriesDescription": "x/y"}, {"SeriesDescription": "x_y"}),
    ],
)
def test_members_with_one_name_block_their_archive(
    workplace: Workplace, instance: Instance, first: dict[str, str], second: dict[str, str]
) -> None:
    instance("data/1.dcm", PatientID="P1", **first)
    instance("data/2.dcm", PatientID="P1", **second)
    instance("data/3.dcm", PatientID="P2", **first)
    workplace.rules(RULES.replace("{{ Modality }}/{{ InstanceNumber }}", "{{ SeriesDescription }}"))
    assert reasons(workplace) == {"blocked:collision": 1, "todo:new": 1}
    assert workplace.run("apply").code == 1
    assert [*workplace.files("out")] == ["P2.zip"]


def test_a_member_that_others_need_as_a_folder_blocks_their_archive(workplace: Workplace, instance: Instance) -> None:
    instance("data/1.dcm", SeriesDescription="a", StudyDescription="b")
    instance("data/2.dcm", SeriesDescription="a", StudyDescription=None)
    member = "{{ SeriesDescription }}{% if StudyDescription is defined %}/{{ StudyDescription }}{% endif %}"
    workplace.rules(RULES.replace("{{ Modality }}/{{ InstanceNumber }}.dcm", member))
    assert reasons(workplace) == {"blocked:collision": 1}


HOSTILE = ("../../evil", "/etc/passwd", "..", "C:\\x", "nul", "-rf", "a\nb", "x" * 300, ".", "\u202egpj.dcm")


@pytest.mark.parametrize("value", HOSTILE)
def test_no_value_leads_out_of_an_archive(workplace: Workplace, instance: Instance, value: str) -> None:
    instance("data/1.dcm", SeriesDescription=value)
    workplace.rules(RULES.replace("{{ Modality }}/{{ InstanceNumber }}", "a/{{ SeriesDescription }}"))
    assert workplace.run("apply").code == 0
    [name] = members(workplace.files("out")["P1.zip"])
    above, _, last = name.partition("/")
    assert above == "a"
    assert not set(last) & set("/\\:\n\u202e")
    assert last not in (".", "..")
    assert len(last.encode()) <= 255


def test_a_missing_value_blocks_its_archive(packed: Workplace, instance: Instance) -> None:
    instance("data/1/7.dcm", PatientID="P1", InstanceNumber=None)
    assert reasons(packed) == {"blocked:missing-value": 1, "todo:new": 2}
    assert packed.run("apply").code == 1
    assert [*packed.files("out")] == ["P0.zip", "P2.zip"]


def test_an_instance_twice_in_one_archive(packed: Workplace) -> None:
    """A row is one request: the same member twice is one, and two names are two members."""
    query = "select SOPInstanceUID, column1 as copy from images join (values ('a'), ('a')) where Modality = 'CT'"
    packed.rules(RULES.replace("where = \"Modality = 'CT'\"", f'query = "{query}"'))
    packed.run("apply")
    assert len(members(packed.files("out")["P0.zip"])) == EACH
    query = query.replace("('a'), ('a')", "('a'), ('b')")
    packed.rules(RULES.replace("where = \"Modality = 'CT'\"", f'query = "{query}"').replace("{{ Modality }}", "{{ copy }}"))
    packed.run("apply")
    assert len(members(packed.files("out")["P0.zip"])) == 2 * EACH


def test_a_move_waits_for_the_archive(packed: Workplace) -> None:
    """What is packed must be where it is: a move of the same instances is blocked, or comes afterwards."""
    move = '\n[copy.away]\nselect = "scans"\nto = "out/moved/{{ SOPInstanceUID }}.dcm"\nmode = "move"\n'
    packed.rules(RULES + move)
    packed.run("apply")
    made = packed.files("out")
    assert [len(members(made[f"P{patient}.zip"])) for patient in range(PATIENTS)] == [EACH] * PATIENTS
    moved = [name for name in made if name.startswith("moved/")]
    assert len(packed.files("data")) + len(moved) == PATIENTS * EACH
