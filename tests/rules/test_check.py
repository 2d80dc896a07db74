"""Valid rules files: `check` accepts every key, needs only the file, and writes nothing."""

import socket
from pathlib import Path

import pytest

from pyconquest_rules.app.loading import Rules
from tests.conftest import Workplace
from tests.rules.everything import EVERYTHING

SCANS = """
[select.scans]
level = "series"
where = "Modality = 'CT'"
"""

COPY = (
    SCANS
    + """
[copy.export]
select = "scans"
to = "export/{{ SOPInstanceUID }}.dcm"
"""
)


def set_of(level: str, query: str) -> str:
    return f'[select.found]\nlevel = "{level}"\nquery = """{query}"""\n'


def test_every_key_is_accepted(workplace: Workplace) -> None:
    done = workplace.rules(EVERYTHING).run("check")
    assert (done.code, done.err) == (0, "")
    assert done.out == "ok: 2 sources, 4 sets, 3 actions\n"


def test_every_key_is_accepted_in_json(workplace: Workplace) -> None:
    assert workplace.rules(EVERYTHING).run("check", "--json").summary == {
        "event": "summary",
        "sources": 2,
        "sets": 4,
        "actions": 3,
        "expectations": 0,
        "releases": 0,
    }


def test_needs_no_data_no_network_and_writes_nothing(workplace: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket, "socket", refused)
    monkeypatch.setattr(socket, "getaddrinfo", refused)
    assert workplace.rules(EVERYTHING).run("check").code == 0
    assert [path.name for path in workplace.folder.rglob("*")] == ["rules.toml"]


def test_missing_keys_have_their_defaults(workplace: Workplace) -> None:
    rules = Rules.load(workplace.rules("").folder / "rules.toml")
    assert rules.database == workplace.folder / "conquest.db"
    assert [root.named for root in rules.outputs.roots] == [str(workplace.folder)]
    assert (rules.trees, dict(rules.actions)) == ((), {})


@pytest.mark.parametrize(
    ("environment", "expected"),
    [({}, "export"), ({"EXPORT_ROOT": "elsewhere"}, "elsewhere"), ({"EXPORT_ROOT": ""}, "export")],
)
def test_values_come_from_the_environment(workplace: Workplace, environment: dict[str, str], expected: str) -> None:
    rules = Rules.load(workplace.rules(EVERYTHING).folder / "rules.toml", environment=environment)
    assert rules.params == {"release": "2026.1", "out": expected}
    assert rules.templates["copy.export"].prefix == expected
    assert str(workplace.folder / expected) in [root.named for root in rules.outputs.roots]


