"""Rules from a stranger: which files they can open, where their index can be, what `check` and `plan --offline` do."""

import os
import random
import re
import socket
from collections.abc import Callable
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from pyconquest_rules.app.loading import Rules
from pyconquest_rules.disk.named_files import open_named, read_named
from pyconquest_rules.index.scan.patterns import broken, expression
from tests.conftest import Workplace

Instance = Callable[..., Path]

SECRET = "API_KEY = 'not-to-be-shown'\n"
RULES = """
[sources.archive]
path = "data"
layout = "{{ SOPInstanceUID }}.dcm"

[select.all]
level = "image"
where = "1"

[copy.export]
select = "all"
to = "export/{{ SOPInstanceUID }}.dcm"
"""


def tree(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Return all files of a folder with their times and bytes."""
    return {str(path): (path.stat().st_mtime_ns, path.read_bytes()) for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize(
    "target", ["/proc/self/status", "/sys/kernel/notes", "/dev/zero", "/dev/null", "fifo", ".", "out", "nothing"]
)
def test_only_regular_files_are_opened(tmp_path: Path, target: str) -> None:
    (folder := tmp_path / "rules").mkdir()
    (tmp_path / "outside").write_text("x")
    os.mkfifo(folder / "fifo")
    (folder / "out").symlink_to("../outside")
    with pytest.raises(OSError, match=r".") as raised:
        open_named(folder / target, folder, 1000)
    assert raised.value.strerror


def test_a_link_must_stay_in_the_folder_of_the_rules_but_a_path_need_not(tmp_path: Path) -> None:
    (folder := tmp_path / "rules").mkdir()
    (folder / "a").write_text("inside")
    (folder / "b").symlink_to("a")
    (folder / "up").symlink_to("..")
    (tmp_path / "c").write_text("outside")
    (tmp_path / "d").symlink_to("c")
    assert read_named(folder / "b", folder, 10) == b"inside"
    assert read_named(folder / "../c", folder, 10) == b"outside"
    assert read_named(folder / "../d", folder, 10) == b"outside"
    for out in ("up/c", "up/d"):
        with pytest.raises(OSError, match="a link leads out of the folder of the rules"):
            read_named(folder / out, folder, 10)
    with pytest.raises(OSError, match="larger than 3 bytes"):
        read_named(folder / "a", folder, 3)


@pytest.mark.parametrize("text", [SECRET, "API_KEY=not-to-be-shown\n", "not-to-be-shown\n"])
def test_a_rules_file_that_is_a_link_shows_nothing_of_another_file(workplace: Workplace, text: str) -> None:
    (workplace.folder / ".env").write_text(text)
    (workplace.folder / "rules.toml").symlink_to(".env")
    done = workplace.run("check")
    assert done.code == 2
    assert "is a link to a file that is not a valid rules file" in done.err
    assert "not-to-be-shown" not in done.err
    assert "API_KEY" not in done.err


def test_a_rules_file_may_be_a_link_to_rules_beside_it(workplace: Workplace) -> None:
    workplace.rules(RULES)
    (workplace.folder / "rules.toml").rename(workplace.folder / "real.toml")
    (workplace.folder / "rules.toml").symlink_to("real.toml")
    assert workplace.run("check").code == 0


def test_a_hint_has_no_text_of_a_file_that_is_not_a_table(workplace: Workplace) -> None:
    (workplace.folder / ".env").write_text("password=not-to-be-shown\n")
    query = "[select.s]\nlevel = 'image'\nquery = '''select \"password=not-to-be-shoXn\" from images, t'''\n"
    assert "not-to-be-shown" not in workplace.rules(f"[tables.t]\ncsv = '.env'\n{query}").run("check").err
    (workplace.folder / ".env").rename(workplace.folder / "t.csv")
    query = query.replace('"password=not-to-be-shoXn"', "t.password")
    assert "unknown column" in workplace.rules(f"[tables.t]\ncsv = 't.csv'\n{query}").run("check").err


def test_check_and_an_offline_plan_connect_to_nothing_read_no_source_and_write_nothing(
    workplace: Workplace, instance: Instance
) -> None:
    instance("data/1.dcm", SOPInstanceUID="1.2.3")
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        node = f"[nodes.n]\nae_title = 'N'\nhost = '127.0.0.1'\nport = {server.getsockname()[1]}\n"
        retrieve = "[retrieve.r]\nnode = 'n'\nlevel = 'study'\ninto = 'archive'\nmatch = { PatientID = 'P' }\n"
        workplace.rules(RULES + node + retrieve)
        assert workplace.run("check").code == 0
        assert not (workplace.folder / "conquest.db").exists()
        assert workplace.run("index").code == 0
        for beside in workplace.folder.glob("conquest.db-*"):
            beside.unlink()
        (workplace.folder / "data/1.dcm").unlink()
        (workplace.folder / "export").mkdir()
        (workplace.folder / "export/1.2.3.dcm").write_bytes(b"")
        before = tree(workplace.folder)
        done = workplace.run("plan", "--offline", "--json")
        assert tree(workplace.folder) == before
        with pytest.raises(BlockingIOError):
            server.accept()
    assert done.summary["actions"]["copy.export"]["blocked"] == 1
    assert "only the node knows which instances to retrieve" in done.out
    assert "retrieve.r" not in done.summary["actions"]


def test_an_offline_plan_reports_what_it_did_not_compare_and_cannot_be_saved(workplace: Workplace, instance: Instance) -> None:
    file = instance("data/1.dcm", SOPInstanceUID="1.2.3")
    workplace.rules(RULES).run("index")
    (workplace.folder / "export").mkdir()
    (workplace.folder / "export/1.2.3.dcm").write_bytes(file.read_bytes())
    assert "1 existing files were not compared with their sources" in workplace.run("plan", "--offline").err
    assert workplace.run("plan", "--offline", "-o", "plan.db").code == 2


def test_the_index_is_below_the_rules_or_where_the_command_line_or_the_environment_puts_it(
    workplace: Workplace, instance: Instance, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    instance("data/1.dcm")
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (workplace.folder / "out").symlink_to(elsewhere)
    monkeypatch.setenv("GITHUB_PATH", str(elsewhere / "path"))
    monkeypatch.setenv("PYCONQUEST_INDEX", str(elsewhere / "ours.db"))
    for place in (
        f'"{elsewhere}/i.db"',
        '"out/i.db"',
        '{ env = "GITHUB_PATH" }',
        f'{{ env = "NONE", default = "{elsewhere}/i.db" }}',
    ):
        refused = workplace.rules(f"[index]\ndatabase = {place}\n{RULES}").run("index")
        assert refused.code == 2
        assert "the index must be below the folder of the rules file" in refused.err
    assert not [*elsewhere.iterdir()]
    assert workplace.run("--database", str(elsewhere / "i.db"), "index").code == 0
    assert workplace.rules(f'[index]\ndatabase = {{ env = "PYCONQUEST_INDEX" }}\n{RULES}').run("index").code == 0
    assert {path.name for path in elsewhere.glob("*.db")} == {"i.db", "ours.db"}


def test_a_pattern_matches_what_a_slow_matcher_matches() -> None:
    pieces = random.Random(1)
    tokens = ["a", "b", "*", "*", "?", "/", "/", "**/", "/**", "[ab]", "[!a]", "."]
    tried = 0
    while tried < 3000:
        pattern = "".join(pieces.choice(tokens) for _ in range(pieces.randint(1, 9)))
        if broken(pattern):
            continue
        tried += 1
        path = "/".join("".join(pieces.choice("aab.") for _ in range(pieces.randint(1, 4))) for _ in range(pieces.randint(1, 4)))
        made = expression([pattern])
        assert made is not None
        assert bool(made.match(path)) == slowly(pattern.strip("/").split("/"), path.split("/")), (pattern, path)


def slowly(patterns: list[str], names: list[str]) -> bool:
    if not patterns:
        return not names
    if patterns == ["**"]:
        return bool(names)
    if patterns[0] == "**":
        return slowly(patterns[1:], names) or (bool(names) and slowly(patterns, names[1:]))
    return bool(names) and fnmatchcase(names[0], patterns[0]) and slowly(patterns[1:], names[1:])


def test_the_number_and_the_length_of_patterns_are_limited(workplace: Workplace) -> None:
    said = workplace.rules(f"[sources.a]\npath = 'data'\nexclude = ['{'a' * 1001}']\n").run("check").err
    assert "the pattern is longer than 1000 characters" in said
    assert "more than 100 patterns" in workplace.rules(f"[sources.a]\npath = 'data'\nexclude = {['a'] * 101}\n").run("check").err


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("with recursive r(x) as (select 1 union all select x + 1 from r) select SOPInstanceUID from images, r", "too many rows"),
        (
            "with recursive r(x) as (select 1 union all select x + 1 from r) select SOPInstanceUID, x from images, r order by -x",
            "temporary space|took too long",
        ),
    ],
)
def test_all_sets_of_a_plan_share_one_budget(workplace: Workplace, instance: Instance, query: str, said: str) -> None:
    instance("data/1.dcm")
    done = workplace.rules(RULES.replace('where = "1"', f'query = "{query}"')).run("plan")
    assert done.code == 2
    assert re.search(f"{said}|takes too much temporary space|took too long", done.err)


def test_load_accepts_another_index(workplace: Workplace) -> None:
    workplace.rules(RULES)
    assert Rules.load(workplace.folder / "rules.toml", Path("/elsewhere/i.db")).database == Path("/elsewhere/i.db")
