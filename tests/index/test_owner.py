"""An index belongs to one rules file. Another one that names it gets an error; neither loses or exports files of the other."""

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.conftest import Done, Instance, Workplace
from tests.index.indexing import dump

RULES = """rules_version = 1
outputs = ["export"]
[index]
database = "{database}"
[sources.{name}]
path = "{source}"
[select.all]
level = "image"
where = "1"
[copy.export]
select = "all"
to = "export/{{{{ SOPInstanceUID }}}}.dcm"
"""


def write(rules: Path, source: str, database: str = "conquest.db") -> Path:
    rules.parent.mkdir(parents=True, exist_ok=True)
    rules.write_text(RULES.format(database=database, source=source, name=Path(source).name))
    return rules


def in_one_folder(folder: Path) -> tuple[Path, Path]:
    """`rules.toml` and `rules.ci.toml`, both with the index that is used if none is named."""
    return write(folder / "rules.toml", "one"), write(folder / "rules.ci.toml", "two")


def in_two_folders(folder: Path) -> tuple[Path, Path]:
    """Each rules file is in its own folder. Only the command line can name one index for both."""
    return write(folder / "a/rules.toml", "../one"), write(folder / "b/rules.toml", "../two")


def relative(folder: Path) -> str:
    return "conquest.db"


def absolute(folder: Path) -> str:
    return str(folder / "conquest.db")


def through_a_link(folder: Path) -> str:
    (folder / "linked").symlink_to(folder)
    return "linked/conquest.db"


@pytest.fixture
def two(workplace: Workplace, instance: Instance) -> Workplace:
    """Two sources with an instance each."""
    instance("one/1.dcm", SOPInstanceUID="1.1", PatientID="P1")
    instance("two/2.dcm", SOPInstanceUID="1.2", PatientID="P2")
    return workplace


def run(workplace: Workplace, rules: Path, *arguments: str) -> Done:
    return workplace.run("-f", str(rules), *arguments)


def check_that_the_second_is_refused(two: Workplace, first: Path, second: Path, *options: str) -> None:
    assert run(two, first, *options, "index").code == 0
    database = next(two.folder.glob("conquest.db"))
    before = dump(database)
    for command in ("index", "plan", "apply", "apply --no-index", "summary", "forget P1 --yes"):
        done = run(two, second, *options, *command.split())
        assert (done.code, done.out) == (1, ""), command
        assert f"belongs to the rules file {first}; name another file as [index] database, or delete" in done.err
    assert not (second.parent / "export").exists()
    assert dump(database) == before
    assert run(two, first, *options, "apply").code == 0
    assert [file.name for file in (first.parent / "export").iterdir()] == ["1.1.dcm"]


def test_a_second_rules_file_of_the_folder_is_rejected_and_the_first_keeps_all(two: Workplace) -> None:
    check_that_the_second_is_refused(two, *in_one_folder(two.folder))


@pytest.mark.parametrize("named", [relative, absolute, through_a_link])
def test_a_rules_file_of_another_folder_is_rejected_and_the_first_keeps_all(two: Workplace, named: Callable[[Path], str]) -> None:
    check_that_the_second_is_refused(two, *in_two_folders(two.folder), "--database", named(two.folder))


def test_with_an_index_of_its_own_each_exports_its_own(two: Workplace) -> None:
    first, second = write(two.folder / "rules.toml", "one"), write(two.folder / "b/rules.toml", "../two", "ci.db")
    for rules in (first, second, first, second):
        assert run(two, rules, "apply").code == 0
    assert [file.name for file in (two.folder / "b/export").iterdir()] == ["1.2.dcm"]


def test_after_deleting_the_index_the_next_rules_file_owns_it(two: Workplace) -> None:
    first, second = in_one_folder(two.folder)
    run(two, first, "index")
    for file in two.folder.glob("conquest.db*"):
        file.unlink()
    assert run(two, second, "index").code == 0
    assert run(two, first, "index").code == 1


def test_a_project_that_was_moved_or_copied_keeps_its_index(two: Workplace) -> None:
    rules = write(two.folder / "project/rules.toml", "one")
    shutil.copytree(two.folder / "one", two.folder / "project/one")
    assert run(two, rules, "index").code == 0
    shutil.copytree(two.folder / "project", two.folder / "copied")  # while the first is there
    (two.folder / "project").rename(two.folder / "moved")
    for folder in ("copied", "moved"):
        assert run(two, two.folder / folder / "rules.toml", "plan").code == 0


def test_a_renamed_rules_file_takes_over_its_index(two: Workplace) -> None:
    rules = write(two.folder / "rules.toml", "one")
    run(two, rules, "index")
    renamed = rules.rename(two.folder / "mine.toml")
    done = run(two, renamed, "query", "SELECT * FROM images")
    assert done.code == 1
    assert "which is gone; take it over with: pyconquest-rules index" in done.err
    assert '"unchanged": 1' in run(two, renamed, "index", "--json").out
    assert run(two, renamed, "query", "SELECT * FROM images").code == 0


