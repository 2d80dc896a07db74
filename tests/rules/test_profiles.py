"""`[profile.NAME]`, `--profile` and `--var`: other variables, actions left out, and plans that become stale."""

import pytest

from tests.conftest import Instance, Workplace

RULES = """
[vars]
release = "full"
key = { env = "KEY_OF_NOBODY", default = "none" }

[sources.archive]
path = "data"

[select.all]
level = "image"
where = "1"

[copy.export]
select = "all"
to = "{{ vars.release }}/{{ SOPInstanceUID }}.dcm"

[copy.second]
select = "all"
to = "second/{{ SOPInstanceUID }}.dcm"
tags = ["nightly"]

[profile.ci]
vars = { release = "ci" }
disable = ["tag:nightly"]
"""


def test_a_profile_replaces_variables_and_leaves_actions_out(workplace: Workplace, instance: Instance) -> None:
    instance("data/a.dcm")
    workplace.rules(RULES)
    assert workplace.run("apply", "--profile", "ci").code == 0
    assert {name.partition("/")[0] for name in workplace.files()} == {"data", "ci", "rules.toml"}
    assert workplace.run("apply").code == 0
    assert {name.partition("/")[0] for name in workplace.files()} == {"data", "ci", "full", "second", "rules.toml"}


def test_a_variable_of_the_command_line_replaces_that_of_a_profile(workplace: Workplace, instance: Instance) -> None:
    instance("data/a.dcm")
    workplace.rules(RULES)
    assert workplace.run("--var", "release=one", "apply", "--profile", "ci", "--var", "key=x").code == 0
    assert {name.partition("/")[0] for name in workplace.files()} == {"data", "one", "rules.toml"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--profile", "cii"), 'unknown profile "cii"; did you mean "ci"?'),
        (("--profile", "unlike"), 'unknown profile "unlike"; profiles are: ci'),
        (("--var", "relaese=x"), 'unknown variable "relaese"; did you mean "release"?'),
        (("--var", "release"), '--var "release" has no value; write --var NAME=VALUE'),
        (("--var", "release=1", "--var", "release=2"), '--var gives "release" twice; leave one out'),
        (("--var", "release=\udcff"), 'the value of --var "release" has a character that cannot be printed; leave it out'),
    ],
)
def test_a_wrong_choice_is_an_error(workplace: Workplace, options: tuple[str, ...], message: str) -> None:
    done = workplace.rules(RULES).run(*options, "check")
    assert (done.code, message in done.err) == (2, True), done.err


def test_a_disabled_action_is_not_a_target(workplace: Workplace, instance: Instance) -> None:
    instance("data/a.dcm")
    workplace.rules(RULES)
    for target in ("copy.second", "tag:nightly"):
        done = workplace.run("--profile", "ci", "plan", target)
        assert (done.code, target in done.err) == (2, True), done.err
    assert 'the profile disables "copy.second"' in workplace.run("--profile", "ci", "plan", "copy.second").err


@pytest.mark.parametrize(
    ("profile", "place", "message"),
    [
        ('vars = { releese = "x" }', "vars = { releese", '[vars] has no variable "releese"\n'),
        ("vars = { release = 1 }", "", "must be text\n"),
        ('vars = { release = "{{ SOPInstanceUID }}" }', "", "templates do not work here\n"),
        ("vars = { release = { enw = 'X' } }", "", 'unknown key "enw"\n'),
        ('disable = ["kopy"]', "", 'unknown kind, action or tag "kopy"\n'),
        ('disable = ["copy.export"]', "", "copy.third needs copy.export, which this profile disables\n"),
        ("disabled = []", "", 'unknown key "disabled"\n'),
        ("vars = { release = '/elsewhere' }", "to =", "with --profile wrong\n"),
        ("vars = { release = { env = 'NOT_SET_ANYWHERE' } }", "", "the environment variable NOT_SET_ANYWHERE is not set"),
    ],
)
def test_an_error_of_a_profile_has_its_position(workplace: Workplace, profile: str, place: str, message: str) -> None:
    third = '[copy.third]\nselect = "all"\nto = "third/{{ SOPInstanceUID }}.dcm"\nneeds = ["copy.export"]\n'
    text = f"{RULES}{third}\n[profile.wrong]\n{profile}\n"
    done = workplace.rules(text).run("check")
    assert (done.code, message in done.err) == (2, True), done.err
    lines = f"rules_version = 1\n{text}".splitlines()
    expected = lines.index('to = "{{ vars.release }}/{{ SOPInstanceUID }}.dcm"') if place == "to =" else len(lines) - 1
    assert done.err.startswith(f"rules.toml:{expected + 1}:"), done.err


def test_an_environment_variable_of_a_profile_is_read_only_if_it_is_chosen(workplace: Workplace) -> None:
    workplace.rules(RULES + '\n[profile.site]\nvars = { release = { env = "NOT_SET_ANYWHERE" } }\n')
    assert workplace.run("check", "--profile", "ci").code == 0
    assert workplace.run("check", "--profile", "site").code == 2
    assert workplace.run("check", "--profile", "site", "--var", "release=x").code == 0


@pytest.mark.parametrize("options", [("--var", "key=other"), ("--var", "release=other"), ("--profile", "ci"), ()])
def test_a_saved_plan_is_stale_with_other_variables(workplace: Workplace, instance: Instance, options: tuple[str, ...]) -> None:
    instance("data/a.dcm")
    made_with = ("--var", "key=this") if not options else ()
    assert workplace.rules(RULES).run("plan", *made_with, "-o", "saved.plan").code == 0
    done = workplace.run(*options, "apply", "--plan", "saved.plan")
    assert (done.code, "the variables changed after saved.plan was saved" in done.err) == (5, True), done.err
    assert not (workplace.folder / "full").exists()
    assert workplace.run("apply", *made_with, "--plan", "saved.plan").code == 0
