"""Added and removed columns: only instances that can have a value are read again, and the rest of the index stays."""

import pytest

from tests.conftest import Instance, Workplace

SOURCE = '[sources.archive]\npath = "data"\n'


def column(level: str, name: str, tag: str) -> str:
    return f"[[schema.{level}]]\ncolumn = '{name}'\ntag = '{tag}'\n"


@pytest.fixture
def archive(workplace: Workplace, instance: Instance) -> Workplace:
    """Two series of two images, one image of which has an EchoTime, and a plan."""
    for number in range(4):
        series = f"1.2.{number // 2}"
        instance(f"data/{number}.dcm", SeriesInstanceUID=series, EchoTime=str(number), Laterality="R", PatientComments="x" * 300)
    instance("data/plan.dcm", Modality="RTPLAN", SeriesInstanceUID="1.2.9", RTPlanLabel="boost", StudyInstanceUID="1.3")
    workplace.rules(SOURCE).run("index")
    return workplace


@pytest.mark.parametrize(
    ("added", "read", "query", "values"),
    [
        (column("image", "EchoTime", "EchoTime"), 5, "select EchoTime from images order by InstanceNumber", [0, 1, 2, 3, None]),
        (column("series", "Side", "Laterality"), 3, "select Side from series order by SeriesInstanceUID", ["R", "R", None]),
        (column("patient", "Comments", "PatientComments"), 1, "select Comments from patients", ["x" * 300]),
        (column("image", "PlanLabel", "RTPlanLabel"), 1, "select PlanLabel from images where Modality = 'RTPLAN'", ["boost"]),
    ],
)
def test_a_new_column_reads_only_instances_that_can_have_a_value(
    archive: Workplace, added: str, read: int, query: str, values: list[object]
) -> None:
    assert archive.rules(SOURCE + added).run("index", "--json").summary["read"] == read
    assert [line["values"].popitem()[1] for line in archive.run("query", query, "--json").lines[:-1]] == values
    assert archive.run("index", "--json").summary["read"] == 0


def dump(archive: Workplace) -> list[object]:
    rows = archive.run("query", "select * from images order by SOPInstanceUID", "--json").lines
    return [{key: value for key, value in row.get("values", {}).items() if key != "DatabaseTimeStamp"} for row in rows]


def test_a_changed_index_equals_a_new_one(archive: Workplace) -> None:
    added = column("image", "EchoTime", "EchoTime") + column("series", "Side", "Laterality")
    archive.rules(SOURCE + added).run("index")
    changed = dump(archive)
    for file in archive.folder.glob("conquest.db*"):
        file.unlink()
    archive.run("index")
    assert dump(archive) == changed


def test_a_removed_column_changes_nothing_else(archive: Workplace) -> None:
    archive.rules(SOURCE + column("image", "EchoTime", "EchoTime")).run("index")
    assert archive.rules(SOURCE).run("index", "--json").summary["read"] == 0
    assert 'unknown column "EchoTime"' in archive.run("query", "select EchoTime from images").err


def test_a_column_with_another_tag_is_read_again(archive: Workplace) -> None:
    archive.rules(SOURCE + column("image", "Extra", "EchoTime")).run("index")
    archive.rules(SOURCE + column("image", "Extra", "RTPlanLabel")).run("index")
    assert archive.run("query", "select Extra from images where Extra is not null", "--json").lines[0]["values"] == {
        "Extra": "boost"
    }


def test_a_run_after_an_interrupted_one_fills_the_column(archive: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*arguments: object) -> None:
        raise KeyboardInterrupt

    archive.rules(SOURCE + column("image", "EchoTime", "EchoTime"))
    with monkeypatch.context() as patched:
        patched.setattr("pyconquest_rules.index.scan.scan.fill", stopped)
        assert archive.run("index").code == 130
    assert archive.run("index", "--json").summary["read"] == 5
    assert archive.run("query", "select count(EchoTime) as n from images", "--json").lines[0]["values"] == {"n": 4}


def test_contradictions_are_reported(workplace: Workplace, instance: Instance) -> None:
    instance("data/1.dcm", SOPInstanceUID="1.1")
    instance("data/2.dcm", SOPInstanceUID="1.2", StudyInstanceUID="1.2.3.4")
    instance("data/3.dcm", SOPInstanceUID="1.3", PatientID="P2", SeriesInstanceUID="1.2.3.5")
    done = workplace.rules(SOURCE).run("index", "--json")
    assert done.summary["contradictions"] == {"series-in-two-studies": 1, "study-of-two-patients": 1}
    rows = workplace.run("query", "select Kind, SOPInstanceUID from contradictions order by 2", "--json").lines[:-1]
    assert [tuple(row["values"].values()) for row in rows] == [("series-in-two-studies", "1.2"), ("study-of-two-patients", "1.3")]
