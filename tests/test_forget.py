"""`forget` removes instances from the index, and deletes their files only in sources with a layout."""

import pytest

from tests.conftest import Done, Instance, Workplace

RULES = """
[sources.archive]
path = "data"
{layout}

[select.old]
level = "study"
where = "StudyDate < '20200101'"
"""
LAYOUT = 'layout = "{{ PatientID }}/{{ SOPInstanceUID }}.dcm"'


@pytest.fixture
def archive(workplace: Workplace, instance: Instance) -> Workplace:
    """An index with two patients: P1 with two images of one series, P2 with an old image."""
    instance("data/1.dcm", SOPInstanceUID="1.9.1")
    instance("data/2.dcm", SOPInstanceUID="1.9.2")
    instance("data/3.dcm", PatientID="P2", StudyDate="20190101", StudyInstanceUID="1.2", SeriesInstanceUID="1.2.1")
    workplace.rules(RULES.format(layout="")).run("index")
    return workplace


def counts(archive: Workplace) -> list[int]:
    query = "select (select count(*) from patients) p, (select count(*) from series) s, (select count(*) from images) i"
    return list(archive.run("query", query, "--json").lines[0]["values"].values())


@pytest.mark.parametrize(
    ("what", "left"),
    [
        ("1.9.1", [2, 2, 2]),
        ("1.2.826.0.1.3680043.10.3.1", [1, 1, 1]),
        ("1.2", [1, 1, 2]),
        ("P1", [1, 1, 1]),
        ("old", [1, 1, 2]),
    ],
)
def test_instances_series_studies_patients_and_sets_are_forgotten(archive: Workplace, what: str, left: list[int]) -> None:
    assert counts(archive) == [2, 2, 3]
    assert archive.run("forget", what, "--yes").code == 0
    assert counts(archive) == left
    assert len(archive.files("data")) == 3


def test_a_decision_holds_until_it_is_undone(archive: Workplace) -> None:
    archive.run("forget", "P2", "--yes")
    assert archive.run("index", "--json").summary["read"] == 0
    (archive.folder / "data/3.dcm").touch()
    archive.run("index")
    assert counts(archive) == [1, 1, 2]
    assert archive.run("forget", "P2", "--undo", "--json").summary["decisions"] == 1
    assert counts(archive) == [1, 1, 2]
    archive.run("index")
    assert counts(archive) == [2, 2, 3]


@pytest.mark.parametrize("arguments", [["P1", "--undo"], ["1.9.1", "--undo"], ["P2", "--undo", "--files"]])
def test_undo_of_an_unknown_decision_is_an_error(archive: Workplace, arguments: list[str]) -> None:
    archive.run("forget", "P2", "--yes")
    assert archive.run("forget", *arguments).code == 2


def test_files_of_a_source_without_a_layout_are_never_deleted(archive: Workplace) -> None:
    done = archive.run("forget", "P2", "--files", "--yes")
    assert done.code == 2
    assert "without a layout" in done.err
    assert counts(archive) == [2, 2, 3]
    assert len(archive.files("data")) == 3


def test_files_of_a_source_with_a_layout_are_deleted_on_request(archive: Workplace) -> None:
    archive.rules(RULES.format(layout=LAYOUT))
    done = archive.run("forget", "P2", "--files", "--yes", "--json")
    assert done.summary == {"event": "summary", "images": 1, "files": 1, "deleted": 1, "failed": 0, "folders": 0}
    assert [*archive.files("data")] == ["1.dcm", "2.dcm"]
    assert archive.run("index", "--json").summary["vanished"] == 0


