"""Files that a command writes where somebody says: nothing of the user's is ever replaced unseen."""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Done, Instance, Workplace

RULES = """
[index]
dicom_sql = "columns.sql"

[sources.archive]
path = "data"
layout = "{{ SOPInstanceUID }}.dcm"

[tables.cohort]
csv = "cohort.csv"

[select.scans]
level = "series"
where = "Modality = 'CT'"

[copy.export]
select = "scans"
to = "export/{{ SOPInstanceUID }}.dcm"

[nodes.clinic]
ae_title = "CLINIC"
host = "127.0.0.1"
port = 104
tls = { ca = "ca.pem", certificate = "own.pem", key = "own.key", key_password_file = "password" }

[listen.inbox]
ae_title = "RULES"
port = 0
into = "archive"
tls = { certificate = "port.pem", key = "port.key", ca = "callers.pem" }
"""

KEPT = ("ca.pem", "own.pem", "own.key", "password", "port.pem", "port.key", "callers.pem")

COPY = "export/1.2.826.0.1.3680043.10.1.1.dcm"


@pytest.fixture
def clinic(workplace: Workplace, instance: Instance, pytestconfig: pytest.Config) -> Workplace:
    """A workplace with every kind of file that a rules file names, one of two instances copied."""
    instance("data/1.dcm")
    (workplace.folder / "columns.sql").write_bytes((pytestconfig.rootpath / "dicom.sql").read_bytes())
    (workplace.folder / "cohort.csv").write_text("PatientID\nP1\n")
    for name in KEPT:
        (workplace.folder / name).write_text(name)
    assert workplace.rules(RULES).run("apply").code == 0
    instance("data/2.dcm")
    return workplace


Command = Callable[[str], list[str]]

# Every command that writes a file which somebody names.
COMMANDS: dict[str, Command] = {
    "plan": lambda file: ["plan", "-o", file],
    "verify": lambda file: ["verify", "--repair", "-o", file],
    "export csv": lambda file: ["export", "images", "--format", "csv", "-o", file],
    "export json": lambda file: ["export", "scans", "--format", "json", "-o", file],
    "export parquet": lambda file: ["export", "select 1 as one", "--format", "parquet", "-o", file],
    "report": lambda file: ["index", "--report", file],
}

every_command = pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)


def everything(workplace: Workplace) -> dict[str, bytes]:
    """All that no command may change: all files but those that SQLite works with."""
    found = {str(path): path.read_bytes() for path in sorted(workplace.folder.rglob("*")) if path.is_file()}
    return {path: data for path, data in found.items() if "conquest.db" not in path and "/.pyconquest-rules/" not in path}


def refused(workplace: Workplace, command: list[str], why: str) -> Done:
    """Runs a command that must change nothing."""
    before = everything(workplace)
    for arguments in (command, [*command, "--force"]):
        done = workplace.run(*arguments)
        assert (done.code, why in done.err) == (2, True), done.err
        assert "--force" not in done.err
    assert everything(workplace) == before
    with sqlite3.connect(workplace.folder / "conquest.db") as index:
        assert index.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    return done


PROTECTED = {
    "rules.toml": "it is the rules file",
    "./export/../rules.toml": "it is the rules file",
    "link-to-rules": "it is the rules file",
    "hardlink-to-rules": "it is the rules file",
    "conquest.db": "it is the index",
    "conquest.db-wal": "it is a file of the index",
    "conquest.db-shm": "it is a file of the index",
    "conquest.db-journal": "it is a file of the index",
    "columns.sql": "it is the dicom_sql of the rules",
    "cohort.csv": "it is the CSV file of [tables.cohort]",
    "own.key": "it is a file of the tls of [nodes.clinic]",
    "port.key": "it is a file of the tls of [listen.inbox]",
    "data/1.dcm": 'it is inside the source "archive"',
    "data/new": 'it is inside the source "archive"',
    "data": 'it is inside the source "archive"',
    "data/no/folder/x": 'it is inside the source "archive"',
    "linked-data/new": 'it is inside the source "archive"',
    "link-into-data": 'it is inside the source "archive"',
    ".pyconquest-rules/state.db": "it is inside the folder in which this program keeps its state",
    ".pyconquest-rules/new": "it is inside the folder in which this program keeps its state",
    COPY: "apply created the existing file",
    "link-to-copy": "apply created the existing file",
    "export": "it is a folder",
}


