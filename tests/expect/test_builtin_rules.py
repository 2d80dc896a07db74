"""Builtins as part of the rules: their keys are checked, their sets may be of every level, and their results are shown."""

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from lxml import etree

from tests.conftest import REPOSITORY, Instance, Workplace

RULES = """
[sources.archive]
path = "data"

[tables.protocol]
csv = "protocol.csv"
key = ["PatientID", "week"]

[tables.loose]
csv = "protocol.csv"

[select.scans]
level = "series"
where = "1"

[select.broken]
level = "series"
where = "Modalty = 'CT'"

[copy.export]
select = "scans"
to = "export/{{ SOPInstanceUID }}.dcm"

[copy.other]
select = "scans"
to = "other/{{ SOPInstanceUID }}.dcm"

[expect.sound]
"""
VALID = RULES.replace("Modalty", "Modality")
SECRET = "P-SECRET"


def keys(text: str) -> str:
    """Return the rules with the keys of an expectation, whose values are separated by semicolons."""
    return VALID + text.replace("; ", "\n")


@pytest.fixture
def protocol(workplace: Workplace) -> Workplace:
    """A workplace with the CSV file that the rules name."""
    (workplace.folder / "protocol.csv").write_text("PatientID,week\nA,1\n")
    return workplace


@pytest.mark.parametrize(
    ("written", "at", "message"),
    [
        ('builtin = "rt-chian"; on = "scans"', '"rt-chian', 'did you mean "rt-chain"?'),
        ('on = "scans"', "sound]", 'the expectation "sound" needs query or builtin'),
        ('builtin = "no-conflicts"; on = "scans"; query = "select 1 as a"', "sound]", "has query and builtin"),
        ('query = "select 1 as a"; on = "scans"', 'on = "scans"', '"on" does not belong to a query'),
        ('builtin = "no-conflicts"', '"no-conflicts', '"on" is missing: no-conflicts needs it'),
        ('builtin = "no-conflicts"; on = 3', "3", "must be text"),
        ('builtin = "no-conflicts"; on = "scns"', '"scns', 'did you mean "scans"?'),
        ('builtin = "no-conflicts"; on = "scans"; roi_match = ["a"]', "roi_match", '"roi_match" does not belong to no-conflicts'),
        ('builtin = "rt-chain"; on = "scans"; roi_match = []', "[]", "must not be empty"),
        ('builtin = "rt-chain"; on = "scans"; roi_match = "ptv"', '"ptv"', 'write ["ptv"]'),
        ('builtin = "rt-chain"; on = "scans"; roi_match = ["(a+)+"]', '["(a+)+"]', "repeats too much"),
        ('builtin = "rt-chain"; on = "scans"; roi_mtch = ["a"]', "roi_mtch", 'did you mean "roi_match"?'),
        ('builtin = "timepoints"; on = "scans"', '"timepoints', '"table" is missing'),
        ('builtin = "timepoints"; on = "scans"; table = "protocl"', '"protocl', 'did you mean "protocol"?'),
        ('builtin = "timepoints"; on = "scans"; table = "loose"', '"loose', 'the table "loose" has no key'),
        ('builtin = "timepoints"; on = "scans"; table = "protocol"', 'scans"\ntable', 'the set "scans" has no column "week"'),
        ('builtin = "timepoints"; on = "scans"; table = ["protocol"]', '["protocol"]', "must be text"),
        ('builtin = "readable"; source = "archve"', '"archve', 'did you mean "archive"?'),
        ('builtin = "readable"; source = "archive"; max_share = 1.5', "1.5", "less than 1"),
        ('builtin = "readable"; source = "archive"; on = "scans"', 'on = "scans"', '"on" does not belong to readable'),
    ],
)
def test_keys_are_checked_with_places(protocol: Workplace, written: str, at: str, message: str) -> None:
    done = protocol.rules(text := keys(written)).run("check")
    above = text[: text.rindex(at)]
    assert (done.code, done.err.count("rules.toml:")) == (2, 1), done.err
    assert f"rules.toml:{above.count(chr(10)) + 2}:" in done.err, done.err
    column = len(above) - above.rindex("\n") + (-1 if at == "sound]" else 0)
    assert f":{column}: " in done.err or at in ("sound]", 'scans"\ntable'), done.err
    assert message in done.err, done.err