def test_it_asks_first_and_does_nothing_without_an_answer(archive: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    def answered(text: str) -> Done:
        file = archive.folder / "answer"
        file.write_text(text)
        with file.open() as answer:
            monkeypatch.setattr("sys.stdin", answer)
            return archive.run("forget", "P2")

    refused = answered("n\n")
    assert (refused.code, "nothing was changed" in refused.err) == (0, True)
    assert answered("").code == 130
    assert counts(archive) == [2, 2, 3]
    done = answered("y\n")
    assert (done.code, "forget 1 images of 1 series" in done.err) == (0, True)
    assert counts(archive) == [1, 1, 2]


def test_an_unknown_name_is_an_error(archive: Workplace) -> None:
    done = archive.run("forget", "P3", "--yes")
    assert done.code == 2
    assert "no such UID or PatientID" in done.err


def test_another_place_of_the_instance_is_forgotten_too(archive: Workplace) -> None:
    (archive.folder / "data/4.dcm").write_bytes((archive.folder / "data/3.dcm").read_bytes())
    archive.run("index")
    archive.run("forget", "P2", "--yes")
    assert archive.run("index", "--json").summary["read"] == 0
    assert counts(archive) == [1, 1, 2]


def test_a_layout_is_checked(archive: Workplace) -> None:
    done = archive.rules(RULES.format(layout='layout = "{{ PatientIDD }}.dcm"')).run("check")
    assert done.code == 2
    assert "PatientIDD" in done.err


@pytest.mark.parametrize("answer", ["n\n", "N\n", "no\n", "\n", "No\n"])
def test_the_answer_no_changes_nothing_and_is_not_an_error(
    archive: Workplace, monkeypatch: pytest.MonkeyPatch, answer: str
) -> None:
    (archive.folder / "answer").write_text(answer)
    for more in ((), ("--json",)):
        with (archive.folder / "answer").open() as file:
            monkeypatch.setattr("sys.stdin", file)
            done = archive.run("forget", "P2", *more)
        assert done.code == 0
        assert done.summary["images"] == 0 if more else "nothing was changed" in done.err
    assert counts(archive) == [2, 2, 3]


@pytest.mark.parametrize(
    ("file", "beside", "left"),
    [
        ("P9/1.dcm", None, []),
        ("a/b/c/1.dcm", None, []),
        ("a/b/c/1.dcm", "a/other.txt", ["a"]),
        ("a/b/1.dcm", "a/b/other.txt", ["a", "a/b"]),
        ("a/b/1.dcm", "a/c/other.txt", ["a", "a/c"]),
        ("1.dcm", None, []),
    ],
)
def test_folders_that_become_empty_are_deleted(
    workplace: Workplace, instance: Instance, file: str, beside: str | None, left: list[str]
) -> None:
    data = instance(f"data/{file}", PatientID="P9")
    if beside:
        (workplace.folder / "data" / beside).parent.mkdir(exist_ok=True, parents=True)
        (workplace.folder / "data" / beside).write_text("stays")
    workplace.rules(RULES.format(layout=LAYOUT)).run("index")
    done = workplace.run("forget", "P9", "--files", "--prune-empty", "--yes", "--json")
    assert (done.code, done.summary["deleted"], data.exists()) == (0, 1, False)
    folders = [path for path in (workplace.folder / "data").rglob("*") if path.is_dir()]
    assert sorted(str(path.relative_to(workplace.folder / "data")) for path in folders) == left
    assert (workplace.folder / "data").is_dir()
    assert done.summary["folders"] == len({*file.split("/")[:-1]}) - len([folder for folder in left if folder in file])


def test_the_root_of_a_source_within_another_is_never_deleted(workplace: Workplace, instance: Instance) -> None:
    instance("data/inner/x/1.dcm", PatientID="P9")
    inner = f'[sources.inner]\npath = "data/inner"\n{LAYOUT}\n'
    outer = f'[sources.outer]\npath = "data"\nexclude = ["inner/**"]\n{LAYOUT}\n'
    workplace.rules(inner + outer).run("index")
    assert workplace.run("forget", "P9", "--files", "--prune-empty", "--yes", "--json").summary["folders"] == 1
    assert (workplace.folder / "data" / "inner").is_dir()


def test_empty_folders_without_files_is_an_error(archive: Workplace) -> None:
    done = archive.run("forget", "P2", "--prune-empty", "--yes")
    assert (done.code, "needs --files" in done.err) == (2, True)
