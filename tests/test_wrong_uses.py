"""Wrong uses of the command line: a command, the folder in which it runs, and the message."""

import os
import shutil
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import Instance, Workplace

Prepare = Callable[[Path], object]

RULES = """
[sources.archive]
path = "data"

[select.scans]
level = "series"
where = "Modality = 'CT'"

[copy.export]
select = "scans"
to = "export/{{ SOPInstanceUID }}.dcm"
"""

SEVEN = b"7z\xbc\xaf\x27\x1c"  # how a 7z archive begins
ONE, COPY = "1.2.826.0.1.3680043.10.1.1", "export/1.2.826.0.1.3680043.10.1.1.dcm"


@dataclass(frozen=True)
class Wrong:
    """A command in a folder with one indexed CT file and these rules, and its result. FOLDER stands for the folder."""

    command: str
    code: int
    message: str
    rules: str = RULES
    prepare: Prepare = lambda folder: None


def source(path: str, **keys: str) -> str:
    """Return rules with one source."""
    more = "".join(f"{key} = {value}\n" for key, value in keys.items())
    return f'[sources.archive]\npath = "{path}"\n{more}'


def excluding(pattern: str) -> str:
    return source("data", exclude=f"['{pattern}']")


def index_at(path: str) -> str:
    return f'[index]\ndatabase = "{path}"\n{RULES}'


def table(csv: str = "cohort.csv", **keys: str) -> str:
    more = "".join(f"{key} = {value}\n" for key, value in keys.items())
    return f'[tables.cohort]\ncsv = "{csv}"\n{more}{RULES}'


def put(path: str, text: str | bytes = "mine\n") -> Prepare:
    def write(folder: Path) -> None:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(text.encode() if isinstance(text, str) else text)

    return write


def archive(path: str) -> Prepare:
    def pack(folder: Path) -> None:
        name, _, form = path.partition(".")
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.make_archive(str(folder / name), {"tgz": "gztar"}.get(form, form), folder / "data")
        if form == "tgz":
            (folder / f"{name}.tar.gz").rename(folder / path)

    return pack


def anew(folder: Path) -> None:
    (folder / "conquest.db").unlink()


def both(one: Prepare, other: Prepare) -> Prepare:
    return lambda folder: (one(folder), other(folder))


def dicomdir(folder: Path) -> None:
    (folder / "cd").mkdir()
    (folder / "cd/DICOMDIR").write_bytes(bytes(128) + b"DICM" + b"\2\0\2\0UI\x16\0001.2.840.10008.1.3.10\0\0")


def column(place: str, line: str, caret: str, message: str, hint: str) -> str:
    """Return an error of the rules file as it is printed. `caret` is the part of `line` that is marked."""
    number, start = int(place.split(":")[1]), line.index(caret) + 1
    return f"{place}:{start}: {message}\n{number:>5} | {line}\n      | {' ' * (start - 1)}{'^' * len(caret)}\n      = {hint}"


def broken(pattern: str, message: str, hint: str) -> Wrong:
    line = f"exclude = ['{pattern}']"
    return Wrong("check", 2, column("rules.toml:4", line, f"'{pattern}'", message, hint), excluding(pattern))


def odd_table(line: str, message: str, **keys: str) -> Wrong:
    shown = column("rules.toml:3", 'csv = "cohort.csv"', '"cohort.csv"', f'table "cohort": cohort.csv:1: {message}', "x")
    return Wrong("check", 2, shown.removesuffix("\n      = x"), table(**keys), put("cohort.csv", line))


NOT_OURS = "this program did not write the existing file; name another file, or use --force to replace the existing one"
CLOSED = 'close it with "]"; to match "[" itself, write "[[]"'
WHOLE = 'write "**/*.txt" for all folders, or "*" within a name'
FROM_SOURCE = 'patterns begin at the folder of the source: "scratch/**"'

