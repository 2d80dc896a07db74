"""Output for CI: `check --format github`, `plan --format markdown` and `plan --format junit`."""

from xml.etree import ElementTree

import pytest

from tests.conftest import Instance, Workplace

RULES = """
[sources.archive]
path = "data"

[select.all]
level = "image"
where = "1"

[copy.export]
select = "all"
to = "out/{{ PatientID }}/{{ SOPInstanceUID }}.dcm"

[copy.one]
select = "all"
to = "one.dcm"
"""

MARKDOWN = """\
### Plan: 2 to do, 2 blocked, 0 unchanged

| action | status | reason | steps |
|---|---|---|---:|
| `copy.export` | todo | new | 2 |
| `copy.one` | **blocked** | collision | 2 |

"""


def test_github_gets_each_error_beside_its_line(workplace: Workplace) -> None:
    done = workplace.rules(RULES.replace('"all"', '"al,l: 100%"', 1)).run("check", "--format", "github")
    assert done.code == 2
    where = "file=rules.toml,line=11,col=10,endColumn=21"
    assert done.out == f'::error {where}::unknown set "al,l: 100%25"%0Asets are: all\n'


def test_github_gets_an_error_without_a_place(workplace: Workplace) -> None:
    done = workplace.run("-f", "missing.toml", "check", "--format", "github")
    assert (done.code, done.out.startswith("::error::cannot read the rules file missing.toml: ")) == (2, True), done.out


def test_a_valid_file_has_no_workflow_command(workplace: Workplace) -> None:
    done = workplace.rules(RULES).run("check", "--format", "github")
    assert (done.code, done.out) == (0, "ok: 1 source, 1 set, 2 actions\n")


def test_a_comment_for_a_pull_request_has_counts_only(workplace: Workplace, instance: Instance) -> None:
    for name in ("a", "b"):
        instance(f"data/{name}.dcm", PatientID="PLANTED-ID")
    done = workplace.rules(RULES).run("plan", "--format", "markdown")
    assert (done.code, done.out.startswith(MARKDOWN)) == (1, True), done.out
    assert done.out.endswith(" to write, send or retrieve.\n")
    assert "PLANTED" not in done.out
    assert "/" not in done.out


def test_junit_has_a_case_for_each_action(workplace: Workplace, instance: Instance) -> None:
    for name in ("a", "b"):
        instance(f"data/{name}.dcm", PatientID="PLANTED-ID")
    done = workplace.rules(RULES).run("plan", "--format", "junit", "--today", "2026-01-02")
    assert done.code == 1
    assert "PLANTED" not in done.out
    (suite,) = ElementTree.fromstring(done.out)
    assert [part.tag for part in suite] == ["properties", *["testcase"] * 5, "system-out", "system-err"]
    assert suite.attrib == {
        "name": "plan", "package": "pyconquest-rules", "id": "0", "hostname": "localhost", "time": "0",
        "timestamp": "2026-01-02T00:00:00", "tests": "5", "failures": "1", "errors": "0",
    }  # fmt: skip
    failed = {case.get("name"): case.findtext("failure") for case in suite.iter("testcase")}
    assert (failed["copy.export"], failed["copy.one"]) == (None, "blocked: collision 2")


@pytest.mark.parametrize("other", ["--json", "--list", "--quiet"])
def test_a_format_excludes_other_forms(workplace: Workplace, other: str) -> None:
    done = workplace.rules(RULES).run("plan", "--format", "junit", other)
    assert (done.code, "--format is a form of its own" in done.err + done.out) == (2, True)
