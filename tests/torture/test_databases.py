"""Damaged and forged databases that come with rules: each command ends soon, says what it met, and writes nothing elsewhere."""

import random
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import pytest

from pyconquest_rules.index.store.databases import JOURNAL_MAGIC
from tests.conftest import Instance, Workplace
from tests.torture.conftest import Some

RULES = """
outputs = ["export"]
[sources.archive]
path = "data"
[select.all]
level = "image"
where = "1"
[copy.export]
select = "all"
to = "export/{{ SOPInstanceUID }}.dcm"
prune = true
"""
DATABASES = ("conquest.db", ".pyconquest-rules/state.db")
COMMANDS = (["apply", "--no-index"], ["apply", "--allow-prune"], ["verify", "--repair"], ["query", "SELECT count(*) FROM images"])
KINDS = ("trigger", "view", "table", "index")


def flipped(file: Path, dice: random.Random) -> None:
    """Some bytes are others, most of them where the schema is."""
    data = bytearray(file.read_bytes())
    for _ in range(dice.choice((1, 8, 64))):
        data[dice.randrange(dice.choice((100, 4096, len(data))))] = dice.randrange(256)
    file.write_bytes(data)


def cut(file: Path, dice: random.Random) -> None:
    data = file.read_bytes()
    file.write_bytes(data[: dice.randrange(len(data))])


def forged(file: Path, dice: random.Random) -> None:
    """The schema says something else than SQLite wrote: objects of other kinds, names, roots and texts."""
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master")]
        for _ in range(dice.choice((1, 3))):
            one, other = dice.choice(names), dice.choice(names)
            change = dice.choice(
                (
                    f"SET type = '{dice.choice(KINDS)}'",
                    f"SET name = '{other}'",
                    f"SET tbl_name = '{other}'",
                    f"SET rootpage = {dice.randrange(40)}",
                    f"SET sql = (SELECT sql FROM sqlite_master WHERE name = '{other}')",
                    f"SET sql = substr(sql, 1, {dice.randrange(90)})",
                    "SET sql = replace(sql, 'TEXT', 'TEXT CHECK (hex(randomblob(9)) > 0)')",
                    "SET sql = replace(sql, ')', ', x AS (abs(-9223372036854775808)))')",
                    "SET sql = 'CREATE TRIGGER ' || name || ' AFTER INSERT ON ' || tbl_name || ' BEGIN DELETE FROM run; END'",
                    "SET sql = x'00ff'",
                    "SET sql = NULL",
                )
            )
            with suppress(sqlite3.Error):
                connection.execute(f"UPDATE sqlite_master {change} WHERE name = ?", (one,))


def told(file: Path, dice: random.Random) -> None:
    """Rows say anything, of any type."""
    values = (None, -1, 2**63 - 1, 1.5, b"\xff\0", "", "..", "/etc/passwd", "../victim", "x" * 9000, "\x1b[2J", "a\nb", "[" * 99)
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for _ in range(dice.choice((1, 5))):
            table = dice.choice([name for name in tables if not name.startswith("sqlite_")])
            column = dice.choice([name for _, name, *_ in connection.execute(f"PRAGMA table_info({table})")])
            with suppress(sqlite3.Error):
                connection.execute(f'UPDATE {table} SET "{column}" = ?', (dice.choice(values),))


def besides(file: Path, dice: random.Random) -> None:
    """There is a journal or a log that nobody of ours left."""
    magic = dice.choice((JOURNAL_MAGIC, b"\x37\x7f\x06\x82", b"\x37\x7f\x06\x83"))
    beside = file.with_name(file.name + dice.choice(("-journal", "-wal", "-shm")))
    beside.write_bytes(magic + dice.randbytes(dice.choice((8, 512, 9000))) + dice.choice((b"", JOURNAL_MAGIC)))


Damage = Callable[[Path, random.Random], None]
DAMAGES = (flipped, cut, forged, told, besides)


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", DATABASES)
def test_a_database_of_a_stranger_harms_nothing(
    workplace: Workplace, instance: Instance, tmp_path_factory: pytest.TempPathFactory, some: Some[int], name: str, damage: Damage
) -> None:
    instance("data/1.dcm")
    instance("data/2.dcm")
    (workplace.folder / "victim").write_text("precious")
    assert workplace.rules(RULES).run("apply").code == 0
    for path in workplace.folder.rglob("*.db-*"):
        path.unlink()
    for number in some(range(15), 2):
        place = Workplace(tmp_path_factory.mktemp("sent") / "rules")
        shutil.copytree(workplace.folder, place.folder)
        damage(place.folder / name, random.Random(f"{name} {number}"))
        _harms_nothing(place, f"{name} {number}")


def _harms_nothing(place: Workplace, which: str) -> None:
    before = {name: data for name, data in place.files().items() if not name.startswith("export/")}
    for command in COMMANDS:
        done = place.run(*command)
        assert done.code in (0, 1, 2), (which, command, done.err)
        assert "of the program itself" not in done.err, (which, command, done.err)
        assert "\x1b" not in done.err
    assert {name: data for name, data in place.files().items() if not name.startswith("export/")} == before, which
    assert {*place.files("export").values()} <= {*place.files("data").values()}, which
    for database in DATABASES:  # the way out: the index is a cache, and of the state there is no other way
        for path in (place.folder / database).parent.glob(f"{Path(database).name}*"):
            path.unlink()
    shutil.rmtree(place.folder / "export", ignore_errors=True)
    assert place.run("apply").code == 0, which