def test_an_error_of_its_set_is_reported_once(protocol: Workplace) -> None:
    done = protocol.rules(RULES + 'builtin = "one-volume"\non = "broken"\n').run("check")
    assert (done.code, done.err.count("rules.toml:")) == (2, 1), done.err


def test_a_column_that_the_table_layout_lacks_is_an_error_with_its_place(protocol: Workplace) -> None:
    layout = (REPOSITORY / "dicom.sql").read_text(encoding="utf-8")
    lines = [line for line in layout.splitlines() if "ImageType" not in line]
    (protocol.folder / "dicom.sql").write_text("\n".join(lines))
    text = keys('builtin = "one-volume"; on = "scans"') + '\n[index]\ndicom_sql = "dicom.sql"\n'
    done = protocol.rules(text).run("check")
    line = text[: text.index('"one-volume"')].count("\n") + 2
    assert (done.code, f"rules.toml:{line}:11: one-volume: unknown column" in done.err) == (2, True), done.err
    assert '[[schema.image]] column = "ImageType" tag = "ImageType"' in done.err
    added = '[[schema.image]]\ncolumn = "ImageType"\ntag = "ImageType"\n'
    assert protocol.rules(text + added).run("check").code == 0


SETS = {
    "patient": 'level = "patient"\nwhere = "PatientID is null"',
    "study": 'level = "study"\nwhere = "PatientID is null"',
    "series": 'level = "series"\nquery = "select SeriesInst, 1 as x from DICOMSeries where SeriesInst = \'1.2\'"',
    "image": 'level = "image"\nwhere = "SeriesInstanceUID = \'1.2\'"',
    "files": 'level = "image"\nquery = "select ObjectFile from DICOMImages where SeriesInst = \'1.2\'"',
    "patients by query": 'level = "patient"\nquery = "select distinct PatientID from series where PatientID is null"',
}


@pytest.mark.parametrize("of", SETS)
def test_a_set_of_every_level_is_examined_alone(protocol: Workplace, instance: Instance, of: str) -> None:
    for number, series in enumerate(("1.1", "1.1", "1.2", "1.2")):
        patient = None if series == "1.2" else "A"
        instance(
            f"data/{number}.dcm", SeriesInstanceUID=series, StudyInstanceUID=f"{series}.5", PatientID=patient, InstanceNumber=7
        )
    builtins = ("unique-instance-numbers", "no-conflicts", "no-contradictions", "no-burned-in", "one-volume", "rt-chain")
    text = VALID.replace("[expect.sound]\n", f"[select.chosen]\n{SETS[of]}\n")
    text += "".join(f'[expect.x{n}]\nbuiltin = "{name}"\non = "chosen"\n' for n, name in enumerate(builtins))
    protocol.rules(text).run("index")
    found = [protocol.run("query", f"expect.x{n}", "--json").lines[:-1] for n in range(len(builtins))]
    assert [len(rows) for rows in found] == [1, 0, 0, 0, 0, 0]
    assert found[0][0]["values"] == {
        "PatientID": None,
        "SeriesInstanceUID": "1.2",
        "InstanceNumber": 7,
        "instances": 2,
        "problem": "2 instances have InstanceNumber 7",
    }


@pytest.mark.parametrize(
    ("level", "query", "met"),
    [
        ("patient", "select PatientID, week from protocol", ["A"]),
        ("series", "select PatientID, week, '1.2.9' as SeriesInstanceUID from protocol", []),
        ("study", "select PatientID, week, StudyInstanceUID from protocol join studies using (PatientID)", ["A"]),
    ],
)
def test_a_timepoint_needs_instances_in_the_index(
    protocol: Workplace, instance: Instance, level: str, query: str, met: list[str]
) -> None:
    (protocol.folder / "protocol.csv").write_text("PatientID,week\nA,1\nB,1\n")
    instance("data/1.dcm", PatientID="A")
    text = f'[select.demanded]\nlevel = "{level}"\nquery = "{query}"\n[expect.sound]\n'
    protocol.rules(VALID.replace("[expect.sound]\n", text) + 'builtin = "timepoints"\non = "demanded"\ntable = "protocol"\n')
    assert protocol.run("index").code == 0
    lacking = [line["values"]["PatientID"] for line in protocol.run("query", "expect.sound", "--json").lines[:-1]]
    assert lacking == [each for each in ("A", "B") if each not in met]


