"""`forget`: out of the index, and only where a source has a layout also off the disk."""

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
    """Two patients: P1 with two images of one series, P2 with an old one."""
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


def test_what_was_forgotten_stays_forgotten_until_that_is_taken_back(archive: Workplace) -> None:
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
def test_what_was_not_forgotten_is_not_taken_back(archive: Workplace, arguments: list[str]) -> None:
    archive.run("forget", "P2", "--yes")
    assert archive.run("forget", *arguments).code == 2


def test_files_of_a_source_without_a_layout_are_never_deleted(archive: Workplace) -> None:
    done = archive.run("forget", "P2", "--files", "--yes")
    assert done.code == 2
    assert "without a layout" in done.err
    assert counts(archive) == [2, 2, 3]
    assert len(archive.files("data")) == 3


def test_files_of_a_source_with_a_layout_are_deleted_when_asked(archive: Workplace) -> None:
    archive.rules(RULES.format(layout=LAYOUT))
    done = archive.run("forget", "P2", "--files", "--yes", "--json")
    assert done.summary == {"event": "summary", "images": 1, "files": 1, "deleted": 1, "failed": 0}
    assert [*archive.files("data")] == ["1.dcm", "2.dcm"]
    assert archive.run("index", "--json").summary["vanished"] == 0


def test_it_asks_first_and_does_nothing_without_an_answer(archive: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    def answered(text: str) -> Done:
        file = archive.folder / "answer"
        file.write_text(text)
        with file.open() as answer:
            monkeypatch.setattr("sys.stdin", answer)
            return archive.run("forget", "P2")

    assert answered("n\n").code == 130
    assert answered("").code == 130
    assert counts(archive) == [2, 2, 3]
    done = answered("y\n")
    assert (done.code, "forget 1 images of 1 series" in done.err) == (0, True)
    assert counts(archive) == [1, 1, 2]


def test_what_is_nothing_is_an_error(archive: Workplace) -> None:
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
