"""`[release.NAME]`: the evidence in its root, and `verify FOLDER/` where there is nothing else."""

import csv
import json
import os
import random
import shutil
import signal
import subprocess
import sys
from functools import partial
from hashlib import sha256
from pathlib import Path

import pydicom
import pytest
from rocrate.rocrate import ROCrate

from tests.conftest import Done, Instance, Workplace
from tests.kinds import running

NUMBER = 6
RULES = """
[vars]
secret = { env = "DEID_KEY", default = "none" }
label = "one"

[sources.archive]
path = "data"

[select.scans]
level = "image"
where = "Modality = 'CT'"

[copy.export]
select = "scans"
to = "export/{{ PatientID }}/{{ SOPInstanceUID }}.dcm"

[release.v1]
actions = ["copy.export"]
root = "export"
lock = "v1.txt"
title = "Head and neck"
licence = "CC-BY-4.0"
"""
EVIDENCE = ["SHA256SUMS", "manifest.csv", "manifest.parquet", "ro-crate-metadata.json", "run.json"]
program = partial(running.program, "")


@pytest.fixture
def released(workplace: Workplace, instance: Instance, monkeypatch: pytest.MonkeyPatch) -> Workplace:
    """A workplace with the instances of two patients, and a release that is locked."""
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1767225600")
    for number in range(NUMBER):
        instance(f"data/{number}.dcm", InstanceNumber=number, PatientID=f"P{number % 2}")
    workplace.rules(RULES).run("lock")
    return workplace


@pytest.fixture
def root(released: Workplace) -> Path:
    """The root of the release, complete."""
    assert released.run("apply", "--locked").code == 0
    return released.folder / "export"


def evidence(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in EVIDENCE}


def rows(root: Path) -> list[dict[str, str]]:
    with (root / "manifest.csv").open(newline="") as file:
        return [*csv.DictReader(file)]


def verify(root: Path, *options: str) -> Done:
    """Verify a release with nothing beside it: a copy in another folder."""
    return Workplace(root).run("verify", "./", *options)


def test_the_evidence_is_steps_of_the_plan(released: Workplace) -> None:
    actions = released.run("plan", "--json").summary["actions"]
    assert (actions["copy.export"]["todo"], actions["release.v1"]["todo"]) == (NUMBER, len(EVIDENCE))
    summary = released.run("apply", "--json").summary
    assert (summary["copied"], summary["written"]) == (NUMBER, len(EVIDENCE))
    assert summary["bytes"] == sum(len(data) for data in released.files("export").values())
    assert released.run("apply", "--json").summary["done"] == 0
    assert released.run("verify", "--deep", "--json").summary["ok"] == NUMBER + len(EVIDENCE)


def test_sha256sum_accepts_it(root: Path) -> None:
    checked = subprocess.run(["sha256sum", "-c", "--strict", "SHA256SUMS"], cwd=root, check=True, capture_output=True, text=True)
    assert checked.stdout.count(": OK") == NUMBER + 3


def test_the_manifest_has_what_pydicom_reads(root: Path) -> None:
    from pyarrow import parquet

    found = rows(root)
    assert [row["path"] for row in found] == sorted(str(file.relative_to(root)) for file in root.rglob("*.dcm"))
    for row in found:
        data, instance = (root / row["path"]).read_bytes(), pydicom.dcmread(root / row["path"])
        for keyword in ("SOPInstanceUID", "PatientID", "StudyInstanceUID", "SeriesInstanceUID"):
            assert row[keyword] == instance[keyword].value
        assert (row["sha256"], int(row["size"])) == (sha256(data).hexdigest(), len(data))
        assert (row["select"], row["action"], row["transform"]) == ("scans", "copy.export", "")
    table = parquet.read_table(root / "manifest.parquet")
    assert table.to_pylist() == [{**row, "size": int(row["size"])} for row in found]


def test_the_manifest_has_sources_only_if_they_are_asked_for(released: Workplace) -> None:
    released.run("apply")
    export = released.folder / "export"
    assert b"/data/" not in b"".join(evidence(export).values())
    released.rules(RULES + "sources = true\n").run("apply")
    assert {row["source"] for row in rows(export)} == {str(file) for file in (released.folder / "data").iterdir()}
    assert all(sha256(Path(row["source"]).read_bytes()).hexdigest() == row["source_sha256"] for row in rows(export))