@pytest.fixture
def failing(protocol: Workplace, instance: Instance) -> Workplace:
    """A workplace in which a builtin finds two instances."""
    for number, said in enumerate(("YES", "YES", "NO", None)):
        instance(f"data/{number}.dcm", BurnedInAnnotation=said, PatientID=SECRET)
    protocol.rules(keys('builtin = "no-burned-in"; on = "scans"; blocks = ["copy.export"]')).run("index")
    return protocol


def test_a_builtin_holds_back_what_it_blocks(failing: Workplace) -> None:
    applied = failing.run("apply", "--json")
    assert (applied.code, applied.summary["done"], applied.summary["blocked"]) == (4, 4, 4)
    assert applied.summary["expectations"] == {"expect.sound": {"rows": 2, "exceeded": True, "failed": True}}
    assert sorted(name.split("/")[0] for name in failing.files() if name.startswith(("export", "other"))) == ["other"] * 4
    for key in ('severity = "warn"', "max_rows = 2"):
        failing.rules(keys(f'builtin = "no-burned-in"; on = "scans"; {key}'))
        assert failing.run("plan").code == 0


def test_check_counts_expectations(failing: Workplace) -> None:
    assert failing.run("check").out == "ok: 1 source, 2 sets, 2 actions, 1 expectation\n"


def on_a_terminal(workplace: Workplace, *arguments: str) -> tuple[int, str]:
    """Run the program on a terminal. Return its exit code and what it prints."""
    ours, theirs = pty.openpty()
    program = [sys.executable, "-m", "pyconquest_rules", *arguments]
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "200", "PYTHONPATH": str(REPOSITORY)}
    with subprocess.Popen(program, cwd=workplace.folder, stdout=theirs, stderr=theirs, stdin=theirs, env=environment) as process:
        os.close(theirs)
        printed = b""
        while True:
            try:
                part = os.read(ours, 65536)
            except OSError:  # the program has closed the terminal
                break
            if not part:
                break
            printed += part
    os.close(ours)
    return process.returncode, printed.decode()


@pytest.mark.parametrize("command", ["plan", "status"])
def test_rows_are_shown_on_a_terminal_only(failing: Workplace, command: str) -> None:
    code, printed = on_a_terminal(failing, command)
    assert code == 4
    assert printed.count("BurnedInAnnotation is YES") == 2
    assert SECRET in printed
    redirected = failing.run(command)
    assert "expect.sound has 2 rows" in redirected.out
    assert SECRET not in redirected.out + redirected.err
    assert "BurnedInAnnotation is YES" not in redirected.out
    if command == "plan":
        assert failing.run("plan", "--list").out.count("BurnedInAnnotation is YES") == 2


def junit(out: str) -> "etree._Element":
    """Return JUnit XML, valid by its schema."""
    schema = etree.XMLSchema(etree.parse(Path(__file__).parents[1] / "data" / "junit.xsd"))
    document = etree.fromstring(out.encode())
    schema.assertValid(document)
    return document


def test_junit_has_a_case_for_each_expectation(failing: Workplace) -> None:
    others = '[expect.warned]\nquery = "select PatientID from images"\nseverity = "warn"\n'
    others += '[expect.met]\nquery = "select 1 as a limit 0"\n'
    failing.rules(keys('builtin = "no-burned-in"; on = "scans"') + "\n" + others)
    done = failing.run("plan", "--format", "junit")
    suite = junit(done.out)[0]
    failed = {case.get("name"): case.findtext("failure") for case in suite.iter("testcase") if case.get("classname") == "expect"}
    message = "expect.sound has 2 rows that should not be there"
    assert failed == {"expect.sound": message, "expect.warned": None, "expect.met": None}
    assert suite.findtext("system-out") == "warning: expect.warned has 4 rows that should not be there\n"
    assert (done.code, int(suite.get("failures")), int(suite.get("tests"))) == (4, 3, len(suite.findall("testcase")))
    assert SECRET not in done.out
    comment = failing.run("plan", "--format", "markdown").out
    assert f"- **failed**: {message}\n- warning: expect.warned has 4 rows" in comment
    assert SECRET not in comment


def test_the_schema_of_junit_rejects_other_xml(failing: Workplace) -> None:
    out = failing.run("plan", "--format", "junit").out
    for before, after in (
        (' classname="expect"', ""),
        (' failures="', ' failures="-'),
        (' type="expectation"', ""),
        ("<properties />", ""),
    ):
        assert before in out
        with pytest.raises(etree.DocumentInvalid):
            junit(out.replace(before, after))