def test_an_index_whose_rules_are_gone_exports_nothing_of_theirs(two: Workplace) -> None:
    first, second = in_one_folder(two.folder)
    run(two, first, "index")
    first.unlink()
    assert run(two, second, "apply", "--no-index").code == 1
    assert run(two, second, "index", "two").code == 0  # of one source only: it may still hold what was theirs
    assert run(two, second, "apply", "--no-index").code == 1
    assert run(two, second, "apply").code == 0
    assert [file.name for file in (two.folder / "export").iterdir()] == ["1.2.dcm"]


def test_a_link_to_a_rules_file_is_that_rules_file(two: Workplace) -> None:
    rules = write(two.folder / "rules.toml", "one")
    run(two, rules, "index")
    (two.folder / "link.toml").symlink_to("rules.toml")
    assert run(two, two.folder / "link.toml", "plan").code == 0


def test_an_index_of_an_earlier_version_goes_to_the_first_that_opens_it(two: Workplace) -> None:
    first, second = in_one_folder(two.folder)
    run(two, first, "index")
    with closing(sqlite3.connect(two.folder / "conquest.db")) as connection, connection:
        connection.execute("DELETE FROM rules_index WHERE key = 'rules'")
    assert run(two, first, "plan", "--no-index").code == 0
    assert run(two, first, "index").code == 0
    assert run(two, second, "index").code == 1


@pytest.mark.parametrize("recorded", ["{", '""', '"a\\u0000b"', '"\\u001b[2J"', "7", '"../../../../../../../../etc/passwd"'])
def test_the_stored_rules_file_may_be_any_text(two: Workplace, recorded: str) -> None:
    rules = write(two.folder / "rules.toml", "one")
    run(two, rules, "index")
    with closing(sqlite3.connect(two.folder / "conquest.db")) as connection, connection:
        connection.execute("UPDATE rules_index SET value = ? WHERE key = 'rules'", (recorded,))
    done = run(two, rules, "plan", "--no-index")
    assert done.code == 1
    assert "\x1b" not in done.err


def test_a_source_that_the_rules_do_not_have_any_more_is_not_selected(two: Workplace) -> None:
    rules = write(two.folder / "rules.toml", "one")
    run(two, rules, "index")
    write(rules, "two")
    done = run(two, rules, "apply", "--no-index")
    assert done.code == 1
    assert "has the source 'one' which the rules do not have; update it with: pyconquest-rules index" in done.err
    assert run(two, rules, "apply").code == 0
    assert [file.name for file in (two.folder / "export").iterdir()] == ["1.2.dcm"]


# The state, which all rules files of a folder share


@pytest.mark.parametrize("who_prunes", ["both", "the first", "the second"])
def test_rules_of_one_folder_do_not_prune_what_the_other_made(two: Workplace, who_prunes: str) -> None:
    first = write(two.folder / "rules.toml", "one")
    second = write(two.folder / "rules.ci.toml", "two", "ci.db")
    for rules, prunes in ((first, "both the first"), (second, "both the second")):
        if who_prunes in prunes:
            rules.write_text(rules.read_text().replace("to =", "prune = true\nto ="))
    assert run(two, first, "apply").code == 0
    for command in ("plan", "apply", "apply --allow-prune"):
        done = run(two, second, *command.split())
        assert done.code == 2
        assert "copy.export of the rules file 'rules.toml' uses the same state" in done.err
        assert "rename the action in 'rules.ci.toml'" in done.err
    assert [file.name for file in (two.folder / "export").iterdir()] == ["1.1.dcm"]
    second.write_text(second.read_text().replace("copy.export", "copy.ci"))
    for rules in (second, first, second):
        assert run(two, rules, "apply", "--allow-prune").code == 0
        assert len(list((two.folder / "export").iterdir())) == 2


def test_rules_of_one_folder_may_have_actions_of_one_name_if_none_prunes(two: Workplace) -> None:
    first, second = write(two.folder / "rules.toml", "one"), write(two.folder / "rules.ci.toml", "two", "ci.db")
    for rules in (first, second, first, second):
        assert run(two, rules, "apply").code == 0
    assert len(list((two.folder / "export").iterdir())) == 2


def test_a_renamed_rules_file_still_prunes(two: Workplace) -> None:
    rules = write(two.folder / "rules.toml", "one")
    rules.write_text(rules.read_text().replace("to =", "prune = true\nto ="))
    assert run(two, rules, "apply").code == 0
    renamed = rules.rename(two.folder / "mine.toml")
    renamed.write_text(renamed.read_text().replace('where = "1"', 'where = "0"'))
    assert run(two, renamed, "apply", "--allow-prune").code == 0
    assert list((two.folder / "export").iterdir()) == []
