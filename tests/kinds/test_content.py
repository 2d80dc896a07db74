"""Copy and send deliver what a recipe makes, and know nothing of it: planned, done, confirmed, verified, repaired, pruned."""

import signal
import sqlite3
from contextlib import closing
from functools import partial
from hashlib import sha256
from typing import Any

import pydicom
import pytest

from pyconquest_rules.kinds import all as list_of_kinds
from pyconquest_rules.kinds.retrieve import RetrieveKind
from tests.conftest import Instance, Workplace
from tests.kinds import renaming, running
from tests.peers.archives import dcmqrscp

NUMBER = 6
RULES = """
[sources.archive]
path = "data"

[select.scans]
level = "image"
where = "Modality = 'CT'"

[copy.export]
select = "scans"
to = "export/{{ InstanceNumber }}.dcm"
"""
SEND = """
[nodes.peer]
host = "127.0.0.1"
port = PORT
ae_title = "ARCHIVE"

[send.delivery]
select = "scans"
node = "peer"
confirm = "c-find"
"""
program = partial(running.program, "from tests.kinds.renaming import KINDS; list_of_kinds.ACTIONS = KINDS")


@pytest.fixture
def export(workplace: Workplace, instance: Instance, monkeypatch: pytest.MonkeyPatch) -> Workplace:
    """A workplace with instances, whose copies and sends are transformed with the key "A"."""
    monkeypatch.setattr(list_of_kinds, "ACTIONS", (RetrieveKind(), *renaming.KINDS))
    for number in range(NUMBER):
        instance(f"data/{number}.dcm", InstanceNumber=number, PatientID="HOSPITAL1")
    (workplace.folder / "key").write_text("A")
    return workplace.rules(RULES)


def reasons(export: Workplace, *targets: str) -> dict[str, int]:
    found: dict[str, int] = export.run("plan", *targets, "--json").summary["reasons"]
    return found


def digests(export: Workplace, folder: str = "export") -> dict[str, str]:
    return {name: sha256(data).hexdigest() for name, data in export.files(folder).items()}


def rows(export: Workplace) -> list[tuple[str, str, str, str, str]]:
    """What the ledger says: target, own and delivered UID, digest of the source, digest of what was delivered."""
    columns = "target, SOPInstanceUID, delivered_uid, source_sha256, sha256"
    return ledger(export, f"SELECT {columns} FROM done WHERE kind = 'file' ORDER BY target")


def ledger(export: Workplace, query: str) -> list[Any]:
    with closing(sqlite3.connect(export.folder / ".pyconquest-rules/state.db")) as state:
        return state.execute(query).fetchall()


def test_copies_what_the_recipe_makes(export: Workplace) -> None:
    sources = digests(export, "data")
    assert export.run("apply", "--json").summary["copied"] == NUMBER
    made = digests(export)
    assert digests(export, "data") == sources
    for target, own, delivered, source, put in rows(export):
        name = target.rpartition("/")[2]
        instance = pydicom.dcmread(export.folder / target)
        assert instance.PatientID == "A"
        assert instance.SOPInstanceUID == instance.file_meta.MediaStorageSOPInstanceUID == delivered != own
        assert (source, put) == (sources[name], made[name])
    assert reasons(export) == {"unchanged:done": NUMBER}
    assert export.run("verify", "--deep", "--json").summary["ok"] == NUMBER


def test_another_recipe_makes_all_again(export: Workplace) -> None:
    export.run("apply")
    before = digests(export)
    (export.folder / "key").write_text("B")
    assert reasons(export) == {"todo:rule-changed": NUMBER}
    assert export.run("apply", "--json").summary["copied"] == NUMBER
    assert not set(before.values()) & set(digests(export).values())
    assert reasons(export) == {"unchanged:done": NUMBER}


def test_a_changed_source_is_made_again(export: Workplace) -> None:
    export.run("apply")
    file = export.folder / "data/3.dcm"
    changed = pydicom.dcmread(file)
    changed.StudyDescription = "corrected"
    changed.save_as(file)
    export.run("index")
    assert reasons(export) == {"todo:source-changed": 1, "unchanged:done": NUMBER - 1}
    export.run("apply")
    assert pydicom.dcmread(export.folder / "export/3.dcm").StudyDescription == "corrected"


def test_what_has_these_bytes_already_is_adopted(export: Workplace) -> None:
    """As after the state was lost. Only the bytes that the recipe makes are the right ones."""
    export.run("apply")
    before = digests(export)
    (export.folder / ".pyconquest-rules/state.db").unlink()
    (export.folder / "export/2.dcm").write_bytes((export.folder / "data/2.dcm").read_bytes())
    assert reasons(export) == {"todo:adopt": NUMBER - 1, "blocked:conflict": 1}
    (export.folder / "export/2.dcm").unlink()
    summary = export.run("apply", "--json").summary
    assert (summary["adopted"], summary["copied"]) == (NUMBER - 1, 1)
    assert digests(export) == before
    assert all(source != put for *_, source, put in rows(export))


