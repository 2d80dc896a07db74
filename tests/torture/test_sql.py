"""SQL of strangers reads the index, and nothing else: attacks by name, and a thousand that a grammar makes."""

import hashlib
import json
import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar

import pytest

from tests.conftest import Workplace, save
from tests.torture.conftest import Some
from tests.torture.limited import CPU_SECONDS, MEGABYTES, Came, attacks

Attack = Callable[[str, str], Came]

ENDLESS = "with recursive r(x) as (select 1 union all select x + 1 from r) "
DOUBLES = ", ".join(["a0 as (select 1 as x)", *(f"a{n + 1} as (select 1 as x from a{n}, a{n})" for n in range(40))])
LONG = (
    "(select group_concat(x) from (with recursive r(x) as (select 1 union all select x + 1 from r limit 40000) select x from r))"
)
READS, MEMORY, TIME, TEXT = "only reads", "too much memory", "took too long", "a text is too long"

# What it is, how it gets in, what is said of it; None where it does no harm.
ATTACKS: dict[str, tuple[str, str, str | None]] = {
    # It writes.
    "a second statement": ("query", "select 1; drop table DICOMImages", READS),
    "a statement after a comment": ("query", "select 1 /* ; */ ; delete from DICOMImages --", READS),
    "drop": ("query", "drop table DICOMImages", READS),
    "delete after with": ("query", "with a as (select 1) delete from DICOMImages", READS),
    "insert after with": ("query", "with a as (select 1) insert into DICOMImages select * from a", READS),
    "update that returns": ("query", "update DICOMImages set Modality = 'X' returning 1", READS),
    "a table of the schema": ("query", "with a as (select 1) update sqlite_master set sql = ''", "not be modified|only reads"),
    "create": ("query", "create temp table a as select 1", READS),
    "a trigger": ("query", "create trigger a after insert on DICOMImages begin select 1; end", READS),
    "a transaction": ("query", "begin exclusive", READS),
    "explain": ("query", "explain delete from DICOMImages", READS),
    # It leaves the index.
    "attach": ("query", "attach 'other.db' as other", READS),
    "attach after a comment": ("query", "/* select */ attach 'other.db' as other", READS),
    "vacuum into": ("query", "vacuum into 'stolen.db'", READS),
    "vacuum in a with": ("query", "with a as (select 1) vacuum into 'stolen.db'", "syntax error"),
    "a file": ("query", "select readfile('canary')", 'unknown function "readfile"'),
    "a file to write": ("query", "select writefile('stolen', 'x')", 'unknown function "writefile"'),
    "code": ("query", "select load_extension('./evil')", "is not allowed"),
    "code in quotes": ("query", "select \"load_extension\"('./evil')", "is not allowed"),
    "a setting": ("query", "pragma writable_schema = on", READS),
    "a setting as a table": ("query", "select * from pragma_journal_mode", READS),
    "a setting as a function": ("query", "select * from pragma_table_info('DICOMImages')", READS),
    "pages of the database": ("query", "select * from dbstat", READS),
    "statements of others": ("query", "select * from sqlite_stmt", READS),
    "a tokenizer": ("query", "select fts3_tokenizer('simple', x'41414141')", "is not allowed"),
    "a full text table": ("query", "select * from fts5vocab", "unknown table|only reads"),
    "the log": ("query", "select sqlite_log(1, 'x')", "is not allowed"),
    "what the library is": ("query", "select sqlite_compileoption_get(1)", "is not allowed"),
    "bytes at random": ("query", "select randomblob(1000000000)", "is not allowed"),
    # It smuggles something in.
    "a bracket that is closed": ("where", "1) union select 1 from (select 1", "syntax error"),
    "a bracket that a comment hides": ("where", "1 /*", "syntax error"),
    "another select": ("where", "1 union select PatientID from patients", "syntax error"),
    "a semicolon": ("where", "1; drop table DICOMImages", READS),
    "a parameter of another": ("query", "select :two", "has no value"),
    "a parameter by number": ("query", "select ?", "parameters need names"),
    "a parameter that is SQL": ("query", "select * from images where PatientID = '' || :one || '; drop table x'", None),
    "NUL": ("query", "select 1\0; drop table DICOMImages", "null character|unrecognized|is not SQL"),
    "a name with a quote": ("query", 'select 1 as "a"" from x; drop table y; --"', None),
    # It does not end.
    "a recursion": ("query", ENDLESS + "select count(*) from r", TIME),
    "a recursion in a set": ("where", "Rows in (" + ENDLESS + "select x from r)", TIME),
    "a recursion that gives rows": ("query", ENDLESS + "select x from r", None),
    "a cross join": ("query", ENDLESS + "select count(*) from (select x from r limit 5000) a, r b, r c", TIME),
    "a window": ("query", ENDLESS + "select sum(x) over (order by x desc) from r", TIME),
    "a sort": ("query", ENDLESS + "select x from r order by -x", TIME),
    "a subquery for each row": ("query", ENDLESS + "select (select count(*) from r) from images", TIME),
    "a JSON for each row": ("query", ENDLESS + "select count(*) from r, json_each('[' || x || ']')", TIME),
    "an exponential LIKE": ("query", f"select {LONG} like '{'%1' * 39}%a'", None),
    "many LIKEs of one long text": (
        "query",
        "select " + ",".join(f"a like '%{'1,2,' * 18}{n:02}'" for n in range(60)) + f" from (select {LONG} a)",
        None,
    ),
    "a GLOB of many classes": ("query", f"select {LONG} glob '*{'[0-9,]' * 12}x'", None),
    "a long pattern": ("query", f"select {LONG} like '%{'a' * 100}'", "pattern of LIKE"),
    "a long needle": (
        "query",
        f"select instr(a, substr(a, 2) || 'x'), replace(a, substr(a, 2), '') from (select {LONG} a)",
        None,
    ),
    "many letters to trim": ("query", f"select trim(a, a || 'x') from (select {LONG} a)", "cannot use a value"),
    "a regular expression": (
        "query",
        "select roi_match('[\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"]', '(a+)+$', '')",
        "cannot use a value",
    ),
    "a regular expression of wild cards": (
        "query",
        f"select roi_match('[\"{'a' * 64}\"]', '.*.*.*b', '') from ({ENDLESS} select x from r limit 2000)",
        None,
    ),
    "a regular expression of choices": (
        "query",
        f"select roi_match('[\"{'a' * 64}\"]', '{'(a|aa)' * 30}b', '')",
        "cannot use a value",
    ),
    "a regular expression on many names": (
        "query",
        f"select roi_match('[\"' || replace({LONG}, ',', '\",\"') || '\"]', '.*.*.*b', '')",
        "cannot use a value",
    ),
    # It is large.
    "a text": ("query", "select printf('%1000000000d', 1)", "cannot use a value"),
    "a text by argument": ("query", "select printf('%*d', 1000000000, 1)", "cannot use a value"),
    "many digits": ("query", "select printf('%.999999f', 1.0)", "cannot use a value"),
    "a text that doubles": (
        "query",
        ENDLESS.replace("select 1", "select 'aa'").replace("x + 1", "x || x") + "select x from r",
        TEXT,
    ),
    "replaced": ("query", f"select replace({LONG}, '1', {LONG})", "cannot use a value"),
    "a list": ("query", ENDLESS + "select group_concat(x) from r", f"{TEXT}|{TIME}"),
    "a JSON": ("query", ENDLESS + "select json_group_array(x) from r", f"{TEXT}|{TIME}"),
    "a blob": ("query", "select zeroblob(1000000000)", "is not allowed"),
    "queries that double": ("query", f"with {DOUBLES} select * from a40", MEMORY),
    "columns": ("query", "select " + ",".join("*" for _ in range(10)) + " from images", "more than 500 columns"),
    "columns of long texts": ("query", f"select {','.join(['a'] * 500)} from (select {LONG} a)", "texts of a row are longer"),
    "columns of long blobs": ("query", f"select {','.join(['cast(a as blob)'] * 60)} from (select {LONG} || {LONG} a)", TEXT),
    "columns of blobs that are made once": (
        "query",
        f"select {','.join(['a'] * 500)} from (select cast({LONG} as blob) a)",
        TEXT,
    ),
    "columns of a text that doubles": (
        "query",
        ENDLESS.replace("select 1", "select 'aa'").replace("x + 1", "x || x") + "select x, x, x, x, x, x, x, x from r limit 22",
        None,
    ),
    "a LIKE of a text that doubles": (
        "query",
        ENDLESS.replace("select 1", "select '1a'").replace("x + 1", "x || x") + f"select x like '{'%1' * 39}%b' from r limit 22",
        None,
    ),
    "letters of four bytes": (
        "query",
        ENDLESS.replace("select 1", "select '\U0001f600'").replace("x + 1", "x || x")
        + "select replace(x, 'a', 'b') from r limit 21",
        None,
    ),
    "brackets": ("query", f"select {'(' * 10_000}1{')' * 10_000}", "overflow|stack|too large"),
    "terms": ("query", f"select 1 where {' or '.join(['1 = 2'] * 2000)}", "depth"),
    "unions": ("query", " union ".join(["select 1"] * 300), "compound"),
    "functions": ("query", f"select {','.join(['abs(1)'] * 100)}", "more than 64 functions"),
    "windows": ("query", f"select {','.join(f'sum(1) over (order by Rows + {n})' for n in range(64))} from images", None),
    "a long statement": ("query", f"select '{'a' * 40_000}'", "longer than 32768 bytes"),
    "joins": ("query", "select 1 from " + " natural join ".join(f"series s{n}" for n in range(12)), None),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of a few instances, and a canary beside it."""
    folder = tmp_path_factory.mktemp("sql")
    uids = {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.2", "StudyInstanceUID": "1.2.1", "SeriesInstanceUID": "1.2.2"}
    for number in range(3):
        (folder / "data").mkdir(exist_ok=True)
        save(
            folder / f"data/{number}.dcm",
            {**uids, "SOPInstanceUID": f"1.2.3.{number}", "PatientID": f"P{number}", "Rows": number},
        )
    (folder / "canary").write_text("canary-of-the-disk")
    assert Workplace(folder).rules('[sources.archive]\npath = "data"\n').run("index").code == 0
    return folder


@pytest.fixture(scope="module")
def attack(folder: Path) -> Iterator[Attack]:
    """Does an attack; afterwards nothing in the folder may have changed."""
    before = state(folder)
    with attacks(folder, 0.5) as attack:
        yield attack
    assert state(folder) == before


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_by_name(attack: Attack, name: str) -> None:
    kind, text, said = ATTACKS[name]
    came = attack(kind, text)
    assert_harmless(came)
    assert came.how == ("done" if said is None else "mistake"), came
    assert re.search(said or "", came.what), came


def test_generated_attacks(attack: Attack, some: Some[int]) -> None:
    done = 0
    for seed in some(range(1000), 40):
        text = Grammar(seed).query()
        came = attack("query", text)
        try:
            assert_harmless(came)
        except AssertionError as error:
            error.add_note(f"{seed}: {text[:2000]}")
            raise
        done += came.how == "done"
    assert done, "a grammar of which SQLite takes nothing attacks nothing"


def test_a_refused_query_of_the_rules_is_told_by_its_place(workplace: Workplace) -> None:
    refused = {name: text for name, (kind, text, said) in ATTACKS.items() if kind == "query" and said and "\0" not in text}
    for text in refused.values():
        workplace.rules(f'[select.attack]\nlevel = "image"\nquery = {json.dumps(text)}\n')
        checked = workplace.run("check")
        assert checked.code == 2
        assert re.match(r"rules\.toml:4:\d+: ", checked.err), checked.err


class Grammar:
    """Makes SQL, sound for the most part, of what could do harm."""

    TABLES: ClassVar[dict[str, tuple[str, ...]]] = {
        "images": ("PatientID", "Rows", "ObjectFile", "SOPInstanceUID"),
        "DICOMImages": ("ImagePat", "ObjectFile", "rowid"),
        "sqlite_master": ("name", "sql", "rootpage"),
        "rules_files": ("path", "size"),
        "json_each('[1, 2, [3]]')": ("value", "key"),
        "json_tree('{\"a\": [1, {}]}')": ("atom", "fullkey"),
        "r": ("x",),
        "t": ("x", "y"),
    }
    STRANGE = ("dbstat", "sqlite_stmt", "pragma_database_list", "fts5vocab", "sqlite_temp_master", "canary", "'canary'")
    LITERALS = (
        "1",
        "-1",
        "9e999",
        "''",
        "'%1%1%1%1'",
        "x'00ff'",
        "null",
        "9223372036854775807",
        "'[1,2]'",
        "'/etc/passwd'",
        ":one",
    )
    ONE = ("lower", "hex", "quote", "json_quote", "length", "abs", "typeof", "char", "soundex", "json_valid", "trim", "date")
    TWO = ("instr", "trim", "printf", "ifnull", "nullif", "substr", "strftime", "json_array", "round", "max", "glob", "like")
    TOTAL = ("count", "sum", "group_concat", "json_group_array", "min", "total")
    OPERATORS = ("+", "*", "||", "like", "glob", "=", "<", "and", "or", "is", "%", "<<", "-", "/", "not like")
    FORBIDDEN = ("load_extension", "readfile", "writefile", "zeroblob", "randomblob", "edit", "fts5", "json_patch", "sqlite_log")
    WRITES = (
        "attach 'x' as y",
        "pragma user_version = 1",
        "drop table DICOMImages",
        "vacuum into 'x'",
        "delete from DICOMImages",
    )

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def query(self) -> str:
        """A statement, now and then with something behind, before or within it that is none of a query's."""
        base, step = self.random.choice((("1", "x + 1"), ("'a'", "x || x"), ("'1'", "x || ',1'"), ("1", "x * 2")))
        bound = self.random.choice(("", " limit 100", " limit 1000", " limit 100000"))
        with_ = f"with recursive r(x) as (select {base} union all select {step} from r{bound}), "
        text = f"{with_}t(x, y) as (select r.x, a.x from r, r a{bound}) {self.select(3)}"
        match self.random.randrange(12):
            case 0:
                return f"{text}; {self.random.choice(self.WRITES)}"
            case 1:
                return f"{self.random.choice(('/*', '--', ';', 'explain ', '/**/'))}{text}"
            case 2:
                return f"with y as ({text}) {self.random.choice(self.WRITES)}"
        return text

    def select(self, depth: int) -> str:
        tables = self.random.choices([*self.TABLES], k=self.random.randrange(1, 4))
        columns = [f"a{depth}{n}.{column}" for n, table in enumerate(tables) for column in self.TABLES[table]]
        named = [f"{table} a{depth}{n}" for n, table in enumerate(tables)]
        if self.random.random() < 0.05:
            named.append(self.random.choice(self.STRANGE))
        of = [self.expression(depth, columns) for _ in range(1 if depth < 3 else 3)]
        if self.random.random() < 0.3:
            of[0] = f"{self.random.choice(self.TOTAL)}({of[0]}){self.random.choice(('', '', ' over ()', ' over (order by 1)'))}"
        text = f"select {', '.join(of)} from {', '.join(named)}"
        if self.random.random() < 0.4:
            text += f" where {self.expression(depth, columns)}"
        if self.random.random() < 0.3:
            text += " order by 1"
        return text if depth < 3 or self.random.random() < 0.5 else f"select * from ({text}) union select 1, 2, 3"

    def expression(self, depth: int, columns: list[str]) -> str:
        if not depth:
            return self.random.choice([*columns, *self.LITERALS])
        inner = [self.expression(depth - 1, columns) for _ in range(3)]
        match self.random.randrange(8):
            case 0:
                return f"{self.random.choice(self.ONE)}({inner[0]})"
            case 1:
                return f"{self.random.choice(self.TWO)}({inner[0]}, {inner[1]})"
            case 2:
                return f"replace({', '.join(inner)})"
            case 3 | 4:
                return f"({inner[0]} {self.random.choice(self.OPERATORS)} {inner[1]})"
            case 5:
                return f"({self.select(depth - 1)} limit 1)"
            case 6 if self.random.random() < 0.1:
                return f"{self.random.choice(self.FORBIDDEN)}({inner[0]})"
        return self.random.choice([*columns, *self.LITERALS])


def state(folder: Path) -> dict[str, str]:
    """Every file by its bytes. What SQLite's readers share is no content."""
    files = (path for path in folder.rglob("*") if path.is_file() and not path.name.endswith(("-shm", "-wal")))
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def assert_harmless(came: Came) -> None:
    assert came.how in ("mistake", "done"), came
    assert "canary-of-" not in came.what
    assert came.cpu <= CPU_SECONDS, came
    assert came.megabytes <= MEGABYTES, came