@pytest.mark.parametrize("file", PROTECTED)
def test_what_no_command_replaces(file: str, clinic: Workplace) -> None:
    folder = clinic.folder
    (folder / "link-to-rules").symlink_to("rules.toml")
    os.link(folder / "rules.toml", folder / "hardlink-to-rules")
    (folder / "linked-data").symlink_to("data")
    (folder / "link-into-data").symlink_to("data/not-there")
    (folder / "link-to-copy").symlink_to(COPY)
    for name in ("plan", "export csv"):
        refused(clinic, COMMANDS[name](file), PROTECTED[file])


@every_command
def test_every_command_keeps_every_file_of_the_rules(command: Command, clinic: Workplace) -> None:
    for name in (*KEPT, "rules.toml", "data/1.dcm", "conquest.db", COPY):
        refused(clinic, command(name), f"cannot write {name}: ")


def test_a_configuration_keeps_the_layout_of_the_rules(clinic: Workplace) -> None:
    (clinic.folder / "columns.sql").rename(clinic.folder / "dicom.sql")
    clinic.rules(RULES.replace("columns.sql", "dicom.sql"))
    refused(clinic, ["conquest-config", "-o", "."], "cannot write dicom.sql: it is the dicom_sql of the rules")
    refused(clinic, ["conquest-config", "-o", "data"], "cannot write data/dicom.ini: it is inside the source")
    refused(clinic, ["conquest-config", "-o", "cohort.csv"], "cohort.csv is not a folder")
    assert clinic.run("conquest-config", "-o", "server/of/ours").code == 0
    assert clinic.run("conquest-config", "-o", "server/of/ours").code == 0
    (clinic.folder / "server/of/ours/dicom.ini").write_text("edited")
    before = everything(clinic)
    done = clinic.run("conquest-config", "-o", "server/of/ours", "--port", "4243")
    assert (done.code, "somebody changed it" in done.err) == (2, True)
    assert everything(clinic) == before


@every_command
def test_a_file_of_the_user_is_replaced_with_force_alone(command: Command, clinic: Workplace) -> None:
    file = clinic.folder / "mine"
    for mine in (b"", b"mine\n", b"SQLite format 3\0", b"PatientID\r\n"):
        file.write_bytes(mine)
        done = clinic.run(*command("mine"))
        assert done.code == 2
        assert "cannot write mine: this program did not write the existing file; name another file" in done.err
        assert file.read_bytes() == mine
    assert clinic.run(*command("mine"), "--force").code in (0, 1)
    assert file.read_bytes() not in (mine, b"")


@every_command
def test_a_file_of_ours_is_replaced_until_somebody_changes_it(command: Command, clinic: Workplace) -> None:
    file = clinic.folder / "out"
    for night in range(3):
        assert clinic.run(*command("out")).code in (0, 1), night
    (clinic.folder / "sub").mkdir()
    assert clinic.run(*command("../" + clinic.folder.name + "/sub/../out")).code in (0, 1)
    with file.open("ab") as opened:
        opened.write(b"\n")
    changed = file.read_bytes()
    done = clinic.run(*command("out"))
    assert (done.code, "somebody changed it after this program wrote it" in done.err) == (2, True)
    assert file.read_bytes() == changed
    assert clinic.run(*command("out"), "--force").code in (0, 1)
    assert clinic.run(*command("out")).code in (0, 1)
    # What was deleted, or replaced by a file of somebody else, is known to be so.
    file.unlink()
    assert clinic.run(*command("out")).code in (0, 1)
    file.unlink()
    file.write_bytes(b"another one")
    assert clinic.run(*command("out")).code == 2


def test_what_a_folder_that_moved_holds_is_still_ours(clinic: Workplace, tmp_path: Path) -> None:
    assert clinic.run("export", "images", "-o", "out.csv").code == 0
    moved = Workplace(clinic.folder.rename(clinic.folder.parent / f"{clinic.folder.name}-moved"))
    assert moved.run("export", "images", "-o", "out.csv").code == 0
    clinic.folder.mkdir()


def test_a_file_can_be_written_where_the_state_cannot(workplace: Workplace, instance: Instance) -> None:
    instance("data/1.dcm")
    workplace.rules('[sources.archive]\npath = "data"\n').run("index")
    (workplace.folder / ".pyconquest-rules" / "state.db").mkdir()
    assert workplace.run("export", "images", "-o", "out.csv").code == 0
    assert workplace.run("export", "images", "-o", "out.csv").code == 1


def test_the_permissions_of_the_replaced_file_stay(clinic: Workplace) -> None:
    assert clinic.run("export", "images", "-o", "out.csv").code == 0
    (clinic.folder / "out.csv").chmod(0o640)
    assert clinic.run("export", "images", "-o", "out.csv").code == 0
    assert (clinic.folder / "out.csv").stat().st_mode & 0o777 == 0o640