def test_the_run_has_the_rules_but_no_value_of_the_environment(released: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEID_KEY", "s3cr3t")
    released.run("--var", "label=two", "apply")
    export = released.folder / "export"
    run = json.loads((export / "run.json").read_text())
    rules = (released.folder / "rules.toml").read_text()
    assert run["rules"] == [{"name": "rules.toml", "sha256": sha256(rules.encode()).hexdigest(), "text": rules}]
    assert run["variables"] == {"label": "two", "secret": {"env": "DEID_KEY"}}
    assert run["counts"] == {"files": NUMBER, "bytes": sum(int(row["size"]) for row in rows(export)), "copy.export": NUMBER}
    assert run["lock"]["sha256"] == sha256((released.folder / "v1.txt").read_bytes()).hexdigest()
    assert (run["date"], run["title"]) == ("2026-01-01", "Head and neck")
    assert b"s3cr3t" not in b"".join(evidence(export).values())


def test_rocrate_reads_a_process_run_crate(root: Path) -> None:
    crate = ROCrate(root)
    dataset = crate.root_dataset
    assert (dataset["name"], dataset["datePublished"]) == ("Head and neck", "2026-01-01")
    assert dataset["license"].id == "https://spdx.org/licenses/CC-BY-4.0"
    assert sorted(part.id for part in dataset["hasPart"]) == [name for name in EVIDENCE if not name.startswith("ro-crate")]
    run = dataset["mentions"]
    assert run.type == "CreateAction"
    assert run["instrument"].type == "SoftwareApplication"
    assert run["result"].id == "./"
    assert [each.id for each in run["object"]] == ["#rules", "#lock"]


def test_without_a_lock_nothing_is_proved(released: Workplace) -> None:
    (released.folder / "v1.txt").unlink()
    done = released.run("apply")
    assert (done.code, "release.v1: it is not locked yet" in done.err) == (0, True)
    assert "lock it with: pyconquest-rules lock v1" in done.err
    assert not {*EVIDENCE} & {*released.files("export")}


def test_what_differs_from_the_lock_is_not_proved(released: Workplace, instance: Instance) -> None:
    released.run("apply")
    before = evidence(released.folder / "export")
    instance("data/new.dcm")
    done = released.run("apply", "--json")
    assert (done.code, done.summary["copied"]) == (1, 1)
    assert "the files differ from the lock of the release" in done.out
    assert "to accept it: pyconquest-rules lock v1" in done.out
    released.run("lock")
    assert released.run("apply", "--json").summary["written"] == len(EVIDENCE)
    assert before != evidence(released.folder / "export")
    assert verify(released.folder / "export").code == 0


def test_a_lock_with_an_unresolved_merge_proves_nothing(released: Workplace) -> None:
    lock = released.folder / "v1.txt"
    lock.write_text(lock.read_text() + "<<<<<<< HEAD\n")
    done = released.run("apply", "--json")
    assert (done.code, done.summary["copied"]) == (1, NUMBER)
    assert "not a valid line of a lock; resolve the merge, or lock again" in done.out


def test_a_failed_copy_holds_the_evidence_back(released: Workplace) -> None:
    export = released.folder / "export/P0"
    export.mkdir(parents=True)
    (export / f"{pydicom.dcmread(released.folder / 'data/0.dcm').SOPInstanceUID}.dcm").write_bytes(b"something else")
    done = released.run("apply", "--json")
    assert (done.code, done.summary["blocked"], done.summary["written"]) == (1, 1 + len(EVIDENCE), 0)


def test_evidence_that_somebody_changed_is_found_and_repaired(released: Workplace, root: Path) -> None:
    before = evidence(root)
    (root / "manifest.csv").write_text("path\n")
    (root / "run.json").unlink()
    assert released.run("apply").code == 1
    assert not (root / "run.json").exists()  # it would be made of a manifest that is not ours
    assert released.run("verify", "--repair", "--json").summary["unmended"] == 0
    assert released.run("apply").code == 0
    assert evidence(root) == before


def test_after_the_state_was_lost_all_is_adopted(released: Workplace, root: Path) -> None:
    before = evidence(root)
    (released.folder / ".pyconquest-rules/state.db").unlink()
    assert released.run("apply", "--json").summary["blocked"] == 1  # the manifest is compared with the ledger
    assert released.run("apply", "--json").summary["adopted"] == 1
    assert evidence(root) == before
    assert released.run("apply", "--json").summary["done"] == 0


def test_moved_files_are_no_release(released: Workplace) -> None:
    done = released.rules(RULES.replace("[release", 'mode = "move"\n\n[release')).run("check")
    assert (done.code, 'copy.export has mode = "move"' in done.err) == (2, True)


def test_the_same_release_is_the_same_anywhere(released: Workplace, root: Path, tmp_path: Path) -> None:
    """Another folder, names and order of files, umask, time zone, locale, seed of hashes."""
    other = tmp_path / "elsewhere/deep"
    (other / "data").mkdir(parents=True)
    for number in reversed(range(NUMBER)):
        shutil.copy(released.folder / f"data/{number}.dcm", other / f"data/{9 - number}.dcm")
    for name in ("rules.toml", "v1.txt"):
        shutil.copy(released.folder / name, other / name)
    environment = {**os.environ, "TZ": "Pacific/Apia", "LC_ALL": "C", "PYTHONHASHSEED": "7"}
    command = [sys.executable, "-m", "pyconquest_rules", "apply", "--locked"]
    subprocess.run(command, cwd=other, env=environment, check=True, capture_output=True, umask=0o077)
    assert Workplace(other).files("export") == released.files("export")


def test_a_killed_run_gives_the_same_bytes(
    released: Workplace, root: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """50 kills with `--torture`, else a few."""
    expected = released.files("export")
    choose = random.Random(15)
    for number in range(50 if request.config.getoption("torture") else 8):
        folder = tmp_path / str(number)
        shutil.copytree(released.folder, folder, ignore=shutil.ignore_patterns("export", ".pyconquest-rules"))
        point = choose.choice([("os", "fsync", choose.randint(1, 25)), ("Ledger", "record", choose.randint(1, 5))])
        assert program(folder, "apply", kill=point).returncode in (-signal.SIGKILL, 0)
        assert program(folder, "apply").returncode == 0
        assert Workplace(folder).files("export") == expected


class TestAnotherMachine:
    """`verify FOLDER/` has only the folder."""

    @pytest.fixture
    def handed(self, root: Path, tmp_path: Path) -> Path:
        """The release on another machine."""
        return Path(shutil.copytree(root, tmp_path / "handed"))

    def test_a_complete_release_is_accepted(self, handed: Path) -> None:
        assert verify(handed, "--json").summary["ok"] == NUMBER + 4
        assert Workplace(handed.parent).run("verify", "handed/").code == 0
        assert Workplace(handed).run("verify", ".").code == 0

    def test_what_is_missing_changed_and_extra_is_named(self, handed: Path) -> None:
        one, other, *_ = sorted(handed.rglob("*.dcm"))
        one.unlink()
        other.write_bytes(other.read_bytes()[:-1] + b"!")
        (handed / "notes.txt").write_text("x")
        done = verify(handed, "--list")
        assert done.code == 1
        found = dict(line.split(maxsplit=1) for line in done.out.splitlines())
        assert found == {
            "missing": str(one.relative_to(handed)),
            "changed": str(other.relative_to(handed)),
            "extra": "notes.txt",
        }

    def test_a_forged_list_is_found(self, handed: Path) -> None:
        """Somebody changed a file and its line, but not the digest of the list."""
        file = min(handed.rglob("*.dcm"))
        before = sha256(file.read_bytes()).hexdigest()
        file.write_bytes(b"forged")
        listed = handed / "SHA256SUMS"
        listed.write_text(listed.read_text().replace(before, sha256(b"forged").hexdigest()))
        done = verify(handed, "--list")
        assert (done.code, done.out.splitlines()) == (1, ["changed  SHA256SUMS", "changed  manifest.csv"])

    @pytest.mark.parametrize("path", ["/etc/passwd", "../rules.toml", "P0/../../x", "\\\\x00", "P0", "P0/x/y/z", "pipe", "zero"])
    def test_a_hostile_list_opens_nothing_else(self, handed: Path, path: str) -> None:
        os.mkfifo(handed / "pipe")
        (handed / "zero").symlink_to("/dev/zero")
        with (handed / "SHA256SUMS").open("a") as file:
            file.write(f"{'0' * 64}  {path}\n")
        done = verify(handed, "--json")
        assert done.code == 1
        assert done.summary["ok"] == NUMBER + 2  # without SHA256SUMS, and the manifest, which has other lines

    @pytest.mark.parametrize("line", ["no digest\n", f"{'0' * 64}\n", f"{'0' * 64}  {'x' * 70_000}\n", f"{'0' * 64}  no end"])
    def test_a_line_that_is_none_is_an_error_with_its_number(self, handed: Path, line: str) -> None:
        with (handed / "SHA256SUMS").open("a") as file:
            file.write(line)
        done = verify(handed)
        assert (done.code, f"line {NUMBER + 4} is not a line of sha256sum" in done.err) == (2, True)

    def test_a_folder_that_is_no_release_is_an_error(self, tmp_path: Path) -> None:
        done = Workplace(tmp_path).run("verify", "./")
        assert (done.code, "is not a release: it has no file SHA256SUMS" in done.err) == (2, True)

    def test_targets_and_releases_are_not_mixed(self, handed: Path) -> None:
        done = Workplace(handed).run("verify", "./", "copy")
        assert (done.code, "verified alone" in done.err) == (2, True)
