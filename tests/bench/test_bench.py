"""`python -m bench --quick` runs every row on tiny trees. Nothing here asserts a time."""

import subprocess
import sys
from pathlib import Path

from tests.conftest import REPOSITORY, needs

ROWS = (
    *("header ct", "header mr", "header ct, varied", "header mr, varied", "index, one process", "index, as called"),
    *("index, unchanged", "plan, 200 new", "plan, 400 new", "plan, 400 done", "plan, 800 new", "copy"),
    *(
        f"{what} {kind}{many}"
        for what, many in (("send", ", 4 associations"), ("receive", ", 4 senders"))
        for kind in ("ct", "mr")
    ),
    *("send ct", "send mr", "receive ct", "receive mr", "--version", "--help", "check"),
)
PEERS = (
    "pydicom, every value",
    "pydicom, no value",
    "GDCM Scanner",
    "pyconquest 0.1.12",
    "our header reader alone",
    "find -printf",
    "storescu",
    "storescp",
)


def bench(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "bench", *map(str, arguments)]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)


def test_the_table_has_every_row(tmp_path: Path) -> None:
    needs("bench/fill_index.py", (REPOSITORY / "bench" / "fill_index.py").exists())
    # The environment of the tests has pydicom, and not the other peers, whose rows say so.
    done = bench("--quick", "--folder", tmp_path, "--peers", sys.executable, "--page", tmp_path / "page.md")
    page = (tmp_path / "page.md").read_text(encoding="utf-8")
    for row in ROWS:
        assert f"\n{row} " in done.stdout
        assert f"\n| {row} |" in page
    for peer in PEERS:
        assert f" {peer} " in done.stdout
    assert "failed" not in done.stdout
    assert "pyconquest is missing" in done.stdout
    assert done.returncode == 0, done.stderr


def test_rows_are_chosen_by_name(tmp_path: Path) -> None:
    done = bench("start", "--quick", "--folder", tmp_path)
    assert [line.split()[0] for line in done.stdout.splitlines()[2:]] == ["--version", "--help", "check"]
    assert done.returncode == 0


def test_an_unknown_row_is_a_usage_error(tmp_path: Path) -> None:
    done = bench("heder", "--folder", tmp_path)
    assert done.returncode == 2
    assert "no such row: heder; rows are header, index" in done.stderr