def test_what_somebody_changed_is_found_and_repaired(export: Workplace) -> None:
    export.run("apply")
    before = digests(export)
    (export.folder / "export/1.dcm").write_bytes(b"something else")
    (export.folder / "export/4.dcm").unlink()
    verified = export.run("verify", "--json").summary
    assert (verified["changed"], verified["missing"]) == (1, 1)
    assert export.run("verify", "--repair", "--json").summary["unmended"] == 0
    assert export.run("apply", "--json").summary["copied"] == 2
    assert digests(export) == before


def test_what_the_set_lost_is_pruned(export: Workplace) -> None:
    export.rules(RULES + "prune = true\n").run("apply")
    for number in (0, 1):
        (export.folder / f"data/{number}.dcm").unlink()
    assert export.run("apply", "--json").summary["removed"] == 2
    assert sorted(export.files("export")) == ["2.dcm", "3.dcm", "4.dcm", "5.dcm"]


def test_an_instance_that_is_refused_is_told_and_leaves_nothing(export: Workplace, instance: Instance) -> None:
    instance("data/9.dcm", InstanceNumber=9, PatientID="refused")
    done = export.run("apply", "--json")
    assert (done.code, done.summary["copied"], done.summary["failed"]) == (1, NUMBER, 1)
    assert [line["message"] for line in done.lines if line["event"] == "failed"] == ["this patient stays here"]
    assert len(list((export.folder / "export").iterdir())) == NUMBER
    assert reasons(export) == {"unchanged:done": NUMBER, "todo:retry": 1}


def test_a_saved_plan_makes_the_same(export: Workplace) -> None:
    assert export.run("plan", "-o", "saved.plan").code in (0, 3)
    (export.folder / "key").write_text("B")
    assert "plan again" in export.run("apply", "--plan", "saved.plan").err
    (export.folder / "key").write_text("A")
    assert export.run("apply", "--plan", "saved.plan", "--json").summary["copied"] == NUMBER
    assert pydicom.dcmread(export.folder / "export/0.dcm").PatientID == "A"


@pytest.mark.parametrize(
    "kill", [("os", "link", 3), ("Ledger", "intend_to_place", 1), ("Ledger", "record", 1), ("Runs", "finish", 1)]
)
def test_a_killed_run_is_gone_on_with(export: Workplace, kill: tuple[str, str, int]) -> None:
    assert export.run("index").code == 0
    assert program(export.folder, "apply", "--no-index", kill=kill).returncode == -signal.SIGKILL
    placed = len([name for name in export.files("export") if name.endswith(".dcm") and not name.startswith(".")])
    assert export.run("apply", "--json").summary["done"] == NUMBER - placed
    assert not [file.name for file in (export.folder / "export").iterdir() if file.name.endswith(".part")]
    assert export.run("verify", "--deep", "--json").summary["ok"] == NUMBER
    assert all(own != delivered and source != put for _, own, delivered, source, put in rows(export))


def test_sends_what_the_recipe_makes_and_confirms_that(export: Workplace) -> None:
    with dcmqrscp() as node:
        export.rules(RULES + SEND.replace("PORT", str(node.port)))
        assert export.run("apply", "send", "--json").summary["sent"] == NUMBER
        assert reasons(export, "send") == {"unchanged:done": NUMBER}
        members = ledger(export, "SELECT member, SOPInstanceUID, confirmed FROM done WHERE kind = 'instance'")
        assert all(member == renaming.Renaming(export.folder).uid(own) and confirmed for member, own, confirmed in members)
        (export.folder / "key").write_text("B")
        assert reasons(export, "send") == {"todo:new": NUMBER}
        found = export.run("find", "peer", "--level", "image", "PatientID=A", "--format", "csv").out.splitlines()
        column = found[0].split(",").index("SOPInstanceUID")
        assert {row.split(",")[column] for row in found[1:]} == {member for member, *_ in members}


def test_an_instance_that_is_refused_is_not_sent(export: Workplace, instance: Instance) -> None:
    instance("data/9.dcm", InstanceNumber=9, PatientID="refused")
    with dcmqrscp() as node:
        export.rules(RULES + SEND.replace("PORT", str(node.port)))
        done = export.run("apply", "send", "--json")
        assert (done.code, done.summary["sent"], done.summary["failed"]) == (1, NUMBER, 1)
        assert [line["message"] for line in done.lines if line["event"] == "failed"] == ["this patient stays here"]
