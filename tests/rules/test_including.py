"""`include`: tables of several files become one document, and every error is shown in its own file."""

import os

import pytest

from tests.conftest import Instance, Workplace

BEGIN = "rules_version = 1\n"
SOURCES = BEGIN + '[sources.archive]\npath = "data"\n'
SETS = BEGIN + '[select.all]\nlevel = "image"\nwhere = "1"\n'
EXPORT = '[copy.export]\nselect = "all"\nto = "out/{{ SOPInstanceUID }}.dcm"\n'


def with_files(workplace: Workplace, first: str, **files: str) -> Workplace:
    for name, text in files.items():
        path = workplace.folder / f"{name.replace('__', '/')}.toml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return workplace.rules(first)


def test_the_tables_of_all_files_are_one_document(workplace: Workplace, instance: Instance) -> None:
    instance("data/a.dcm")
    first = f'include = ["sources.toml", "more/sets.toml"]\n{EXPORT}'
    nested = SETS.replace(BEGIN, f'{BEGIN}include = ["more/vars.toml"]\n')
    with_files(workplace, first, sources=SOURCES, more__sets=nested, more__vars=BEGIN + '[vars]\nrelease = "x"\n')
    assert workplace.run("apply").code == 0
    assert [name for name in workplace.files() if name.startswith("out/")]
    assert workplace.run("--var", "release=y", "plan").code == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (SETS.replace("image", "imgae"), 'a.toml:3:9: must be "patient", "study", "series" or "image"\n    3 | level = "imgae"'),
        (SETS.replace('"1"', '"Modalty = 1"'), "a.toml:4:10: "),
        (SETS + "nothing", "a.toml:5:"),
        (SETS + "[[sources]]\n", 'a.toml:5:3: "sources" is already at rules.toml:3:2\n'),
        (SETS + '[copy.export]\nselect = "all"\nto = "b"\n', 'a.toml:5:7: "copy.export" is already at rules.toml:5:7\n'),
        (SETS + 'include = "b.toml"\n', "a.toml:5:"),
        (SETS.replace(BEGIN, BEGIN + "outputs = ['.']\ninclude = 3\n"), "a.toml:3:11: must be a list of texts\n"),
        (SETS.replace("1\n", '1\ninclude = ["a.toml"]\n', 1), 'a.toml:2:12: "a.toml" includes itself\n'),
        (SETS.replace("1\n", '1\ninclude = ["rules.toml"]\n', 1), 'a.toml:2:12: "rules.toml" includes itself\n'),
    ],
)
def test_an_error_is_shown_in_its_own_file(workplace: Workplace, text: str, message: str) -> None:
    done = with_files(workplace, f'include = ["a.toml"]\n[sources.archive]\npath = "data"\n{EXPORT}', a=text).run("check")
    assert (done.code, message in done.err) == (2, True), done.err


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("/etc/passwd", "must have a name that ends in .toml"),
        ("a\\u0000.toml", "must have a name that ends in .toml"),
        ("/tmp/other.toml", "is not below the folder of the rules file"),
        ("../other.toml", "is not below the folder of the rules file"),
        ("below/../a.toml", "is not below the folder of the rules file"),
        ("link.toml", "is not below the folder of the rules file"),
        ("linked/other.toml", "is not below the folder of the rules file"),
        ("missing.toml", 'cannot include "missing.toml": No such file or directory'),
        ("folder.toml", "it is not a regular file"),
        ("fifo.toml", "it is not a regular file"),
        ("latin.toml", "it is not UTF-8 text"),
        ("secret.toml", "it does not begin with rules_version = 1"),
        ("large.toml", "it is larger than"),
    ],
)
def test_a_hostile_include_reads_nothing_and_shows_nothing(workplace: Workplace, name: str, message: str) -> None:
    outside, here = workplace.folder / "outside", workplace.folder / "here"
    for folder in (outside, here, here / "folder.toml"):
        folder.mkdir()
    for file in (outside / "other.toml", here / "secret.toml"):
        file.write_text("PASSWORD = TOP-SECRET\n", encoding="utf-8")
    (here / "link.toml").symlink_to(outside / "other.toml")
    (here / "linked").symlink_to(outside)
    os.mkfifo(here / "fifo.toml")
    (here / "latin.toml").write_bytes(b"rules_version = 1\n# \xe9\n")
    (here / "large.toml").write_text(BEGIN + "#" * (1 << 20), encoding="utf-8")
    done = Workplace(here).rules(f'include = ["{name}"]\n').run("check")
    assert (done.code, message in done.err, "TOP-SECRET" in done.err) == (2, True, False), done.err
    assert done.err.startswith("rules.toml:2:12: "), done.err


def test_a_file_is_included_once_and_all_files_have_a_limit(workplace: Workplace) -> None:
    for spelling in ("a.toml", "./a.toml"):
        done = with_files(workplace, f'include = ["a.toml", "{spelling}"]\n', a=SOURCES).run("check")
        assert (done.code, f'"{spelling}" is already included' in done.err) == (2, True), done.err
    many = {f"m{number}": f'{BEGIN}include = ["m{number + 1}.toml"]\n' for number in range(60)}
    done = with_files(workplace, 'include = ["m0.toml"]\n', **many).run("check")
    assert (done.code, "m48.toml:2:12: the rules have more than 50 files" in done.err) == (2, True), done.err


def test_no_destination_is_an_included_file(workplace: Workplace) -> None:
    first = f'include = ["a.toml"]\n{EXPORT}'.replace("out/{{ SOPInstanceUID }}.dcm", "a.toml/{{ SOPInstanceUID }}.dcm")
    with_files(workplace, first, a=SOURCES + SETS.removeprefix(BEGIN))
    done = workplace.run("check")
    assert done.code == 2, done.err
    assert "a.toml" in done.err


def test_no_command_overwrites_an_included_file(workplace: Workplace, instance: Instance) -> None:
    instance("data/a.dcm")
    with_files(workplace, f'include = ["a.toml"]\n{EXPORT}', a=SOURCES + SETS.removeprefix(BEGIN))
    done = workplace.run("plan", "-o", "a.toml", "--force")
    assert (done.code, "a rules file that is included" in done.err) == (2, True), done.err
    assert (workplace.folder / "a.toml").read_text(encoding="utf-8").startswith(BEGIN)