def test_the_environment_of_the_process(workplace: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    workplace.rules('[vars]\nout = { env = "EXPORT_ROOT" }\n')
    assert workplace.run("check").code == 2
    monkeypatch.setenv("EXPORT_ROOT", "export")
    assert workplace.run("check").code == 0


def test_a_variable_may_have_the_name_env(workplace: Workplace) -> None:
    rules = Rules.load(workplace.rules('[vars]\nenv = "prod"\ndefault = "x"\n').folder / "rules.toml", environment={})
    assert rules.params == {"env": "prod", "default": "x"}


def test_the_user_can_name_a_dicom_sql(workplace: Workplace) -> None:
    (workplace.folder / "own.sql").write_text(
        """
        *Patient* { { 0x0010, 0x0020, "PatientID", 64, SQL_C_CHAR, DT_STR } }
        *Study*   { { 0x0020, 0x000d, "StudyInstanceUID", 64, SQL_C_CHAR, DT_UI },
                    { 0x0010, 0x0020, "PatientID", 64, SQL_C_CHAR, DT_STR } }
        *Series*  { { 0x0020, 0x000e, "SeriesInstanceUID", 64, SQL_C_CHAR, DT_UI },
                    { 0x0018, 0x1030, "ProtocolName", 64, SQL_C_CHAR, DT_STR },
                    { 0x0020, 0x000d, "StudyInstanceUID", 64, SQL_C_CHAR, DT_UI } }
        *Image*   { { 0x0008, 0x0018, "SOPInstanceUID", 64, SQL_C_CHAR, DT_UI },
                    { 0x0020, 0x000e, "SeriesInstanceUID", 64, SQL_C_CHAR, DT_UI } }
        """,
        encoding="utf-8",
    )
    index = '[index]\ndicom_sql = "own.sql"\n'
    assert workplace.rules(index + set_of("series", "select SeriesInstanceUID, ProtocolName from series")).run("check").code == 0
    done = workplace.rules(index + set_of("series", "select SeriesInstanceUID, Modality from series")).run("check")
    assert 'unknown column "Modality"' in done.err


@pytest.mark.parametrize(
    ("level", "query"),
    [
        ("series", "select seriesinst,* from dicomseries where modality='CT'"),
        ("image", "Select Objectfile from DICOMimages where Modality='RTDOSE'"),
        ("series", "select * from v_series where StudyDate > '20200101'"),
        ("series", "select distinct seriesinst from v_seriesRT"),
        ("patient", "select imagepat, count(*) as n from dicomimages group by imagepat"),
        ("study", "select studyinsta from dicomstudies"),
    ],
)
def test_queries_written_for_pyconquest(workplace: Workplace, level: str, query: str) -> None:
    done = workplace.rules(set_of(level, query)).run("check")
    assert (done.code, done.err) == (0, "")


@pytest.mark.parametrize(
    "query",
    [
        "select SeriesInstanceUID from series;",
        "-- the CT\nselect SeriesInstanceUID from series -- of all",
        "with ct as (select * from series where Modality = 'CT') select SeriesInstanceUID from ct",
        "select SeriesInstanceUID, row_number() over (partition by PatientID order by StudyDate) as n from series",
        "select SeriesInstanceUID from series where Modality in (select value from json_each('[\"CT\"]'))",
        "select SeriesInstanceUID, count(*) as n from images group by 1 having count(*) > 3",
        "values ('1.2.3')",
    ],
)
def test_sql_that_reads(workplace: Workplace, query: str) -> None:
    done = workplace.rules(set_of("series", query)).run("check")
    assert "does not select SeriesInstanceUID" in done.err if query.startswith("values") else (done.code, done.err) == (0, "")


def test_sets_use_other_sets(workplace: Workplace) -> None:
    done = workplace.rules(
        """
        [select.small]
        level = "series"
        query = "select SeriesInstanceUID, subject from LARGE where slices < 50"

        [select.large]
        level = "series"
        query = "select SeriesInstanceUID, PatientID as subject, ImageCount as slices from cts"

        [select.cts]
        level = "series"
        where = "Modality = 'CT' and PatientID in (select PatientID from people)"

        [select.people]
        level = "patient"
        where = "PatientSex = 'F'"

        [copy.export]
        select = "small"
        to = "export/{{ subject }}/{{ SOPInstanceUID }}.dcm"
        """
    ).run("check")
    assert (done.code, done.err) == (0, "")


def test_a_set_may_have_the_name_of_a_column_or_a_value(workplace: Workplace) -> None:
    done = workplace.rules(
        """
        [select.ct]
        level = "series"
        query = "select SeriesInstanceUID, 'ct' as mr from series where lower(Modality) = 'ct'"

        [select.mr]
        level = "series"
        query = "with ct as (select SeriesInstanceUID, Modality as ct from series) select * from ct where ct = 'mr'"
        """
    ).run("check")
    assert (done.code, done.err) == (0, "")


class TestTargets:
    """The targets of `plan` and `apply`."""

    @pytest.mark.parametrize(
        ("targets", "chosen"),
        [
            ((), ["copy.export", "copy.second", "copy.people"]),
            (("copy.export",), ["copy.export"]),
            (("copy",), ["copy.export", "copy.second", "copy.people"]),
            (("tag:ct",), ["copy.export"]),
            (("tag:nightly",), ["copy.export", "copy.second"]),
            (("copy.second",), ["copy.export", "copy.second"]),
            (("copy.people", "tag:ct"), ["copy.export", "copy.people"]),
        ],
    )
    def test_chosen_with_what_they_need(self, workplace: Workplace, targets: tuple[str, ...], chosen: list[str]) -> None:
        rules = Rules.load(workplace.rules(EVERYTHING).folder / "rules.toml")
        assert list(rules.chosen(targets)) == chosen

    @pytest.mark.parametrize(
        ("target", "hint"),
        [
            ("copy.exprot", 'did you mean "copy.export"?'),
            ("tag:nightli", 'did you mean "tag:nightly"?'),
            ("xyz", "targets are: copy.export"),
            ("tag:", "targets are: copy.export"),
        ],
    )
    def test_unknown(self, workplace: Workplace, target: str, hint: str) -> None:
        (workplace.folder / "data").mkdir()
        workplace.rules(COPY.replace("copy.export]", 'copy.export]\ntags = ["nightly"]')).run("index")
        done = workplace.run("plan", target)
        assert done.code == 2
        assert hint in done.err

    def test_come_after_what_they_need(self, workplace: Workplace) -> None:
        action = '[copy.{}]\nselect = "scans"\nto = "{}/{{{{ SOPInstanceUID }}}}.dcm"\nneeds = [{}]\n'
        needs = {"a": '"copy.c"', "b": "", "c": '"copy.d", "copy.b"', "d": ""}
        text = SCANS + "".join(action.format(name, name, needed) for name, needed in needs.items())
        assert list(Rules.load(workplace.rules(text).folder / "rules.toml").actions) == ["copy.d", "copy.b", "copy.c", "copy.a"]


class TestFound:
    """The folders that are searched for the rules file."""

    def below(self, workplace: Workplace, folder: str) -> Workplace:
        (workplace.folder / folder).mkdir(parents=True)
        return Workplace(workplace.folder / folder)

    def test_in_a_parent_folder(self, workplace: Workplace) -> None:
        inside = self.below(workplace.rules(COPY), "a/b")
        assert inside.run("check").out == "ok: 0 sources, 1 set, 1 action\n"

    def test_places_of_mistakes_are_named_from_here(self, workplace: Workplace) -> None:
        inside = self.below(workplace.rules("colour = 1"), "a/b")
        assert "../../rules.toml:2:1" in inside.run("check").err

    def test_not_beyond_the_root_of_the_repository(self, workplace: Workplace) -> None:
        inside = self.below(workplace.rules(COPY), "repository/a")
        (workplace.folder / "repository" / ".git").mkdir()
        done = inside.run("check")
        assert done.code == 2
        assert "there is no rules.toml here" in done.err

    def test_at_the_root_of_the_repository(self, workplace: Workplace) -> None:
        inside = self.below(workplace.rules(COPY), "a")
        (workplace.folder / ".git").mkdir()
        assert inside.run("check").code == 0

    def test_by_environment(self, workplace: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
        inside = self.below(workplace.rules(COPY), "a")
        other = workplace.folder / "other.toml"
        other.write_text("rules_version = 1\n[sources.x]\npath = 'x'\n", encoding="utf-8")
        monkeypatch.setenv("PYCONQUEST_RULES", str(other))
        assert inside.run("check").out == "ok: 1 source, 0 sets, 0 actions\n"

    def test_by_option_before_all(self, workplace: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PYCONQUEST_RULES", "nowhere.toml")
        other = self.below(workplace.rules(COPY), "a").folder / "other.toml"
        other.write_text("rules_version = 1\n", encoding="utf-8")
        assert workplace.run("-f", "a/other.toml", "check").out == "ok: 0 sources, 0 sets, 0 actions\n"

    @pytest.mark.parametrize(
        ("name", "content", "said"),
        [
            ("nowhere.toml", None, "cannot read the rules file nowhere.toml: No such file or directory"),
            ("latin.toml", b"rules_version = 1\n# M\xfcller\n", "latin.toml is not UTF-8 text (line 2)"),
            ("large.toml", b"#" * (1 << 21), "large.toml is larger than 1048576 bytes"),
        ],
    )
    def test_unreadable(self, workplace: Workplace, name: str, content: bytes | None, said: str) -> None:
        if content is not None:
            (workplace.folder / name).write_bytes(content)
        done = workplace.run("-f", name, "check")
        assert done.code == 2
        assert said in done.err

    @pytest.mark.parametrize(("begin", "line"), [(b"\xef\xbb\xbf", 3), (b"\r\n", 4)])
    def test_what_editors_of_windows_do(self, workplace: Workplace, begin: bytes, line: int) -> None:
        file = workplace.folder / "rules.toml"
        file.write_bytes(begin + b"rules_version = 1\r\n[sources.x]\r\npath = 'x'\r\n")
        assert workplace.run("check").code == 0
        file.write_bytes(begin + b"rules_version = 1\r\n[sources.x]\r\npaht = 'x'\r\npath = 'x'\r\n")
        assert f"rules.toml:{line}:1: unknown key" in workplace.run("check").err


def test_paths_are_relative_to_the_folder_of_the_rules(workplace: Workplace) -> None:
    (workplace.folder / "a").mkdir()
    (workplace.folder / "a" / "rules.toml").write_text("rules_version = 1\n[sources.x]\npath = '../data'\n", encoding="utf-8")
    rules = Rules.load(Path(workplace.folder, "a", "rules.toml"))
    assert rules.trees[0].root == workplace.folder / "data"
    assert rules.database == workplace.folder / "a" / "conquest.db"
