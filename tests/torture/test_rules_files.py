"""Rules files and CSV files of strangers: `check` and `index` say within seconds what is wrong, in a few lines."""

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.torture.attacks import ATTACKS, CSV
from tests.torture.limited import CPU_SECONDS, MEGABYTES, Came, attacks

Attack = Callable[[str, str], Came]

SOURCE = '[sources.a]\npath = "data"\n'


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for rules, with a FIFO in it and a canary beside it."""
    (folder := tmp_path_factory.mktemp("rules") / "here").mkdir()
    (folder / "data").mkdir()
    (folder.parent / "canary").write_text("password=canary-of-the-disk")
    os.mkfifo(folder / "fifo")
    return folder


@pytest.fixture(scope="module")
def attack(folder: Path) -> Iterator[Attack]:
    with attacks(folder, 1) as attack:
        yield attack


def assert_told(came: Came, said: str | None) -> None:
    assert came.how == ("done" if said is None else "mistake"), came
    assert re.search(said or "", came.what), came
    assert "canary-of-" not in came.what
    assert came.cpu <= CPU_SECONDS, came
    assert came.megabytes <= MEGABYTES, came


@pytest.mark.parametrize("name", ATTACKS)
def test_a_rules_file(attack: Attack, folder: Path, name: str) -> None:
    text, said = ATTACKS[name]
    assert_told(attack("check", text), said)
    assert {path.name for path in folder.iterdir()} <= {"attack.toml", "data", "fifo", "attack.csv", "conquest.db"}


@pytest.mark.parametrize("name", CSV)
def test_a_csv_file(attack: Attack, folder: Path, name: str) -> None:
    data, said = CSV[name]
    (folder / "attack.csv").write_bytes(data)
    types = "types = { n = 'integer' }\n" if b",n" in data else ""
    assert_told(attack("index", f'{SOURCE}[tables.a]\ncsv = "attack.csv"\n{types}'), said)


def test_a_csv_file_of_a_gigabyte_without_line_end(attack: Attack, folder: Path) -> None:
    (folder / "attack.csv").write_bytes(b"PatientID\n")
    os.truncate(folder / "attack.csv", 1 << 30)
    assert_told(attack("index", f'{SOURCE}[tables.a]\ncsv = "attack.csv"\n'), "a record is longer than 262144")
