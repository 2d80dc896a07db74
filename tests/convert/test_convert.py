"""`[convert.NAME]`: what is planned, when commands run, and what their files are."""

import re
import sqlite3
from hashlib import sha256

import pytest

from tests.conftest import PLANTED, Instance, Workplace
from tests.convert.conftest import JOIN, RULES, SERIES, SLICES, Script, add

FILES = {f"P1/{series}.{end}" for series in range(SERIES) for end in ("bin", "txt")}


def reasons(workplace: Workplace, *options: str) -> dict[str, int]:
    return dict(workplace.run("plan", "--allow-commands", "--json", *options).summary["reasons"])


def apply(workplace: Workplace, *options: str) -> dict[str, int]:
    done = workplace.run("apply", "--allow-commands", "--json", *options)
    assert done.code == 0, done.err + done.out
    return dict(done.summary)


def failures(workplace: Workplace) -> set[str]:
    """Apply. Return the messages of the steps that failed."""
    done = workplace.run("apply", "--allow-commands", "--json")
    assert done.code == 1
    return {line["message"] for line in done.lines if line["event"] == "failed"}


def nothing_is_left(workplace: Workplace) -> bool:
    state = workplace.folder / ".pyconquest-rules"
    return not (state / "work").exists() and not [file for file in workplace.files("out") if file.endswith(".part")]


def test_without_permission_nothing_runs(converting: Workplace) -> None:
    for command in ("plan", "apply"):
        done = converting.run(command, "--json")
        assert (done.code, done.summary["blocked"]) == (1, 2 * SERIES)
        hints = [line["message"] for line in done.lines if line["event"] == "warning"]
        assert hints == ["it runs a command: use --allow-commands if you trust the rules"]
    assert converting.run("plan", "--json").summary["reasons"] == {"blocked:command": 2 * SERIES}
    assert converting.run("plan", "--offline", "--json").summary["reasons"] == {"blocked:command": 2 * SERIES}
    assert converting.files("out") == {}
    assert nothing_is_left(converting)
    statuses = [line for line in converting.run("status", "--json").lines if line.get("action") == "convert.joined"]
    assert [line["due"] for line in statuses] == [2 * SERIES]


def test_planning_runs_nothing(converting: Workplace) -> None:
    assert reasons(converting) == {"todo:new": 2 * SERIES}
    assert reasons(converting, "--offline") == {"todo:new": 2 * SERIES}
    assert converting.files("out") == {}


def test_each_group_is_converted_once(converting: Workplace) -> None:
    summary = apply(converting)
    assert (summary["done"], summary["converted"]) == (2 * SERIES, 2 * SERIES)
    files = converting.files("out")
    assert files.keys() == FILES
    runs = [files[f"P1/{series}.txt"] for series in range(SERIES)]
    assert len(set(runs)) == SERIES
    for series, run in enumerate(runs):
        slices = [(converting.folder / f"data/{series}/{number}.dcm").read_bytes() for number in range(SLICES)]
        assert files[f"P1/{series}.bin"] == run + b"".join(slices)
    assert nothing_is_left(converting)
    assert not (converting.folder / ".pyconquest-rules/logs").exists()
    assert converting.run("verify", "--deep", "--json").summary["ok"] == 2 * SERIES


def test_a_second_run_does_nothing(converting: Workplace) -> None:
    apply(converting)
    before = converting.files("out")
    assert apply(converting)["unchanged"] == 2 * SERIES
    assert converting.run("apply", "--json").summary["unchanged"] == 2 * SERIES  # nothing is due, so nothing needs permission
    assert converting.run("plan", "--detailed-exitcode").code == 0
    assert converting.files("out") == before


