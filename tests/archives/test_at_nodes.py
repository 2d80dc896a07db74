"""Members of archives are sent and transformed, and an instance that is in an archive is not stored again."""

import zipfile
from contextlib import ExitStack
from pathlib import Path

import pydicom
import pytest

from pyconquest_rules.kinds import all as list_of_kinds
from pyconquest_rules.network.statuses import Status
from tests.archives.packing import PACKERS, age, pack
from tests.conftest import Instance, Workplace
from tests.execute.sends import RULES as SENDING
from tests.intake.inboxes import RULES as RECEIVING
from tests.intake.inboxes import put, receiving
from tests.kinds import renaming
from tests.kinds.test_content import RULES as RENAMING
from tests.network.raw import CT, data_set
from tests.peers.processes import free_port, storescp_at

NUMBER = 5


@pytest.mark.parametrize("name", PACKERS)
def test_members_are_sent_once(workplace: Workplace, instance: Instance, tmp_path: Path, name: str) -> None:
    made = {f"{each}.dcm": instance(f"made/{each}.dcm", pixels=bytes(100)).read_bytes() for each in range(NUMBER)}
    pack(workplace, name, made)
    port = free_port()
    workplace.rules(SENDING.format(port=port, associations=2))
    with storescp_at(tmp_path / "received", port):
        assert workplace.run("apply", "--json").summary["done"] == NUMBER
        assert workplace.run("apply", "--json").summary["unchanged"] == NUMBER
    received = {pydicom.dcmread(file).SOPInstanceUID for file in (tmp_path / "received").iterdir()}
    assert received == {pydicom.dcmread(file).SOPInstanceUID for file in (tmp_path / "made").iterdir()}


def test_a_damaged_member_is_not_sent_and_the_others_are(workplace: Workplace, instance: Instance, tmp_path: Path) -> None:
    made = {f"{each}.dcm": instance(f"made/{each}.dcm", pixels=bytes(50_000)).read_bytes() for each in range(NUMBER)}
    file = pack(workplace, "b.ZIP", made)
    data = bytearray(file.read_bytes())
    data[data.index(bytes(30_000)) + 20_000] = 1
    file.write_bytes(data)
    port = free_port()
    workplace.rules(SENDING.format(port=port, associations=1))
    with storescp_at(tmp_path / "received", port):
        done = workplace.run("apply", "--json")
    assert (done.summary["done"], done.summary["failed"]) == (NUMBER - 1, 1)
    assert "(damaged-member)" in done.out


@pytest.mark.parametrize("name", PACKERS)
def test_a_recipe_makes_the_same_of_a_member_and_of_a_file(
    workplace: Workplace, instance: Instance, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(list_of_kinds, "ACTIONS", renaming.KINDS)
    made = {f"{each}.dcm": instance(f"data/{each}.dcm", InstanceNumber=each) for each in range(NUMBER)}
    members = {member: file.read_bytes() for member, file in made.items()}
    (workplace.folder / "key").write_text("A")
    workplace.rules(RENAMING).run("apply")
    unpacked = workplace.files("export")
    assert len(unpacked) == NUMBER
    for file in made.values():
        file.unlink()
    pack(workplace, name, members)
    assert workplace.run("index", "--allow-vanish").code == 0
    for file in (workplace.folder / "export").iterdir():
        file.unlink()
    assert workplace.run("apply", "--allow-vanish").code == 0
    assert workplace.files("export") == unpacked


def test_an_instance_in_an_archive_is_not_stored_again(workplace: Workplace) -> None:
    workplace.rules(RECEIVING)
    (workplace.folder / "archive").mkdir()
    data = data_set("1.2.9")
    with receiving(workplace) as inbox:
        assert put(inbox, "1.2.9", data)[0] == Status.SUCCESS
    stored = workplace.folder / "archive/P1/1.2.9.dcm"
    with zipfile.ZipFile(workplace.folder / "archive/x.zip", "w") as packed:
        packed.writestr("1.dcm", stored.read_bytes())
    age(workplace.folder / "archive/x.zip")
    stored.unlink()
    assert workplace.run("index", "--allow-vanish").code == 0
    with ExitStack() as stack:
        inbox = stack.enter_context(receiving(workplace, newest=True))
        assert put(inbox, "1.2.9", data) == (Status.SUCCESS, "", True)
        assert inbox.holds(CT, "1.2.9") == 0
        status, why, _ = put(inbox, "1.2.9", data_set("1.2.9", patient="P2"))
        assert (status, "exists in an archive" in why) == (Status.DUPLICATE_SOP_INSTANCE, True)
        assert workplace.files("archive").keys() == {"x.zip"}
        (workplace.folder / "archive/x.zip").unlink()
        assert put(inbox, "1.2.9", data) == (Status.SUCCESS, "its indexed file no longer exists", False)
    assert workplace.files("archive").keys() == {"P1/1.2.9.dcm"}
    assert workplace.run("index", "--json", "--allow-vanish").summary["unchanged"] == 1
