"""Archives in a source: their members are indexed, copied, verified and repaired where they are."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from pyconquest_rules.index.scan import scan
from pyconquest_rules.index.scan.members import Found, members_of
from tests.archives.packing import PACKERS, RULES, age, pack, packer_of, report
from tests.conftest import Instance, Workplace
from tests.execute.processes import kill
from tests.index.indexing import dump

ARCHIVE = ("skipped", "archive")


@pytest.fixture
def scans(workplace: Workplace, instance: Instance) -> dict[str, bytes]:
    """Six instances by the names of their members, in an order that is not that of their names."""
    workplace.rules(RULES)
    made = {f"s{9 - number}/{number}.dcm": instance(f"made/{number}.dcm", pixels=bytes(50_000)) for number in range(6)}
    return {name: file.read_bytes() for name, file in made.items()}


def images(workplace: Workplace) -> int:
    return int(workplace.run("query", "SELECT count(*) FROM images", "--format", "csv").out.split()[1])


@pytest.fixture(autouse=True)
def is_without_temporary_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail if a temporary file is made."""

    def none(*_: object, **__: object) -> None:
        raise AssertionError("a temporary file")

    monkeypatch.setattr(tempfile, "TemporaryFile", none)


@pytest.mark.parametrize("name", PACKERS)
def test_members_are_indexed_copied_verified_and_repaired(workplace: Workplace, scans: dict[str, bytes], name: str) -> None:
    pack(workplace, name, scans | {"readme.txt": b"not DICOM"})
    expected = {f"{name}//{member}": ("indexed", None) for member in scans}
    assert report(workplace) == {name: ARCHIVE, f"{name}//readme.txt": ("rejected", "not-dicom"), **expected}
    again = workplace.run("index", "--json").summary
    assert (again["read"], again["unchanged"]) == (0, len(scans) + 2)
    assert workplace.run("apply", "--json").summary["done"] == len(scans)
    assert sorted(workplace.files("export").values()) == sorted(scans.values())
    assert workplace.run("plan", "--detailed-exitcode").code == 0
    first = next(iter((workplace.folder / "export").iterdir()))
    data = first.read_bytes()
    first.write_bytes(data[:-1] + b"\1")
    assert workplace.run("verify", "--deep", "--repair").code == 1
    assert workplace.run("apply", "--json").summary["done"] == 1
    assert first.read_bytes() == data
    assert {file.name for file in (workplace.folder / "data").iterdir()} == {name}


def test_an_archive_in_an_archive_is_read_but_none_in_that(workplace: Workplace, scans: dict[str, bytes]) -> None:
    name, data = next(iter(scans.items()))
    pack(workplace, "innermost.zip", {name: data})
    innermost = (workplace.folder / "data/innermost.zip").read_bytes()
    for inner in ("inner.zip", "inner.tar", "inner.tgz"):
        packer_of(inner)(workplace.folder / "data" / inner, [("x.zip", innermost), *scans.items()])
    packed = {file.name: file.read_bytes() for file in sorted((workplace.folder / "data").iterdir())}
    shutil.rmtree(workplace.folder / "data")
    pack(workplace, "outer.zip", packed)
    found = report(workplace)
    for inner in ("inner.zip", "inner.tar", "inner.tgz"):
        assert found[f"outer.zip//{inner}"] == ARCHIVE
        assert found[f"outer.zip//{inner}//x.zip"] == ("rejected", "nested-archive")
        assert {found[f"outer.zip//{inner}//{name}"][0] for name in scans} <= {"indexed", "duplicate"}
    assert workplace.run("index", "--json").summary["read"] == 0
    assert workplace.run("apply", "--json").summary["done"] == len(scans)
    assert sorted(workplace.files("export").values()) == sorted(scans.values())


def test_a_changed_archive_is_compared_member_by_member(workplace: Workplace, scans: dict[str, bytes]) -> None:
    for name in PACKERS:
        pack(workplace, name, scans)
        workplace.run("index")
        less = dict([*scans.items()][1:])
        age(pack(workplace, name, less), 1_700_000_100)
        summary = workplace.run("index", "--json").summary
        assert (summary["vanished"], summary["indexed"], summary["read"]) == (1, len(less), len(less) + 1)
        assert images(workplace) == len(less)
        (workplace.folder / "data" / name).unlink()
        workplace.run("index", "--allow-vanish")