@pytest.mark.parametrize("how", ["added", "changed", "removed"])
def test_a_changed_group_is_converted_again_and_no_other(converting: Workplace, instance: Instance, how: str) -> None:
    apply(converting)
    before = converting.files("out")
    if how == "removed":
        (converting.folder / "data/1/0.dcm").unlink()
    else:
        add(instance, 1, SLICES if how == "added" else 0, StudyDescription="another")
    converting.run("index")
    assert reasons(converting) == {"todo:source-changed": 2, "unchanged:done": 2 * SERIES - 2}
    assert apply(converting)["converted"] == 2
    after = converting.files("out")
    assert {name for name in FILES if before[name] != after[name]} == {"P1/1.bin", "P1/1.txt"}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('"{{ outputs }}"]', '"{{ outputs }}", "more"]'),
        ('"{{ outputs }}"]', '"{{ outputs }}", "{{ vars.x }}"]'),
        ('select = "scans"\ncommand', 'select = "scans"\nenvironment = { X = "1" }\ncommand'),
        ('"joined.bin" =', '"joined.*" ='),
    ],
)
def test_another_command_converts_again(converting: Workplace, before: str, after: str) -> None:
    converting.rules('[vars]\nx = "0"\n' + RULES)
    apply(converting)
    converting.rules('[vars]\nx = "1"\n' + RULES.replace('select = "scans"\n', 'select = "scans"\ntimeout = 99\njobs = 2\n', 1))
    assert reasons(converting) == {"unchanged:done": 2 * SERIES}
    converting.rules('[vars]\nx = "1"\n' + RULES.replace(before, after))
    due = SERIES if "joined.*" in after else 2 * SERIES
    assert reasons(converting)["todo:rule-changed"] == due
    assert apply(converting)["converted"] == due


def test_another_variable_or_program_converts_again(converting: Workplace, script: Script) -> None:
    rules = RULES.replace('"{{ outputs }}"]', '"{{ outputs }}", "{{ vars.x }}"]')
    converting.rules('[vars]\nx = "0"\n' + rules)
    apply(converting)
    assert apply(converting, "--var", "x=1")["converted"] == 2 * SERIES
    script(JOIN + "# another version\n")
    assert reasons(converting, "--var", "x=1") == {"todo:rule-changed": 2 * SERIES}
    assert apply(converting, "--var", "x=1")["converted"] == 2 * SERIES


def test_an_existing_file_is_a_conflict_and_never_compared(converting: Workplace) -> None:
    apply(converting)
    before = converting.files("out")
    (converting.folder / ".pyconquest-rules/state.db").unlink()
    assert reasons(converting) == {"blocked:conflict": 2 * SERIES}
    assert converting.files("out") == before
    converting.rules(RULES.replace("[convert.joined.outputs]", 'on_conflict = "overwrite"\n[convert.joined.outputs]'))
    assert apply(converting)["converted"] == 2 * SERIES
    assert not before.items() & converting.files("out").items()


def test_a_changed_output_is_found_and_restored(converting: Workplace) -> None:
    apply(converting)
    (converting.folder / "out/P1/1.bin").write_bytes(b"changed")
    assert converting.run("verify", "--json").summary["changed"] == 1
    assert reasons(converting) == {"blocked:destination-changed": 1, "unchanged:done": 2 * SERIES - 1}
    (converting.folder / "out/P1/1.bin").unlink()
    assert apply(converting)["converted"] == 1
    assert converting.run("verify", "--deep", "--json").summary["ok"] == 2 * SERIES


def test_other_files_below_each_destination_are_extra(converting: Workplace) -> None:
    converting.rules(RULES.replace("out/{{ PatientID }}/{{ SeriesNumber }}.bin", "binary/{{ PatientID }}/{{ SeriesNumber }}.bin"))
    apply(converting)
    for folder in ("out/other", "binary/other"):
        (converting.folder / folder).mkdir()
        (converting.folder / folder / "file").write_text("of somebody else")
    assert converting.run("verify", "--json").summary["extra"] == 2


@pytest.mark.parametrize(("per", "to", "groups"), [("study", "{{ StudyInstanceUID }}", 2), ("patient", "{{ PatientID }}", 1)])
def test_groups_of_other_levels(converting: Workplace, per: str, to: str, groups: int) -> None:
    rules = RULES.replace("{{ PatientID }}/{{ SeriesNumber }}", to).replace(
        'select = "scans"\n', f'select = "scans"\nper = "{per}"\n', 1
    )
    converting.rules(rules)
    assert apply(converting)["converted"] == 2 * groups
    joined = [content for name, content in converting.files("out").items() if name.endswith(".bin")]
    assert sum(content.count(b"DICM") for content in joined) == SERIES * SLICES


