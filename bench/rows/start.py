"""Start the program for commands without data, compared with a Python that does nothing, by wall time."""

import sys
from collections.abc import Iterator

from bench import ours
from bench.contest import By, Contest, Line, Side, Within
from bench.measure import measured
from bench.workplace import REPOSITORY, Workplace

BARE = "python -c pass"
COMMANDS = {
    "--version": (["--version"], (Within(0.150),)),
    "--help": (["--help"], ()),
    "check": (["-f", str(REPOSITORY / "examples" / "quickstart" / "rules.toml"), "check"], (Within(0.500),)),
}


def contests(place: Workplace) -> Iterator[Contest]:
    """Yield the contest. `check` reads the rules of examples/quickstart."""

    def side(*command: str) -> Side:
        return Side(lambda: measured(command, cwd=place.folder))

    sides = {name: side(str(ours.PROGRAM), *arguments) for name, (arguments, _) in COMMANDS.items()}
    sides[BARE] = side(sys.executable, "-c", "pass")
    yield Contest(sides, [Line(name, name, BARE, By.WALL, targets, longer=True) for name, (_, targets) in COMMANDS.items()])
