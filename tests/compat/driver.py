"""Run every script with one class, each in a new folder: `python driver.py MODULE EXAMPLES FOLDER`. Standard library only.

Writes FOLDER/results.json: what each gave back, what it printed, and the signatures of the class.
"""

import importlib
import inspect
import json
import os
import shutil
import sqlite3
import sys
import traceback
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any


def signatures(class_: type) -> dict[str, str]:
    """Return the public methods with their parameters and defaults, without annotations."""
    members = inspect.getmembers(class_, inspect.isfunction)
    return {name: signature(member) for name, member in members if not name.startswith("_") or name == "__init__"}


def signature(function: Any) -> str:
    parameters = [parameter.replace(annotation=parameter.empty) for parameter in inspect.signature(function).parameters.values()]
    return str(inspect.Signature(parameters))


def hurried(connect: Any) -> Any:
    """Call `sqlite3.connect` with syncs off, because pyconquest commits every row."""

    def connected(*arguments: Any, **keywords: Any) -> Any:
        connection = connect(*arguments, **keywords)
        connection.execute("PRAGMA synchronous = OFF")
        return connection

    return connected


def main(module: str, examples: Path, folder: Path) -> None:
    sqlite3.connect = hurried(sqlite3.connect)
    sys.path.insert(0, str(Path(__file__).parent))
    scripts = importlib.import_module("scripts").SCRIPTS
    class_ = importlib.import_module(module).pyconquest
    results: dict[str, Any] = {}
    for name, script in scripts.items():
        place = folder / name
        shutil.copytree(examples / "quickstart" / "data", place / "data")
        shutil.copy(examples.parent / "dicom.sql", place / "layout.sql")
        os.chdir(place)
        printed = StringIO()
        with redirect_stdout(printed):
            try:
                given = script(class_)
            except BaseException:  # noqa: BLE001 - pyconquest may even exit; the test tells
                given = traceback.format_exc()
        results[name] = {"given": given, "printed": printed.getvalue()}
    results["signatures"] = signatures(class_)
    (folder / "results.json").write_text(json.dumps(results), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