def test_each_row_is_a_group(converting: Workplace) -> None:
    query = "select SeriesInstanceUID, subject from series, (select 's1' as subject union select 's2') where SeriesNumber < 2"
    rules = RULES.replace("where = \"Modality = 'CT'\"", f'query = "{query}"').replace("{{ PatientID }}", "{{ subject }}")
    rules = rules.replace('"{{ outputs }}"]', '"{{ outputs }}", "{{ subject }}"]')
    converting.rules(rules.replace('select = "scans"\n', 'select = "scans"\nper = "row"\n', 1))
    assert apply(converting)["converted"] == 8
    files = converting.files("out")
    assert files.keys() == {
        f"{subject}/{series}.{end}" for subject in ("s1", "s2") for series in (0, 1) for end in ("bin", "txt")
    }
    assert len({content for name, content in files.items() if name.endswith(".txt")}) == 4


def test_two_groups_with_one_destination_are_blocked(converting: Workplace) -> None:
    converting.rules(RULES.replace("{{ SeriesNumber }}.bin", "x.bin"))
    assert reasons(converting) == {"blocked:collision": SERIES, "todo:new": SERIES}


@pytest.mark.parametrize("first", ["-", "+", "@"])
def test_a_value_never_becomes_an_option(converting: Workplace, instance: Instance, first: str) -> None:
    add(instance, 7, 1, SeriesDescription=f"{first}rf", PatientID="P7")
    add(instance, 8, 1, SeriesDescription="harm; rm -rf $HOME `id` | 'x\" less", PatientID="P8")
    rules = RULES.replace("\"Modality = 'CT'\"", '"SeriesNumber > 6"')
    converting.rules(rules.replace('"{{ outputs }}"]', '"{{ outputs }}", "{{ SeriesDescription }}"]'))
    assert reasons(converting) == {"blocked:bad-value": 1, "todo:new": 2}
    converting.rules(rules.replace('"{{ outputs }}"]', '"{{ outputs }}", "--name={{ SeriesDescription }}"]'))
    assert reasons(converting) == {"todo:new": 4}


def test_each_template_is_one_argument(converting: Workplace, instance: Instance, script: Script) -> None:
    add(instance, 8, 1, SeriesDescription="a; touch b `id` $HOME 'x\" *", PatientID="P8")
    script('printf "%s\\n" "$@" > outputs/about.txt; echo > outputs/joined.bin')
    rules = RULES.replace("\"Modality = 'CT'\"", '"SeriesNumber > 6"')
    converting.rules(rules.replace('"{{ outputs }}"]', '"{{ outputs }}", "{{ SeriesDescription }}", "", "-x y"]'))
    apply(converting)
    text = converting.files("out")["P8/8.txt"].decode()
    assert text == "inputs.txt\noutputs\na; touch b `id` $HOME 'x\" *\n\n-x y\n"


def test_a_group_without_a_value_is_blocked_once(converting: Workplace, instance: Instance) -> None:
    for number in range(3):
        add(instance, 9, number, SeriesNumber=None)
    assert reasons(converting) == {"blocked:missing-value": 1, "todo:new": 2 * SERIES}


def test_a_missing_program_blocks(converting: Workplace) -> None:
    converting.rules(RULES.replace("tools/join.sh", "no-such-program"))
    done = converting.run("plan", "--allow-commands", "--json")
    assert done.summary["reasons"] == {"blocked:command": 2 * SERIES}
    messages = [line["message"] for line in done.lines if line["event"] == "warning"]
    assert messages == ['the program "no-such-program" is not installed, or cannot be executed']


