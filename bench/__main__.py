"""The command line: `python -m bench [ROW...]`."""

import argparse
import compileall
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from bench import contest
from bench.contest import Compared, Contest
from bench.measure import Failed
from bench.page import page
from bench.rows import copy, header, index, plan, receive, send, start
from bench.table import as_text, cells
from bench.workplace import QUICK, REPOSITORY, Sizes, Workplace, python

HERE = REPOSITORY / "build" / "bench"

ROWS: Mapping[str, Callable[[Workplace], Iterator[Contest]]] = {
    "header": header.contests,
    "index": index.whole,
    "unchanged": index.unchanged,
    "plan": plan.contests,
    "copy": copy.contests,
    "send": send.contests,
    "receive": receive.contests,
    "start": start.contests,
}


def main() -> int:
    """Measure, print the table, and return the exit code: 1 if a run failed."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure the program and its peers side by side.")
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"{', '.join(ROWS)}. Default: all.")
    parser.add_argument("--quick", action="store_true", help="use tiny trees and run once, to test the bench itself")
    parser.add_argument("--folder", type=Path, default=HERE, help="the folder to work in (build/bench)")
    parser.add_argument("--peers", type=Path, default=HERE / "venv" / "bin" / "python", help="a Python with the peers installed")
    parser.add_argument("--page", type=Path, help="also write the page with the table to this file")
    asked = parser.parse_args()
    if unknown := set(asked.rows) - ROWS.keys():
        parser.error(f"no such row: {', '.join(sorted(unknown))}; rows are {', '.join(ROWS)}")
    place = Workplace(asked.folder.resolve(), asked.peers.absolute(), QUICK if asked.quick else Sizes())
    place.folder.mkdir(parents=True, exist_ok=True)
    compileall.compile_dir(REPOSITORY / "pyconquest_rules", quiet=1)
    try:
        lines = list(measure(place, asked.rows or list(ROWS), once=asked.quick))
    except Failed as failed:
        print(failed, file=sys.stderr)
        return 1
    print(as_text(lines), end="")
    if asked.page:
        left_out = [row for row in ROWS if asked.rows and row not in asked.rows]
        elements = len(json.loads(python("-m", "bench.readers", "wanted")))
        asked.page.write_text(page(place, lines, contest.RUNS, elements, left_out), encoding="utf-8")
    return int(any(side.why.startswith("failed") for line in lines for side in (line.ours, line.peer) if side))


def measure(place: Workplace, rows: list[str], *, once: bool) -> Iterator[Compared]:
    """Yield the lines of the rows, one contest after another. Each line is also printed at once, because a run takes long."""
    for row in rows:
        print(f"{row} …", file=sys.stderr, flush=True)
        for each in ROWS[row](place):
            for line in contest.run(each, once=once):
                print("  ".join(cells(line)), file=sys.stderr, flush=True)
                yield line


if __name__ == "__main__":
    sys.exit(main())
