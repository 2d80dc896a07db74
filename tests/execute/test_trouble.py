"""Trouble is shown in few lines, and stays visible: dead nodes, `--quiet`, runs that could not begin, the counts of a run."""

import re
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from pyconquest_rules.engine.lock import locked
from pyconquest_rules.events import BroughtAlong, Event, Noted, Planning, RunStarted, StepDone, StepFailed, StepsWait
from pyconquest_rules.kinds.all import outcomes
from pyconquest_rules.render.failures import MOST_SHOWN, Failures
from pyconquest_rules.render.terminal import Part
from tests.conftest import Instance, Workplace
from tests.execute.sends import RULES as SENDS
from tests.peers.archives import dcmqrscp, stored
from tests.peers.processes import free_port
from tests.plan.manual import copies

DEAD = "node peer: connection refused"


def shown(*events: Event, warnings: bool = True) -> list[str]:
    lines: list[Part] = []
    failures = Failures(lines.append, warnings=warnings)
    for event in events:
        failures.take(event)
    failures.flush()
    return [line if isinstance(line, str) else line[0] for line in lines]


FAILED: list[Event] = [StepFailed("send.a", f"1.2.{n}", DEAD) for n in range(250)]


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        (FAILED[:1], [f"failed: send.a 1.2.0: {DEAD}"]),
        (FAILED[:2], [f"failed: send.a 1.2.0: {DEAD} (and 1 more)"]),
        (FAILED, [f"failed: send.a 1.2.0: {DEAD} (and 249 more)"]),
        (
            [*FAILED[:1], StepFailed("send.a", "1.3", "0122"), *FAILED[1:1000], StepFailed("send.a", "1.4", "0122")],
            [f"failed: send.a 1.2.0: {DEAD} (and 249 more)", "failed: send.a 1.3: 0122 (and 1 more)"],
        ),
        (
            [FAILED[0], FAILED[1], StepFailed("send.b", "1.2.0", DEAD), FAILED[2]],
            [f"failed: send.a 1.2.0: {DEAD} (and 1 more)", f"failed: send.b 1.2.0: {DEAD}", f"failed: send.a 1.2.2: {DEAD}"],
        ),
        ([StepFailed("retrieve.a", "", DEAD)], [f"failed: retrieve.a: {DEAD}"]),
        (
            [StepDone("send.a", f"1.{n}", 1, "coerced (B000)") for n in range(2000)],
            ["warning: send.a 1.0: coerced (B000) (and 1,999 more)"],
        ),
        ([Noted("", "1 match was skipped")], ["warning: 1 match was skipped"]),
        (
            [FAILED[0], Planning("copy.x", 3), RunStarted(1, 3, 3), FAILED[1]],
            [f"failed: send.a 1.2.0: {DEAD}", f"failed: send.a 1.2.1: {DEAD}"],
        ),
        (
            [FAILED[0], StepsWait("send.a", 2, "outside its window")],
            [f"failed: send.a 1.2.0: {DEAD}", "send.a: outside its window: 2 instances wait"],
        ),
    ],
)  # fmt: skip
def test_equal_messages_of_an_action_are_one_line(events: list[Event], expected: list[str]) -> None:
    assert shown(*events) == expected


def test_many_messages_are_few_lines() -> None:
    lines = shown(*(StepFailed("copy.a", f"1.{n}", f"message {n}") for n in range(MOST_SHOWN + 7)))
    assert len(lines) == MOST_SHOWN + 1
    assert lines[-1] == "copy.a: 7 more with other messages; use --json to see all"


def test_without_warnings_only_failures() -> None:
    events: list[Event] = [
        StepDone("send.a", "1", 1, "coerced"),
        Noted("a", "x"),
        BroughtAlong("a", 1),
        StepsWait("a", 1, "x"),
        FAILED[0],
    ]
    assert shown(*events, warnings=False) == [f"failed: send.a 1.2.0: {DEAD}"]


@pytest.mark.parametrize(("number", "associations"), [(1, 1), (2, 1), (30, 1), (30, 4), (120, 2)])
def test_a_dead_node_is_one_line(
    workplace: Workplace, instance: Instance, monkeypatch: pytest.MonkeyPatch, number: int, associations: int
) -> None:
    monkeypatch.setattr("pyconquest_rules.kinds.send.do.DELAYS", ())
    for n in range(number):
        instance(f"data/{n}.dcm")
    workplace.rules(SENDS.format(port=free_port(), associations=associations))
    done = workplace.run("apply")
    assert done.code == 1
    failed = [line for line in done.err.splitlines() if line.startswith("failed: ")]
    assert len(failed) == 1, done.err
    assert re.fullmatch(r"failed: send\.out [0-9.]+: .+?( \(and [0-9]+ more\))?", failed[0])
    assert (f"(and {number - 1} more)" in failed[0]) == (number > 1)
    lines = workplace.run("apply", "--json").lines
    assert len([line for line in lines if line["event"] == "failed"]) == number