def test_the_environment_is_that_of_the_rules(converting: Workplace, script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", "of-the-user")
    script("env | grep -v -e ^HOME= -e ^TMPDIR= -e ^PWD= -e ^PATH= | sort > outputs/about.txt; echo > outputs/joined.bin")
    variables = '[vars]\ntoken = { env = "TOKEN" }\n'
    converting.rules(variables + RULES.replace("command =", 'environment = { T = "{{ vars.token }}", TZ = "CET" }\ncommand ='))
    apply(converting)
    assert converting.files("out")["P1/0.txt"] == b"LC_ALL=C.UTF-8\nSOURCE_DATE_EPOCH=315532800\nT=of-the-user\nTZ=CET\n"


def test_other_files_are_discarded_and_counted(converting: Workplace, script: Script) -> None:
    script(JOIN + "echo > outputs/more; mkdir outputs/a; echo > outputs/a/b; echo > note\n")
    done = converting.run("apply", "--allow-commands", "--json")
    hints = [line["message"] for line in done.lines if line["event"] == "warning"]
    assert hints == [f"files that `outputs` does not have were discarded: {2 * SERIES}"]
    assert converting.files("out").keys() == FILES


def test_what_left_the_set_is_pruned(converting: Workplace) -> None:
    rules = RULES.replace("command =", "prune = true\ncommand =")
    converting.rules(rules)
    apply(converting)
    converting.rules(rules.replace("Modality = 'CT'", "SeriesNumber > 0"))
    assert converting.run("apply", "--json").summary["removed"] == 2  # a removal runs no command
    assert converting.files("out").keys() == {name for name in FILES if "/0." not in name}


def test_a_saved_plan_needs_the_permission_again(converting: Workplace) -> None:
    assert converting.run("plan", "-o", "saved.plan", "--allow-commands").code == 0
    refused = converting.run("apply", "--plan", "saved.plan")
    assert refused.code == 2
    assert "saved.plan runs commands: use --allow-commands" in refused.err
    assert converting.files("out") == {}
    assert converting.run("apply", "--plan", "saved.plan", "--allow-commands", "--json").summary["converted"] == 2 * SERIES


def test_commands_run_side_by_side_if_the_rules_say_so(converting: Workplace, script: Script) -> None:
    script("date +%s.%N > outputs/about.txt; sleep 1; date +%s.%N >> outputs/about.txt; echo > outputs/joined.bin")

    def times() -> list[tuple[float, float]]:
        texts = [content.split() for name, content in converting.files("out").items() if name.endswith(".txt")]
        return sorted((float(begin), float(end)) for begin, end in texts)

    apply(converting)
    assert all(before[1] <= after[0] for before, after in zip(times(), times()[1:], strict=False))
    script("date +%s.%N > outputs/about.txt; sleep 2; date +%s.%N >> outputs/about.txt; echo > outputs/joined.bin")
    converting.rules(RULES.replace("command =", "jobs = 3\ncommand ="))
    apply(converting)
    assert any(before[1] > after[0] for before, after in zip(times(), times()[1:], strict=False))


def test_a_failed_command_is_reported_without_what_it_printed(converting: Workplace, script: Script) -> None:
    script(f'{JOIN}\necho "{PLANTED["PatientName"]}" >&2; grep -q 10.3.1 "$1" || grep -q "1\\.1\\.0" "$1" && exit 7; exit 0')
    (message,) = failures(converting)
    found = re.fullmatch(
        r"the command exited with 7; what it printed is in (\.pyconquest-rules/logs/convert\.joined-\w{16}\.log)", message
    )
    assert found, message
    log = converting.folder / found[1]
    assert (log.read_text(), log.stat().st_mode & 0o777) == (f"{PLANTED['PatientName']}\n", 0o600)
    assert converting.files("out").keys() == {name for name in FILES if "/1." not in name}
    assert nothing_is_left(converting)
    assert reasons(converting) == {"todo:retry": 2, "unchanged:done": 2 * SERIES - 2}
    script(JOIN)
    assert apply(converting)["converted"] == 2 * SERIES
    assert not log.exists()


def test_no_value_is_in_the_ledger_but_in_paths(converting: Workplace) -> None:
    converting.rules(RULES.replace('"{{ outputs }}"]', '"{{ outputs }}", "{{ PatientName }}"]'))
    apply(converting)
    connection = sqlite3.connect(converting.folder / ".pyconquest-rules/state.db")
    assert PLANTED["PatientName"] not in "\n".join(connection.iterdump())
    connection.close()


def test_a_release_has_the_files(converting: Workplace, instance: Instance) -> None:
    release = '\n[release.v1]\nactions = ["convert.joined"]\nroot = "out"\nlock = "v1.txt"\n'
    converting.rules(RULES + release).run("index")
    assert converting.run("lock", "v1").code == 0
    apply(converting, "--locked")
    files = converting.files("out")
    sums = {line[66:]: line[:64] for line in files["SHA256SUMS"].decode().splitlines()}
    assert {name: sums[name] for name in FILES} == {name: sha256(files[name]).hexdigest() for name in FILES}
    assert apply(converting, "--locked")["converted"] == 0
    add(instance, 1, 0, StudyDescription="another")
    assert converting.run("plan", "--locked", "--allow-commands").code == 4
