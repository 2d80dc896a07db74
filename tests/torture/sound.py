"""A collection to be copied, made anew for each thing that is done to it, and what must hold of it after anything."""

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from pyconquest_rules import app
from pyconquest_rules.engine.verified import Finding
from tests.conftest import Workplace


class Sound:
    """`original/` with rules and `data/`, below `tmp_path`, is copied to where commands are run."""

    def __init__(self, tmp_path: Path, number: int) -> None:
        self.folder, self.original, self.number = tmp_path / "now", tmp_path / "original", number
        self.workplace = Workplace(self.folder)

    def anew(self) -> None:
        """As if nothing had ever been done."""
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.copytree(self.original, self.folder)

    def placed(self) -> Iterator[Path]:
        """The files under their final names."""
        return (self.folder / "export").rglob("*.dcm")

    def assert_sound(self) -> set[str]:
        """What must hold after anything: sources as they were, whole files, true rows. Gives what the ledger has."""
        sources = Workplace(self.original).files("data")
        assert self.workplace.files("data") == sources
        placed = {str(file.relative_to(self.folder)): file.read_bytes() for file in self.placed()}
        assert all(data == sources[os.path.basename(name)] for name, data in placed.items())
        recorded = self.recorded()
        assert recorded <= placed.keys()
        return recorded

    def recorded(self) -> set[str]:
        """What the ledger says is done; one that was just being made has nothing in it. Both databases must be whole."""
        done = set[str]()
        for database in (self.folder / ".pyconquest-rules/state.db", self.folder / "conquest.db"):
            if not database.exists() or not database.stat().st_size:
                continue
            with closing(sqlite3.connect(database)) as connection:
                assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
                if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'done'").fetchall():
                    done |= {name for (name,) in connection.execute("SELECT target FROM done WHERE kind = 'file'")}
        return done

    def assert_complete(self) -> None:
        """Everything is done, recorded and proved, and nothing is left over or to be done.

        It is asked for thousands of times: not by commands, which would take most of their time to start.
        """
        assert len(self.assert_sound()) == self.number
        assert len(self.workplace.files("export")) == self.number
        rules = app.Rules.load(self.folder / "rules.toml")
        assert app.index(rules).counts["unchanged"] == self.number
        with app.opened(rules) as sets:
            assert sets.connection.execute("SELECT count(*) FROM images").fetchone() == (self.number,)
        assert [verified.finding for verified in app.verify(rules, deep=True)] == [Finding.OK] * self.number
        with app.plan(rules) as made:
            assert made.counts() == {"copy.export": {"unchanged": self.number, "todo": 0, "blocked": 0, "bytes": 0}}

    def assert_next_run_does_the_rest(self) -> None:
        """And just the rest: what has its final name is known as ours, whether it was recorded or not."""
        placed = sum(1 for _ in self.placed())
        done = self.workplace.run("apply", "--json")
        assert done.code == 0, done.out + done.err
        assert (done.summary["done"], done.summary["adopted"]) == (self.number - placed, 0)
        self.assert_complete()