def test_a_link_stays_and_what_it_leads_to_is_written(clinic: Workplace) -> None:
    (clinic.folder / "elsewhere").mkdir()
    (clinic.folder / "out.csv").symlink_to("elsewhere/out.csv")
    for _ in range(2):
        assert clinic.run("export", "images", "-o", "out.csv").code == 0
    assert (clinic.folder / "out.csv").is_symlink()
    assert (clinic.folder / "elsewhere/out.csv").stat().st_size > 0


FAILING = "select SOPInstanceUID, nope from images"


@pytest.mark.parametrize(
    "failing",
    [
        ["export", FAILING, "-o", "out", "--format", "csv"],
        ["export", FAILING, "-o", "out", "--format", "parquet"],
        ["index", "nowhere", "--report", "out"],
        ["plan", "copy.export", "-o", "out"],
        ["verify", "--repair", "-o", "out"],
    ],
    ids=lambda command: command[0] if isinstance(command, list) else None,
)
def test_a_command_that_fails_leaves_the_earlier_file(failing: list[str], clinic: Workplace) -> None:
    assert clinic.run("export", "images", "-o", "out", "--format", "csv").code == 0
    before = everything(clinic)
    (clinic.folder / "data").rename(clinic.folder / "away")
    if failing[0] == "verify":
        (clinic.folder / "rules.toml").write_text(
            "rules_version = 1\n" + RULES.replace("'CT'", "'CT' and abs(-9223372036854775808) = 1")
        )
        before = everything(clinic)
    done = clinic.run(*failing)
    (clinic.folder / "away").rename(clinic.folder / "data")
    assert done.code in (1, 2)
    assert {path.replace("/away/", "/data/"): data for path, data in before.items()} == everything(clinic)
    assert not [*clinic.folder.glob(".*.part")]


KILLED = """
import os, signal, sys
from pathlib import Path
from pyconquest_rules import app
from pyconquest_rules.app import writing as room

def die(*arguments, **keywords):
    os.kill(os.getpid(), signal.SIGKILL)

if sys.argv[1] != "in the middle":
    name = {"before its name": "replace", "after its name": "open"}[sys.argv[1]]
    class Dying:
        def __getattr__(self, each):
            return die if each == name and self.armed else getattr(os, each)
        armed = False
    room.os = dying = Dying()
with app.written(app.Rules.load("rules.toml"), Path("out.csv")) as file:
    file.write(b"a\\n1\\n" * 100_000)
    file.flush()
    if sys.argv[1] == "in the middle":
        die()
    dying.armed = True
"""


@pytest.mark.parametrize("when", ["in the middle", "before its name", "after its name"])
def test_a_killed_command_leaves_the_old_file_or_the_new_one_and_the_next_replaces_it(when: str, clinic: Workplace) -> None:
    assert clinic.run("export", "images", "-o", "out.csv").code == 0
    old = (clinic.folder / "out.csv").read_bytes()
    killed = subprocess.run([sys.executable, "-c", KILLED, when], cwd=clinic.folder, check=False)
    assert killed.returncode == -signal.SIGKILL
    left = (clinic.folder / "out.csv").read_bytes()
    assert left == (b"a\n1\n" * 100_000 if when == "after its name" else old)
    assert clinic.run("export", "images", "-o", "out.csv").code == 0
    assert (clinic.folder / "out.csv").read_bytes() == old
    assert not [*clinic.folder.glob(".*.part")]