WRONG = {
    # sources that are not folders
    "a zip": Wrong(
        "index",
        1,
        'error: source "archive": FOLDER/scans.zip is an archive, not a folder; name the folder that contains it: FOLDER',
        source("scans.zip"),
        archive("scans.zip"),
    ),
    "an archive without its suffix": Wrong(
        "index",
        1,
        'error: source "archive": FOLDER/scans is an archive; unpack it, and name the folder',
        source("scans"),
        put("scans", b"PK\3\4 and more"),
    ),
    "a tar, whatever may vanish": Wrong(
        "index --allow-vanish",
        1,
        'error: source "archive": FOLDER/scans.tgz is an archive, not a folder; name the folder that contains it: FOLDER',
        source("scans.tgz"),
        archive("scans.tgz"),
    ),
    "a DICOMDIR": Wrong(
        "index",
        1,
        'error: source "archive": FOLDER/cd/DICOMDIR is a DICOMDIR, not a folder; name the folder that contains it: FOLDER/cd',
        source("cd/DICOMDIR"),
        dicomdir,
    ),
    "a DICOM file": Wrong(
        "index",
        1,
        'error: source "archive": FOLDER/data/1.dcm is a file, not a folder; name the folder that contains it: FOLDER/data',
        source("data/1.dcm"),
    ),
    "a folder in a zip": Wrong(
        "index",
        1,
        'error: source "archive": FOLDER/scans.zip is an archive, not a folder; name the folder that contains it: FOLDER',
        source("scans.zip/P1"),
        archive("scans.zip"),
    ),
    "a pipe": Wrong(
        "index",
        1,
        'error: source "archive": FOLDER/pipe is not a folder, but a pipe, a socket or a device; name a folder',
        source("pipe"),
        lambda folder: os.mkfifo(folder / "pipe"),
    ),
    "a folder that is not there": Wrong(
        "plan",
        1,
        'error: source "scans": there is no folder FOLDER/my scans; '
        "correct its path, or make it with: mkdir -p 'FOLDER/my scans'",
        '[sources.scans]\npath = "my scans"\n',
    ),
    "a disk that is not there any more": Wrong(
        "plan",
        1,
        'error: source "archive": there is no folder FOLDER/data; '
        "mount it, correct its path, or use --allow-vanish if it is gone for good",
        prepare=lambda folder: (folder / "data").rename(folder / "elsewhere"),
    ),
    # folders without files that can be read
    "a folder of a zip": Wrong(
        "index",
        0,
        'warning: source "zips" has no DICOM file, but 1 archive, which is not read: unpack what you need\n'
        "index: seen 1, read 1, rejected 1\n  1 not indexed: not-dicom\n  which files: index --report FILE",
        '[sources.zips]\npath = "zips"\n',
        both(put("zips/a.7z", SEVEN), anew),
    ),
    "a folder of several archives": Wrong(
        "index",
        0,
        'warning: source "zips" has no DICOM file, but 2 archives, which are not read: unpack what you need\n'
        "index: seen 2, read 2, rejected 2\n  2 not indexed: not-dicom\n  which files: index --report FILE",
        '[sources.zips]\npath = "zips"\n',
        both(put("zips/a.7z", SEVEN), both(put("zips/b.rar", b"Rar!"), anew)),
    ),
    "archives beside DICOM files": Wrong(
        "index",
        0,
        'warning: source "archive" has 1 archive, which is not read: unpack what you need\n'
        "index: seen 2, read 1, unchanged 1, rejected 1\n  1 not indexed: not-dicom\n  which files: index --report FILE",
        prepare=put("data/more.7z", SEVEN),
    ),
    # sources that overlap
    "one folder twice": Wrong(
        "index",
        0,
        'warning: source "again" is the same folder as source "archive": files in both count once, as those of "archive"\n'
        "index: seen 1, read 0, unchanged 1",
        RULES + '[sources.again]\npath = "export/../data"\n',
    ),
    "one source inside another": Wrong(
        "index",
        0,
        'warning: source "inner" lies inside source "archive": files in both count once, as those of "archive"\n'
        "index: seen 2, read 1, unchanged 1, duplicate 1",
        RULES + '[sources.inner]\npath = "data/in"\n',
        lambda folder: put("data/in/2.dcm", (folder / "data/1.dcm").read_bytes())(folder),
    ),
    # databases
    "a database in a folder that is not there": Wrong(
        "index",
        1,
        "error: cannot open the index FOLDER/var/c.db: there is no folder FOLDER/var; make it with: mkdir -p FOLDER/var",
        index_at("var/c.db"),
    ),
    "a database below a file": Wrong(
        "index",
        1,
        "error: cannot open the index FOLDER/x/c.db: FOLDER/x is not a folder; name a file in a folder as [index] database",
        index_at("x/c.db"),
        put("x"),
    ),
    "a database that is a folder": Wrong(
        "summary",
        1,
        "error: cannot open the index FOLDER/data: it is a folder; name a file as [index] database",
        index_at("data"),
    ),
    "a database that is a pipe": Wrong(
        "index",
        1,
        "error: cannot open the index FOLDER/pipe: it is not a regular file; name another file as [index] database",
        index_at("pipe"),
        lambda folder: os.mkfifo(folder / "pipe"),
    ),
    # CSV files
    "semicolons": odd_table("a;b;c\n1;2;3\n", 'the first line has semicolons between names; add delimiter = ";" to the table'),
    "tabs": odd_table("a\tb\n", 'the first line has tabs between names; add delimiter = "\\t" to the table'),
    "bars and a key": odd_table("a|b\n", 'the first line has bars between names; add delimiter = "|" to the table', key='["a"]'),
    "commas after all": odd_table(
        "a,b\n", 'the first line has commas between names; add delimiter = "," to the table', delimiter='";"'
    ),
    "a workbook": odd_table("PK\3\4\n", "it is a workbook, not a CSV file; save it as CSV UTF-8"),
    # patterns
    "a bracket": broken("[abc", 'a "[" is never closed', CLOSED),
    "an empty bracket": broken("scan[]", 'a "[" is never closed', CLOSED),
    "a slash in brackets": broken("a[b/c]d", 'a "/" is not allowed in brackets', "brackets match one letter of a name"),
    "a range": broken("[z-a]*", 'the range "z-a" has no letters', 'write it as "a-z"'),
    "stars in a name": broken("a**b", '"**" must be the whole name of a folder', WHOLE),
    "stars and a suffix": broken("**.txt", '"**" must be the whole name of a folder', WHOLE),
    "three stars": broken("x/***", '"**" must be the whole name of a folder', WHOLE),
    "no pattern": broken("/", "the pattern is empty", 'write "**" to leave out everything'),
    "a dot": broken("./scratch/**", 'no path has a folder "", "." or ".."', FROM_SOURCE),
    "two slashes": broken("a//b", 'no path has a folder "", "." or ".."', FROM_SOURCE),
    "braces": broken("*.{txt,csv}", "braces have no meaning in a pattern", 'write one pattern for each: ["*.txt", "*.csv"]'),
    # names
    "a mistyped set": Wrong("query scanz", 2, 'error: unknown set, table or view "scanz"; did you mean "scans"?'),
    "a mistyped view": Wrong("query Imagse", 2, 'error: unknown set, table or view "Imagse"; did you mean "images"?'),
    "a mistyped set to export": Wrong(
        "export scnas -o x.csv", 2, 'error: unknown set, table or view "scnas"; did you mean "scans"?'
    ),
    "no set": Wrong(
        "query qqq",
        2,
        'error: unknown set, table or view "qqq"; sets are: scans; views are: patients, studies, series, images',
    ),
    "a mistyped action": Wrong("plan copy.exprot", 2, 'error: unknown target "copy.exprot"; did you mean "copy.export"?'),
    # files to write
    "a folder that is not there to write to": Wrong(
        "export images -o nodir/x.csv",
        2,
        "error: cannot write nodir/x.csv: there is no folder nodir; create it with: mkdir -p nodir",
    ),
    "a folder to write to": Wrong(
        "export images -o export --format csv",
        2,
        "error: cannot write export: it is a folder; name a file in it, such as export/FILE",
        prepare=lambda folder: (folder / "export").mkdir(),
    ),
    "below a file": Wrong(
        "index --report mine/x", 2, "error: cannot write mine/x: mine is not a folder; name a file elsewhere", prepare=put("mine")
    ),
    "somebody's file": Wrong("plan -o notes", 2, f"error: cannot write notes: {NOT_OURS}", prepare=put("notes")),
    "a plan to a pipe": Wrong(
        "plan -o /dev/stdout", 2, "error: cannot write /dev/stdout: it is not a regular file; name another file"
    ),
    "events and rows": Wrong(
        "export images -o - --format csv --json",
        2,
        '{"event": "error", "message": "with --json, standard output is for events; name a file", "exit_code": 2}',
    ),
    "no plan": Wrong(
        "apply --plan rules.toml",
        2,
        "error: rules.toml is not a plan of this version; name a file that was saved with: plan -o FILE",
    ),
    "a plan that is not there": Wrong("apply --plan p", 2, "error: there is no file p; save a plan first, with: plan -o FILE"),
    # the command line
    "nothing of history": Wrong(
        "history -n -3",
        2,
        "error: Invalid value for '-n': Input should be greater than or equal to 1\n"
        "  = pyconquest-rules --help shows the commands",
    ),
    "rules without -f": Wrong(
        "check rules.toml",
        2,
        "error: Got unexpected extra argument(s) (rules.toml)\n"
        "  = name the rules file with -f: pyconquest-rules -f rules.toml COMMAND",
    ),
    "rules that are not there": Wrong(
        "plan -f other.toml", 2, "error: cannot read the rules file other.toml: No such file or directory"
    ),
    "init again": Wrong("init", 2, "error: rules.toml already exists; nothing was changed"),
    "init in a source": Wrong(
        "init data/new",
        2,
        'error: cannot write data/new/rules.toml: it is inside the source "archive", which is only read; name a file elsewhere',
    ),
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_the_message_of_a_wrong_use(wrong: Wrong, workplace: Workplace, instance: Instance) -> None:
    instance("data/1.dcm")
    assert workplace.rules(RULES).run("index").code == 0
    (workplace.folder / "rules.toml").unlink()
    wrong.prepare(workplace.folder)
    workplace.rules(wrong.rules)
    before = workplace.files()
    done = workplace.run(*wrong.command.split())
    said = (done.out if "--json" in wrong.command else done.err).replace(str(workplace.folder), "FOLDER")
    assert (said.splitlines()[0] if "--json" in wrong.command else said.rstrip("\n"), done.code) == (wrong.message, wrong.code)
    assert workplace.files() == before


def test_the_first_commands_of_a_user_work(workplace: Workplace, instance: Instance) -> None:
    made = workplace.run("init")
    assert made.out == "wrote rules.toml; next:\n  mkdir data   # and put DICOM files there\n  pyconquest-rules plan\n"
    (workplace.folder / "data").mkdir()
    assert workplace.run("plan").code == 0
    instance("data/1.dcm")
    assert "mkdir" not in workplace.run("init", "other").out.replace("mkdir other/data", "")
    assert workplace.run("plan", "--detailed-exitcode").code == 3


def test_init_elsewhere_prints_commands_that_work_from_here(workplace: Workplace) -> None:
    assert workplace.run("init", "my rules").out.splitlines()[1:] == [
        "  mkdir 'my rules/data'   # and put DICOM files there",
        "  pyconquest-rules -f 'my rules/rules.toml' plan",
    ]
    (workplace.folder / "x/data").mkdir(parents=True)
    assert workplace.run("init", "x").out == "wrote x/rules.toml; next:\n  pyconquest-rules -f x/rules.toml plan\n"


OTHER = RULES.replace("archive", "other")


@pytest.mark.parametrize(
    "arguments",
    [
        "-f other.toml --json plan",
        "plan -f other.toml --json",
        "--json plan --file other.toml",
        "-f other.toml plan --json",
        "-f rules.toml plan -f other.toml --json",
    ],
)
def test_options_work_before_and_after_the_command(arguments: str, workplace: Workplace, instance: Instance) -> None:
    instance("data/1.dcm")
    workplace.rules("not TOML")
    (workplace.folder / "other.toml").write_text(f"rules_version = 1\n{OTHER}")
    done = workplace.run(*arguments.split())
    assert (done.code, done.summary["todo"]) == (0, 1)


@pytest.mark.parametrize("command", ["check", "index", "plan", "status", "history", "verify", "summary", "schema"])
def test_json_before_every_command(command: str, workplace: Workplace, instance: Instance) -> None:
    instance("data/1.dcm")
    workplace.rules(RULES).run("index")
    assert workplace.run("--json", command).lines == workplace.run(command, "--json").lines


@pytest.mark.parametrize("arguments", ["--json planx", "plan --json --nope", "--json -f nowhere plan", "--json query"])
def test_an_error_is_an_event_with_json_before_or_after_the_command(arguments: str, workplace: Workplace) -> None:
    done = workplace.run(*arguments.split())
    assert (done.code, done.summary["event"], done.summary["exit_code"]) == (2, "error", 2)


def test_the_help_is_shown_without_a_command(workplace: Workplace) -> None:
    done = workplace.run()
    assert (done.code, done.err[:7]) == (2, "Usage: ")
    assert "\n  plan " in done.err
    assert "error:" not in done.err


def by_source(workplace: Workplace) -> dict[str, list[str]]:
    with sqlite3.connect(workplace.folder / "conquest.db") as connection:
        rows = connection.execute("SELECT name, f.path FROM rules_files AS f JOIN rules_sources USING (device) ORDER BY 1, 2")
        found: dict[str, list[str]] = {}
        for name, path in rows.fetchall():
            found.setdefault(name, []).append(path)
    return found


def sources(**sources: str) -> str:
    return "".join(f"[sources.{name}]\n{keys}\n" for name, keys in sources.items())


@pytest.mark.parametrize(
    ("rules", "expected", "warned"),
    [
        (sources(a='path = "d"', b='path = "d"'), {"a": ["1", "x/2", "x/y/3.t"]}, 1),
        (sources(a='path = "d"', b='path = "d/x"'), {"a": ["1", "x/2", "x/y/3.t"]}, 1),
        (sources(b='path = "d/x"', a='path = "d"'), {"b": ["2", "y/3.t"], "a": ["1"]}, 1),
        (sources(a='path = "d"\nexclude = ["**/*.t"]', b='path = "d/x"'), {"a": ["1", "x/2"], "b": ["y/3.t"]}, 1),
        (sources(a='path = "d"\nexclude = ["x/y"]', b='path = "d/x"'), {"a": ["1", "x/2"], "b": ["y/3.t"]}, 1),
        (sources(b='path = "d/x"\nexclude = ["y"]', a='path = "d"'), {"b": ["2"], "a": ["1", "x/y/3.t"]}, 1),
        (sources(c='path = "d/x/y"', b='path = "d/x"', a='path = "d"'), {"c": ["3.t"], "b": ["2"], "a": ["1"]}, 3),
        (sources(a='path = "d"\nexclude = ["x"]', b='path = "d/x"'), {"a": ["1"], "b": ["2", "y/3.t"]}, 0),
        (sources(a='path = "d"\nexclude = ["x/**"]', b='path = "d/x"'), {"a": ["1"], "b": ["2", "y/3.t"]}, 0),
        (sources(b='path = "d/x"', a='path = "d"\nexclude = ["**/x/**"]'), {"b": ["2", "y/3.t"], "a": ["1"]}, 0),
        (sources(b='path = "link"', a='path = "d"'), {"b": ["2", "y/3.t"], "a": ["1"]}, 1),
        (sources(a='path = "d/x/y"', b='path = "d/x2"'), {"a": ["3.t"]}, 0),
    ],
)
def test_a_file_counts_once_for_the_first_source_that_has_it(
    rules: str, expected: dict[str, list[str]], warned: int, workplace: Workplace, instance: Instance
) -> None:
    number = len([*map(instance, ("d/1", "d/x/2", "d/x/y/3.t"))])
    (workplace.folder / "d/x2").mkdir()
    (workplace.folder / "link").symlink_to("d/x")
    done = workplace.rules(rules).run("index", "--report", "report.jsonl")
    assert (done.code, done.err.count("warning: ")) == (0, warned)
    assert {name: paths for name, paths in by_source(workplace).items() if paths} == expected
    read = sum(map(len, expected.values()))
    assert number >= read
    assert f"read {read}, indexed {read}" in done.err
    told = (workplace.folder / "report.jsonl").read_text().splitlines()
    assert len(told) == len({*told})
    # A run without changes gives the same result, and so does an index that was built with other rules first.
    assert f"read 0, unchanged {read}" in workplace.run("index").err
    (workplace.folder / "conquest.db").unlink()
    grown = "".join(f"[sources.{part}" for part in reversed(rules.split("[sources.")[1:]))
    assert workplace.rules(grown).run("index").code == 0
    assert workplace.rules(rules).run("index").code == 0
    assert {name: paths for name, paths in by_source(workplace).items() if paths} == expected


def test_a_folder_of_archives_is_named_by_every_run(workplace: Workplace, instance: Instance) -> None:
    instance("data/1.dcm")
    put("zips/a.7z", SEVEN)(workplace.folder)
    workplace.rules('[sources.zips]\npath = "zips"\n').run("index")
    again = workplace.run("index", "--json")
    assert again.lines[0] == {
        "event": "warning",
        "source": "zips",
        "message": "has no DICOM file, but 1 archive, which is not read: unpack what you need",
    }