COPIES = copies("export/{{ SOPInstanceUID }}.dcm")
SILENT = [
    ("check",),
    ("index",),
    ("plan",),
    ("plan", "-o", "night.plan"),
    ("apply",),
    ("verify",),
    ("status",),
    ("export", "images", "-o", "images.csv"),
    ("conquest-config", "-o", "conquest"),
    ("forget", "1.2.826.0.1.3680043.10.1.1", "--yes"),
]


@pytest.mark.parametrize("before", [True, False])
def test_success_is_quiet(workplace: Workplace, instance: Instance, before: bool) -> None:
    for n in range(3):
        instance(f"data/{n}.dcm")
    workplace.rules(COPIES)
    for command in SILENT:
        done = workplace.run(*(["--quiet", *command] if before else [command[0], "-q", *command[1:]]))
        assert (done.code, done.out, done.err) == (0, "", ""), command
    assert len(workplace.files("export")) == 3
    assert workplace.run("query", "select 1 as one", "--quiet", "--format", "csv").out.split() == ["one", "1"]


def blocked(workplace: Workplace) -> None:
    (workplace.folder / "export").mkdir()
    (workplace.folder / "export/1.2.826.0.1.3680043.10.1.1.dcm").write_text("of somebody else")


def no_source(workplace: Workplace) -> None:
    (workplace.folder / "data").rename(workplace.folder / "elsewhere")


def bad_rules(workplace: Workplace) -> None:
    workplace.rules("x = 1")


def cut_file(workplace: Workplace) -> None:
    (workplace.folder / "data/cut.dcm").write_bytes((workplace.folder / "data/0.dcm").read_bytes()[:400])


def no_folder(workplace: Workplace) -> None:
    (workplace.folder / "export").write_text("a file")


@pytest.mark.parametrize(
    ("trouble", "command", "code", "said"),
    [
        (blocked, "apply", 1, "blocked"),
        (blocked, "plan", 1, "blocked"),
        (no_source, "apply", 1, "error: "),
        (bad_rules, "check", 2, "unknown key"),
        (cut_file, "index", 1, "not in the index"),
        (no_folder, "apply", 1, "blocked"),
    ],
)
def test_problems_are_not_quiet(
    workplace: Workplace, instance: Instance, trouble: Callable[[Workplace], None], command: str, code: int, said: str
) -> None:
    instance("data/0.dcm")
    trouble(workplace.rules(COPIES))
    done = workplace.run(command, "--quiet")
    assert (done.code, done.out) == (code, "")
    assert said in done.err


def test_verify_is_quiet_until_something_is_wrong(workplace: Workplace, instance: Instance) -> None:
    instance("data/0.dcm")
    workplace.rules(COPIES).run("apply")
    (path,) = (workplace.folder / "export").iterdir()
    path.unlink()
    done = workplace.run("--quiet", "verify")
    assert (done.code, done.out) == (1, "")
    assert done.err == "verify: ok 0, missing 1, changed 0, extra 0\n  which: verify --list\n"
    assert workplace.run("--quiet", "verify", "--list").err.startswith("missing  export/")


def test_json_and_quiet_exclude_each_other(workplace: Workplace) -> None:
    done = workplace.rules(COPIES).run("check", "--json", "--quiet")
    assert done.code == 2
    assert "leave --json or --quiet out" in done.err


def damaged_index(workplace: Workplace) -> None:
    (workplace.folder / "conquest.db").write_bytes(b"not a database" * 1000)


def nothing(workplace: Workplace) -> None:
    pass


def stale_plan(workplace: Workplace) -> None:
    workplace.run("plan", "-o", "old.plan")
    (workplace.folder / "data/1.dcm").unlink()


def other_rules(workplace: Workplace) -> None:
    workplace.rules(COPIES.replace("export/", "../outside/"))