def test_two_commands_never_write_one_file_together(clinic: Workplace) -> None:
    holds = "from pathlib import Path; from pyconquest_rules import app\n"
    holds += "with app.written(app.Rules.load('rules.toml'), Path('out.csv')) as file:\n"
    holds += "    print(flush=True); input(); file.write(b'first')\n"
    with subprocess.Popen(
        [sys.executable, "-c", holds], cwd=clinic.folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as first:
        assert first.stdout is not None
        first.stdout.readline()
        done = clinic.run("export", "images", "-o", "out.csv")
        assert (done.code, "another command is writing it" in done.err) == (2, True)
        first.communicate(b"\n")
    assert (clinic.folder / "out.csv").read_bytes() == b"first"


def test_a_file_that_came_in_the_meantime_stays(clinic: Workplace) -> None:
    holds = "from pathlib import Path; from pyconquest_rules import app\n"
    holds += "with app.written(app.Rules.load('rules.toml'), Path('out.csv')) as file:\n"
    holds += "    Path('out.csv').write_text('mine')\n"
    done = subprocess.run([sys.executable, "-c", holds], cwd=clinic.folder, capture_output=True, text=True, check=False)
    assert "this program did not write the existing file" in done.stderr
    assert (clinic.folder / "out.csv").read_text() == "mine"


def shell(clinic: Workplace, command: str) -> subprocess.CompletedProcess[str]:
    program = f"{sys.executable} -m pyconquest_rules"
    return subprocess.run(
        ["bash", "-c", command.replace("PROGRAM", program)], cwd=clinic.folder, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    "command",
    [
        "PROGRAM export 'select 1 as one' -o - --format csv",
        "PROGRAM export 'select 1 as one' -o /dev/stdout --format csv",
        "PROGRAM export 'select 1 as one' -o /dev/stdout --format csv | cat",
        "PROGRAM export 'select 1 as one' -o /dev/fd/1 --format csv",
        "PROGRAM export 'select 1 as one' -o >(cat > got) --format csv;"
        " for try in {1..1000}; do [ -s got ] && break; sleep 0.01; done; cat got",
        "mkfifo pipe; cat pipe & PROGRAM export 'select 1 as one' -o pipe --format csv; wait",
        "echo kept > got; PROGRAM export 'select 1 as one' -o /dev/stdout --format csv >> got; grep -v kept got",
    ],
)
def test_standard_output_and_pipes_take_rows(command: str, clinic: Workplace) -> None:
    done = shell(clinic, command)
    assert (done.returncode, done.stdout.replace("\r", "")) == (0, "one\n1\n"), done.stderr


def test_a_report_goes_to_standard_output(clinic: Workplace) -> None:
    lines = shell(clinic, "PROGRAM index --report -").stdout.splitlines()
    assert sorted(json.loads(line)["outcome"] for line in lines) == ["indexed", "unchanged"]


def test_a_device_stays_a_device(clinic: Workplace) -> None:
    assert clinic.run("export", "images", "-o", "/dev/null", "--format", "csv").code == 0
    assert Path("/dev/null").is_char_device()
    assert clinic.run("plan", "-o", "/dev/null").code == 2
    assert Path("/dev/null").is_char_device()


def test_no_error_about_a_plan_leads_to_overwriting(clinic: Workplace) -> None:
    for file in ("rules.toml", "data/1.dcm", "cohort.csv", "conquest.db", ".pyconquest-rules/state.db"):
        said = clinic.run("apply", "--plan", file).err
        assert f"-o {file}" not in said
        assert "is not a plan of this version" in said


def of_state(other: Path) -> Path:
    return other / ".pyconquest-rules/state.db"


def of_decisions(other: Path) -> Path:
    return other / ".pyconquest-rules/decisions.txt"


def new_in_the_state(other: Path) -> Path:
    return other / ".pyconquest-rules/deeper/new"


def of_index(other: Path) -> Path:
    return other / "conquest.db"


def of_index_by_a_link(other: Path) -> Path:
    (other / "report").symlink_to("conquest.db")
    return other / "report"


def of_index_by_a_hard_link(other: Path) -> Path:
    (other / "report.csv").hardlink_to(other / "conquest.db")
    return other / "report.csv"


def beside_the_index(other: Path) -> Path:
    (other / "conquest.db-wal").write_bytes(b"")
    return other / "conquest.db-wal"


def of_a_server(other: Path) -> Path:
    with sqlite3.connect(other / "server.db") as connection:
        connection.execute("CREATE TABLE DICOMPatients (PatientID varchar(64))")
    return other / "server.db"


OTHERS = (
    of_state,
    of_decisions,
    new_in_the_state,
    of_index,
    of_index_by_a_link,
    of_index_by_a_hard_link,
    beside_the_index,
    of_a_server,
)


@pytest.mark.parametrize("name", OTHERS)
def test_state_and_index_of_another_project_are_not_replaced_even_with_force(
    name: Callable[[Path], Path], clinic: Workplace, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("other")
    shutil.copytree(clinic.folder, folder, dirs_exist_ok=True)
    other = Workplace(folder)
    assert other.run("apply").code == 0
    (folder / ".pyconquest-rules/deeper").mkdir()
    file = name(folder)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.suffix != ".db-shm"}
    for command in (["export", "images", "--format", "csv", "-o"], ["plan", "-o"], ["index", "--report"]):
        done = clinic.run(*command, str(file), "--force")
        assert done.code == 2, command
        assert "name another file" in done.err
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.suffix != ".db-shm"} == before


def test_a_plan_of_another_project_is_replaced_with_force(clinic: Workplace, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("other")
    assert clinic.run("plan", "-o", "p.plan").code in (0, 1)
    shutil.copy(clinic.folder / "p.plan", folder / "p.plan")
    assert clinic.run("plan", "-o", str(folder / "p.plan")).code == 2
    assert clinic.run("plan", "-o", str(folder / "p.plan"), "--force").code in (0, 1)