def test_members_vanish_with_their_archive_and_count_for_the_guard(workplace: Workplace, scans: dict[str, bytes]) -> None:
    pack(workplace, "a.zip", scans)
    for number in range(3):
        (workplace.folder / f"data/{number}.txt").write_bytes(b"")
    workplace.run("index")
    (workplace.folder / "data/a.zip").unlink()
    refused = workplace.run("index")
    assert (refused.code, "7 of 10 indexed files vanished" in refused.err) == (1, True)
    gone = workplace.run("index", "--allow-vanish", "--json").summary
    assert (gone["vanished"], gone["seen"]) == (7, 3)
    assert images(workplace) == 0


def test_members_of_an_excluded_archive_leave_the_index_and_did_not_vanish(workplace: Workplace, scans: dict[str, bytes]) -> None:
    pack(workplace, "a.zip", scans)
    workplace.run("index")
    workplace.rules(RULES.replace('path = "data"', 'path = "data"\nexclude = ["*.zip"]'))
    excluded = workplace.run("index", "--json").summary
    assert (excluded["vanished"], excluded["skipped"], images(workplace)) == (0, 1, 0)


def test_a_packed_file_is_the_duplicate_of_an_unpacked_one(workplace: Workplace, scans: dict[str, bytes]) -> None:
    pack(workplace, "d.tar.gz", scans)
    for name, data in scans.items():
        file = workplace.folder / "data/z" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
        age(file)
    found = report(workplace)
    assert all(found[f"z/{name}"] == ("indexed", None) for name in scans)
    assert all(found[f"d.tar.gz//{name}"] == ("duplicate", "same-bytes") for name in scans)
    shutil.rmtree(workplace.folder / "data/z")
    assert workplace.run("index", "--allow-vanish").code == 0
    assert workplace.run("apply", "--json").summary["done"] == len(scans)


@pytest.mark.parametrize("mode", ["hardlink", "symlink", "reflink", "move"])
def test_a_member_can_only_be_copied(workplace: Workplace, scans: dict[str, bytes], mode: str) -> None:
    pack(workplace, "a.zip", scans)
    workplace.rules(RULES + f'mode = "{mode}"\n')
    plan = workplace.run("plan", "--json", "--list")
    assert plan.summary["reasons"] == {"blocked:in-archive": len(scans)}
    assert "the file is a member of an archive, which can only be copied" in plan.out
    assert (workplace.run("apply").code, workplace.files("export")) == (1, {})


def test_a_member_is_explained_by_its_path(workplace: Workplace, scans: dict[str, bytes]) -> None:
    pack(workplace, "a.zip", scans)
    workplace.run("index")
    name = next(iter(scans))
    done = workplace.run("explain", f"data/a.zip//{name}")
    assert (done.code, f"a.zip//{name}" in done.out) == (0, True)


def test_a_member_whose_checksum_is_wrong_is_never_placed(workplace: Workplace, scans: dict[str, bytes]) -> None:
    file = pack(workplace, "b.ZIP", scans)
    data = bytearray(file.read_bytes())
    data[data.index(bytes(30_000)) + 20_000] = 1
    file.write_bytes(data)
    done = workplace.run("apply", "--json")
    assert (done.code, done.summary["done"], done.summary["failed"]) == (1, len(scans) - 1, 1)
    assert "the source cannot be read from its archive (damaged-member)" in done.out
    assert len(workplace.files("export")) == len(scans) - 1


def test_an_archive_that_changed_since_it_was_indexed_is_not_copied(workplace: Workplace, scans: dict[str, bytes]) -> None:
    file = pack(workplace, "c.tar", scans)
    workplace.run("index")
    age(file, 1_700_000_200)
    done = workplace.run("apply", "--no-index", "--json")
    assert (done.summary["failed"], workplace.files("export")) == (len(scans), {})
    assert "the source changed since it was indexed" in done.out


@pytest.mark.parametrize("name", ["a.zip", "d.tar.gz"])
@pytest.mark.parametrize(("function", "call"), [("os.fsync", 3), ("os.link", 4), ("Ledger.record", 1)])
def test_a_killed_copy_is_gone_on_with(
    workplace: Workplace, scans: dict[str, bytes], name: str, function: str, call: int
) -> None:
    pack(workplace, name, scans)
    kill(workplace, function, call)
    assert workplace.run("apply").code == 0
    assert sorted(workplace.files("export").values()) == sorted(scans.values())
    assert workplace.run("verify", "--deep", "--json").summary["ok"] == len(scans)