@pytest.mark.parametrize(
    ("trouble", "arguments", "code", "reason"),
    [
        (no_source, [], 1, "source"),
        (damaged_index, [], 1, "index"),
        (stale_plan, ["--plan", "old.plan"], 5, "plan again"),
        (nothing, ["--plan", "no.plan"], 2, "there is no file no.plan"),
        (nothing, ["copy.exprot"], 2, 'unknown target "copy.exprot"'),
        (bad_rules, [], 2, "the rules are invalid: rules.toml:2:1"),
        (other_rules, [], 2, "the rules are invalid: rules.toml"),
    ],
)
def test_a_run_that_could_not_begin_is_in_history(
    workplace: Workplace, instance: Instance, trouble: Callable[[Workplace], None], arguments: list[str], code: int, reason: str
) -> None:
    instance("data/0.dcm")
    workplace.rules(COPIES).run("apply")
    instance("data/1.dcm")
    trouble(workplace)
    assert workplace.run("apply", *arguments).code == code
    last, first, _ = workplace.rules(COPIES).run("history", "--json").lines
    assert (first["ending"], first["reason"]) == ("done", None)
    assert (last["ending"], last["done"], last["targets"]) == ("not begun", 0, " ".join(a for a in arguments if "copy" in a))
    assert reason in last["reason"]
    text = workplace.run("history").out
    assert f"run {last['number']} was not begun: {last['reason']}" in text


def test_a_locked_run_is_in_history_and_leaves_the_other_alone(workplace: Workplace, instance: Instance) -> None:
    instance("data/0.dcm")
    workplace.rules(COPIES).run("apply")
    with locked(workplace.folder):
        assert workplace.run("apply").code == 6
    last, first = workplace.run("history", "--json").lines[:-1]
    assert (last["ending"], first["ending"]) == ("not begun", "done")
    assert "another run" in last["reason"]
    assert workplace.run("apply", "--json").summary["run"] == 3


def test_a_run_that_an_error_ends_is_in_history(
    workplace: Workplace, instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    instance("data/0.dcm")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device", "/secret/Doe^Jane")

    monkeypatch.setattr("pyconquest_rules.app.applying.forget_moved", full)
    assert workplace.rules(COPIES).run("apply").code == 1
    monkeypatch.undo()
    (run,) = workplace.run("history", "--json").lines[:-1]
    assert (run["ending"], run["reason"], run["done"]) == ("failed", "No space left on device", 1)
    assert workplace.run("apply", "--json").summary["unchanged"] == 1
    assert [run["ending"] for run in workplace.run("history", "--json").lines[:-1]] == ["done", "failed"]


ALL = """
[sources.archive]
path = "archive"
layout = "{{{{ SOPInstanceUID }}}}.dcm"

[select.mr]
level = "image"
where = "Modality = 'MR'"

[select.all]
level = "image"
where = "1"

[nodes.peer]
ae_title = "{node.ae_title}"
host = "127.0.0.1"
port = {node.port}

[retrieve.ct]
node = "peer"
level = "study"
match = {{ ModalitiesInStudy = "CT", StudyDate = {{ last_days = 7 }} }}
into = "archive"

[copy.all]
select = "all"
to = "export/{{{{ SOPInstanceUID }}}}.dcm"

[send.mr]
select = "mr"
node = "peer"
"""


def test_what_was_retrieved_sent_and_copied_is_kept_apart(workplace: Workplace, instance: Instance, tmp_path: Path) -> None:
    days = ["20260301", "20260301", "20260222", "20260221", "20260302"]
    with ExitStack() as stack:
        node = stack.enter_context(dcmqrscp())
        there = [
            instance(f"there/{n}.dcm", StudyDate=day, StudyInstanceUID=f"1.9.{n}", SeriesInstanceUID=f"1.8.{n}", pixels=bytes(10))
            for n, day in enumerate(days)
        ]
        stored(node, there)
        for n in range(2):
            uids = {"StudyInstanceUID": f"1.7.{n}", "SeriesInstanceUID": f"1.6.{n}", "SOPClassUID": "1.2.840.10008.5.1.4.1.1.4"}
            instance(f"archive/{n}.dcm", Modality="MR", pixels=bytes(10), **uids)
        workplace.rules(ALL.format(node=node))
        done = workplace.run("apply", "--today", "2026-03-01")
        assert done.code == 0, done.err
        # dcmqrscp has no ModalitiesInStudy to match by; of the days it brings those asked for: two of today, one 7 days old.
        assert "run 1: done 10 (retrieved 3, copied 5, sent 2)" in done.err
        summary = workplace.run("apply", "--today", "2026-03-02", "--json").summary
        counts = {word: summary[word] for word in ("done", *outcomes())}
        assert counts == dict.fromkeys(outcomes(), 0) | {"done": 2, "copied": 1, "retrieved": 1}