def test_new_columns_are_read_from_members(workplace: Workplace, scans: dict[str, bytes]) -> None:
    pack(workplace, "a.zip", scans)
    pack(workplace, "d.tar.gz", dict([*scans.items()][:2]))
    workplace.run("index")
    workplace.rules('[[schema.image]]\ncolumn = "Kind"\ntag = "Modality"\n' + RULES)
    assert workplace.run("index").code == 0
    assert workplace.run("query", "SELECT DISTINCT Kind FROM images", "--format", "csv").out.split() == ["Kind", "CT"]


def test_a_young_archive_is_read_again(workplace: Workplace, scans: dict[str, bytes]) -> None:
    file = pack(workplace, "a.zip", scans)
    os.utime(file)
    assert workplace.run("index", "--json").summary["indexed"] == len(scans)
    second = workplace.run("index", "--json").summary
    assert second["read"] in (0, len(scans) + 1)
    assert second["vanished"] == 0
    assert images(workplace) == len(scans)


def test_packed_and_unpacked_exports_of_the_corpus_are_equal(workplace: Workplace, shared: Path) -> None:
    files = [file for file in sorted((shared / "corpus/dcm_qa_nih").rglob("*")) if file.is_file()][:60]
    files += [file for file in sorted((shared / "corpus/deid").rglob("*")) if file.is_file()][:20]
    members = {f"{number}/{file.name}": file.read_bytes() for number, file in enumerate(files)}
    (workplace.folder / "data").mkdir()
    for name, data in members.items():
        (workplace.folder / "data" / name).parent.mkdir()
        (workplace.folder / "data" / name).write_bytes(data)
    workplace.rules(RULES).run("apply")
    unpacked = workplace.files("export")
    assert unpacked
    for name, packer in PACKERS.items():
        for folder in ("data", "export", ".pyconquest-rules"):
            shutil.rmtree(workplace.folder / folder)
        for database in workplace.folder.glob("conquest.db*"):
            database.unlink()
        (workplace.folder / "data").mkdir()
        packer(workplace.folder / "data" / name, members.items())
        workplace.run("apply")
        assert workplace.files("export") == unpacked


@pytest.mark.parametrize("name", ["a.zip", "d.tar.gz"])
def test_an_index_that_is_killed_within_an_archive_is_gone_on_with(
    workplace: Workplace, scans: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    pack(workplace, name, scans)
    workplace.run("index")
    whole = dump(workplace.folder / "conquest.db")
    (workplace.folder / "conquest.db").unlink()
    with monkeypatch.context() as patch:
        patch.setattr(scan, "CHUNK", 2)
        patch.setattr(scan, "CHUNKS_A_TRANSACTION", 1)

        def killed(*given: Any) -> Iterator[Found]:
            yield from islice(members_of(*given), 4)
            raise RuntimeError("killed")

        patch.setattr(scan, "members_of", killed)
        with pytest.raises(RuntimeError):
            workplace.run("index")
    assert images(workplace) == 4
    summary = workplace.run("index", "--json").summary
    assert (summary["read"], summary["vanished"]) == (len(scans) + 1, 0)
    assert dump(workplace.folder / "conquest.db") == whole


def test_a_member_can_be_chosen(workplace: Workplace, scans: dict[str, bytes], instance: Instance) -> None:
    name, data = next(iter(scans.items()))
    uid = "1.2.826.0.1.3680043.10.1.1"
    other = instance("data/z.dcm", SOPInstanceUID=uid, StudyDate="20200101")
    age(other)
    pack(workplace, "a.zip", {name: data})
    assert report(workplace) == {"a.zip": ARCHIVE, f"a.zip//{name}": ("rejected", "conflict"), "z.dcm": ("indexed", None)}
    decisions = workplace.folder / ".pyconquest-rules/decisions.txt"
    decisions.parent.mkdir(exist_ok=True)
    with decisions.open("a") as file:
        file.write(f"choose {uid} archive a.zip//{name}\n")
    assert workplace.run("apply").code == 0
    assert workplace.files("export") == {f"{uid}.dcm": data}
