"""300 attacks and more by rules files of strangers: each ends within 10 s, 256 MB and 64 MB of disk, and shows no secret."""

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import Workplace, save
from tests.torture.attacks import ATTACKS as TEXTS
from tests.torture.attacks import many
from tests.torture.conftest import Some
from tests.torture.limited import MEGABYTES, Came, attacks

Attack = Callable[[str, str], Came]
Attacks = dict[str, tuple[str, str]]

SECONDS, DISK = 10, 64
SOURCE = '[sources.a]\npath = "data"\n'
SECRET = "password=canary-of-the-disk"

# Files that hold a secret, never end, or wait; `->` is a link.
TARGETS = (
    ".env",
    "secret.toml",
    "id_rsa",
    "secret.csv.txt",
    "../canary",
    "-> ../canary",
    "-> .env",
    "-> secret.toml",
    "-> chain",
    "out/canary",
    "/etc/passwd",
    "-> /proc/self/environ",
    "/proc/self/environ",
    "/proc/self/cmdline",
    "/proc/self/root/etc/passwd",
    "/proc/self/mem",
    "/proc/kmsg",
    "-> /proc/self/fd/0",
    "/sys/kernel/notes",
    "/dev/zero",
    "-> /dev/zero",
    "/dev/tty",
    "/dev/stdin",
    "fifo",
    "-> fifo",
    "socket",
    ".",
    "-> loop",
    "nothing",
    "sparse",
)


def file_of(target: str) -> str:
    """The name under which rules name a target: of a link, that of the link."""
    return target if not target.startswith("->") else f"link-{TARGETS.index(target)}"


def readings() -> Attacks:
    """Every file under every key that names one."""
    found: Attacks = {f"rules: {target}": ("link", target.removeprefix("-> ")) for target in TARGETS}
    for target in TARGETS:
        name = file_of(target)
        found[f"csv: {target}"] = ("check", f'[tables.a]\ncsv = "{name}"\n{fishing("a")}')
        found[f"dicom_sql: {target}"] = ("check", f'[index]\ndicom_sql = "{name}"')
        for key in ("ca", "certificate", "key", "key_password_file"):
            others = {"ca": "ca.pem", "certificate": "ca.pem", "key": "key.pem"} | {key: name}
            table = ", ".join(f'{each} = "{value}"' for each, value in others.items())
            found[f"{key}: {target}"] = ("tls", f'[nodes.n]\nae_title = "N"\nhost = "h"\nport = 1\ntls = {{ {table} }}\n')
    return found


def fishing(table: str) -> str:
    """Queries that would have an error show a column of a table whose name is near."""
    words = ("password", "password=canary", "password=canary_of_the_disc", "canary_of_the_disk")
    sets = (f'[select.s{n}]\nlevel = "image"\nquery = \'select "{word}" + 1 from {table}\'\n' for n, word in enumerate(words))
    return "".join(sets).replace('"password', 'x."password').replace(f"from {table}", f"from {table} as x")


def excluding(*patterns: str) -> str:
    return f"[sources.a]\npath = 'data'\nexclude = {[*patterns]}\n"


def patterns() -> Attacks:
    """Patterns that try again, on names that invite it."""
    many_ = {
        "stars": "*[0-9]" * 10 + "x",
        "more stars": "*[0-9]" * 100 + "x",
        "letters": "*a" * 400 + "b",
        "any letters": "*?" * 300 + "b",
        "classes": "*[!b]" * 190 + "b",
        "folders": "**/" * 300 + "b",
        "folders and names": "**/a/" * 190 + "b",
        "folders of stars": "**/*a*/" * 140 + "b",
        "stars in stars": "**/*a*a*a*a*/" * 70 + "b",
        "a long name": "**/" + "?" * 900 + "*b",
        "only stars": "*" + "?*" * 400,
        "dots": "**/.*" + ".*" * 400,
    }
    found = {f"exclude: {name}": ("index", excluding(pattern)) for name, pattern in many_.items()}
    found |= {f"exclude offline: {name}": ("offline", excluding(pattern)) for name, pattern in many_.items()}
    found["exclude: all at once"] = ("index", excluding(*many_.values()))
    found["exclude: 100 of them"] = ("index", excluding(*(f"**/*{'a*' * 40}{n}" for n in range(99))))
    found["exclude: thousands"] = ("check", excluding(*(f"**/*{n}*" for n in range(5000))))
    found["exclude: a long one"] = ("check", excluding("*a" * 30_000))
    found["exclude: brackets"] = ("check", excluding("[" * 60_000))
    found["exclude: braces"] = ("check", excluding("{" + "," * 60_000))
    return found


def texts() -> Attacks:
    """Texts that an expression could look through again and again."""
    odd = {
        "templates that never end": "{{" * 30_000,
        "tags that never end": "{%" * 30_000,
        "comments": "/**/" * 8000 + "!",
        "comments that never end": "/*" * 30_000,
        "comments of lines": "--\\n" * 10_000 + "!",
        "brackets": "(" * 30_000,
        "quotes": "''" * 16_000 + "'",
        "blanks": " " * 60_000 + "!",
        "semicolons": "select 1" + ";" * 30_000,
        "words": "a " * 30_000,
    }
    found: Attacks = {}
    for name, text in odd.items():
        found[f"query: {name}"] = ("check", f'[select.s]\nlevel = "image"\nquery = "{text}"')
        found[f"where: {name}"] = ("check", f'[select.s]\nlevel = "image"\nwhere = "{text}"')
        found[f"to: {name}"] = ("check", f'{COPIED}to = "{text}"')
        found[f"match: {name}"] = ("check", retrieving(text))
        found[f"vars: {name}"] = ("check", "[vars]\n" + "".join(f'v{n} = "{text}"\n' for n in range(15)))
    return found


def retrieving(value: str) -> str:
    node = '[nodes.n]\nae_title = "N"\nhost = "h"\nport = 1\n[sources.a]\npath = "data"\nlayout = "{{ SOPInstanceUID }}"\n'
    return f'{node}[retrieve.r]\nnode = "n"\nlevel = "study"\ninto = "a"\nmatch = {{ PatientID = "{value}" }}\n'


COPIED = "[select.all]\nlevel = 'image'\nwhere = '1'\n[copy.c]\nselect = 'all'\n"
ENDLESS = "with recursive r(x) as (select 1 union all select x + 1 from r)"
FEW = "with recursive r(x) as (select 1 union all select x + 1 from r limit 20000000)"
# So that nothing happens on the empty index of `check`.
ONCE = "(select 1 from main.images limit 1)"

QUERIES = {
    "counts": f"{ENDLESS} select SOPInstanceUID from images where (select count(*) from r, {ONCE})",
    "sorts": f"{ENDLESS} select i.SOPInstanceUID, x from r, images as i order by -x",
    "rows": f"{ENDLESS} select i.SOPInstanceUID from images as i, r",
    "wide rows": f"{ENDLESS} select i.SOPInstanceUID, printf('%900d', x) as a, printf('%900d', x) as b from images as i, r",
    "distinct rows": f"{ENDLESS} select distinct i.SOPInstanceUID, x from images as i, r",
    "groups": f"{ENDLESS} select i.SOPInstanceUID, x from images as i, r group by x",
    "a union": f"{ENDLESS} select i.SOPInstanceUID, x from images as i, r union select '', x from r, {ONCE}",
    "a queue": "with recursive q(x) as (select SOPInstanceUID from images union all select q.x from q, images) "
    "select x as SOPInstanceUID from q",
    "a set of all": f"with recursive q(x) as (select 1 from {ONCE} union select x + 1 from q) "
    "select SOPInstanceUID from images, q",
    "a window": f"{ENDLESS} select i.SOPInstanceUID, sum(x) over (order by x desc) as s from images as i, r",
    "a materialised one": f"{FEW}, m as materialized (select x, printf('%500d', x) as y from r, {ONCE}) "
    "select SOPInstanceUID from images, m as a, m as b",
    "a cross join": f"select a.SOPInstanceUID from images a, {', '.join(f'images {x}' for x in 'bcdefghi')}",
    "many rows": f"{FEW} select i.SOPInstanceUID from images as i, (select x from r limit 90000)",
    "unknown keys": f"{FEW} select 'x' as SOPInstanceUID from r, {ONCE}",
    "a JSON": f"{ENDLESS} select i.SOPInstanceUID, (select json_group_array(x) from r) as a from images as i",
    "a text": f"{ENDLESS} select i.SOPInstanceUID, (select group_concat(x) from r) as a from images as i",
    "texts": f"{FEW} select i.SOPInstanceUID, replace(printf('%999d', x), ' ', printf('%99d', x)) as a from images as i, r",
    "a subquery of each": f"{FEW} select SOPInstanceUID from images "
    "where exists (select 1 from r as a, r as b where a.x < b.x - 1e9)",
}


def set_of(query: str, name: str = "s") -> str:
    return f'[select.{name}]\nlevel = "image"\nquery = """{query}"""\n'


def copying(name: str = "s", to: str = "export/{{ SOPInstanceUID }}") -> str:
    return f"[copy.{name}]\nselect = '{name}'\nto = '''{to}'''\n"


def queries() -> Attacks:
    """Sets that never end or grow, alone and many of them, in each command that makes a set."""
    found: Attacks = {}
    for name, query in QUERIES.items():
        found[f"set: {name}"] = ("plan", SOURCE + set_of(query) + copying())
        found[f"set offline: {name}"] = ("offline", SOURCE + set_of(query) + copying())
        found[f"20 sets: {name}"] = (
            "offline",
            SOURCE
            + "".join(set_of(query, f"s{n}") + copying(f"s{n}", f"export/{n}/{{{{ SOPInstanceUID }}}}") for n in range(20)),
        )
    wheres = {"where": f"exists ({ENDLESS} select 1 from r where x < 0)", "like": "SOPInstanceUID like '" + "%1" * 39 + "a'"}
    for name, text in wheres.items():
        found[f"where: {name}"] = ("plan", f'{SOURCE}[select.s]\nlevel = "image"\nwhere = """{text}"""\n{copying()}')
    chain = "".join(set_of(f"select a.SOPInstanceUID from s{n} as a, s{n} as b", f"s{n + 1}") for n in range(40))
    found["sets that double"] = ("plan", SOURCE + set_of("select SOPInstanceUID from images", "s0") + chain + copying("s40"))
    views = "".join(
        f'[select.v{n + 1}]\nlevel = "image"\nwhere = "SOPInstanceUID in (select {key} from v{n} union select {key} from v{n})"\n'
        for n in range(45)
        for key in ["SOPInstanceUID"]
    )
    found["views that refer twice"] = ("plan", f'{SOURCE}[select.v0]\nlevel = "image"\nwhere = "1"\n{views}{copying("v45")}')
    found["thousands of sets"] = ("plan", SOURCE + many('[select.s#]\nlevel = "image"\nwhere = "1"'))
    return found


def destinations() -> Attacks:
    """Templates that take long or print much, for many rows."""
    wide = set_of(f"{FEW} select i.SOPInstanceUID, x as n from images as i, (select x from r limit 8000)")
    tests = "".join("{% if PatientID == '" + str(n) + "' %}a{% endif %}" for n in range(400))
    odd = {
        "rows": "export/{{ n }}/{{ SOPInstanceUID }}",
        "long names": "export/" + "/".join("a" * 200 for _ in range(10)) + "/{{ n }}/x",
        "folders": "export/{{ n }}" + "/a" * 500,
        "names of values": "export/" + "/".join("{{ n }}{{ SOPInstanceUID }}{{ SOPInstanceUID }}" for _ in range(12)),
        "tests": f"export/{{{{ n }}}}/{tests}x",
        "filters": "export/{{ n | replace('1', '" + "1" * 250 + "') | replace('1', '" + "1" * 250 + "') | truncate(200) }}",
        "one place": "export/x",
        "a long end": "export/{{ n }}/" + "a" * 15_000,
    }
    found = {f"to: {name}": ("plan", SOURCE + wide + copying(to=to)) for name, to in odd.items()}
    found |= {f"to offline: {name}": ("offline", SOURCE + wide + copying(to=to)) for name, to in odd.items()}
    found["many copies"] = (
        "plan",
        SOURCE
        + set_of("select SOPInstanceUID from images")
        + many("[copy.c#]\nselect = 's'\nto = 'export/#/{{ SOPInstanceUID }}'", 800),
    )
    return found


def numbers() -> Attacks:
    """Thousands of everything."""
    node = 'ae_title = "N"\nhost = "h"\nport = 1'
    found = {
        "sources": many('[sources.s#]\npath = "data/#"'),
        "sources in each other": many('[sources.s#]\npath = "data"', 2000),
        "sources of patterns": many('[sources.s#]\npath = "data"\nexclude = ["**/*#*"]', 1500),
        "outputs": f"outputs = {[f'o{n}' for n in range(9000)]}\n{COPIED}to = 'o1/x'",
        "tables": many('[tables.t#]\ncsv = "rows.csv"'),
        "tables of nothing": many('[tables.t#]\ncsv = "nothing"'),
        "nodes": many(f"[nodes.n#]\n{node}", 2000),
        "listeners": many('[listen.l#]\nae_title = "N"\nport = 1\ninto = "a"', 2000),
        "sends": many("[send.s#]\nselect = 's'\nnode = 'n'"),
        "copies": many("[copy.s#]\nselect = 'ss#'\nto = 'x'"),
        "copies of near names": many("[copy.s#]\nselect = 's#x'\nto = 'x'", 1200)
        + many("[select.s#y]\nlevel='image'\nwhere='1'", 1200),
        "needs": "[copy.x]\nselect = 's'\nto = 'x'\nneeds = " + str([f"copy.y{n}" for n in range(9000)]),
        "variables": many("v# = '{{ vars.x }}'", 9000, "[vars]\n"),
        "parameters": "[select.s]\nlevel = 'image'\nwhere = '1'\n[select.s.params]\n" + many("p# = 1", 9000),
        "columns": many("[[schema.image]]\ncolumn = 'c#'\ntag = 'PatientID'", 190),
        "environment": many("v# = { env = 'CANARY' }", 3000, "[vars]\n"),
    }
    return {f"{command} thousands: {name}": (command, text) for name, text in found.items() for command in ("check", "offline")}


def tables() -> Attacks:
    """CSV files that are large, long or many; they are made by `folder`."""
    one = '[tables.t{n}]\ncsv = "{file}"\n'
    found: Attacks = {}
    for file in ("rows.csv", "random.csv", "wide.csv", "field.csv", "sparse", "quotes.csv", "short.csv", "empty.csv"):
        key = 'key = ["a"]\n' if file == "random.csv" else ""
        found[f"CSV: {file}"] = ("index", SOURCE + one.format(n=0, file=file) + key)
        found[f"CSV 60 times: {file}"] = ("index", SOURCE + "".join(one.format(n=n, file=file) + key for n in range(60)))
    return found


def databases() -> Attacks:
    """Indices that would be written elsewhere."""
    places = (
        "../elsewhere.db",
        "/tmp/elsewhere.db",
        "out/elsewhere.db",
        "link-db",
        "data/../../elsewhere.db",
        "/proc/self/mem",
        "/dev/zero",
    )
    found = {f"database: {place}": ("index", f'[index]\ndatabase = "{place}"\n{SOURCE}') for place in places}
    for variable in ("PLACE", "GITHUB_PATH", "HOME"):
        found[f"database: ${variable}"] = ("index", f'[index]\ndatabase = {{ env = "{variable}" }}\n{SOURCE}')
    found["database: a default"] = ("index", f'[index]\ndatabase = {{ env = "NONE", default = "../elsewhere.db" }}\n{SOURCE}')
    found["database: our default"] = (
        "index",
        f'[index]\ndatabase = {{ env = "PYCONQUEST_X", default = "../elsewhere.db" }}\n{SOURCE}',
    )
    return found


def planned() -> Attacks:
    """What is tried on `check`, on `plan`."""
    return {f"plan: {name}": ("offline", text) for name, (text, _) in TEXTS.items()}


FAMILIES = (readings, patterns, texts, queries, destinations, numbers, tables, databases, planned)
EVERYTHING: Attacks = {name: attack for family in FAMILIES for name, attack in family().items()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of rules with an index of some images, and with all that attacks name."""
    (folder := tmp_path_factory.mktemp("rules") / "here").mkdir()
    for file in (".env", "secret.toml", "id_rsa", "secret.csv.txt", "../canary"):
        (folder / file).write_text(f'{SECRET.replace("=", " = ")[:9]}= "{SECRET}"\n' if file == "secret.toml" else f"{SECRET}\n")
    os.mkfifo(folder / "fifo")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(os.path.relpath(folder / "socket"))
    for name, to in (
        ("chain", "chain2"),
        ("chain2", "../canary"),
        ("out", ".."),
        ("loop", "loop"),
        ("link-db", "../elsewhere.db"),
    ):
        (folder / name).symlink_to(to)
    for target in TARGETS:
        if target.startswith("->"):
            (folder / file_of(target)).symlink_to(target.removeprefix("-> "))
    csv_files(folder)
    for number in range(12):
        uid = f"1.3.6.1.4.1.14519.5.2.1.7009.9004.33796838236951101789663859{number:03}"
        image = {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.2", "SOPInstanceUID": uid, "PatientID": "P", "Modality": "CT"}
        image |= {"StudyInstanceUID": "1.2", "SeriesInstanceUID": "1.3"}
        (folder / "data").mkdir(exist_ok=True)
        save(folder / "data" / f"{uid}.dcm", image)
    deep = folder / "data" / ("a" * 250) / "/".join(["a"] * 300)
    deep.mkdir(parents=True)
    for name in ("a" * 250, "1" * 250, ".a" * 100):
        (deep / name).touch()
    # By the name that the attacks have: an index belongs to one rules file, and others are refused before they do anything.
    workplace = Workplace(folder).rules(SOURCE)
    (folder / "rules.toml").rename(folder / "attack.toml")
    assert workplace.run("-f", "attack.toml", "index").code in (0, 1)
    (folder / "attack.toml").unlink()
    return folder


def csv_files(folder: Path) -> None:
    rows = {
        "rows.csv": (b"a,b\n", b"1,2\n", 3_000_000),
        "wide.csv": (",".join(f"c{n}" for n in range(1000)).encode() + b"\n", b"1" + b"," * 999 + b"\n", 20_000),
        "short.csv": (b"a\n", b"1\n", 5_000_000),
        "empty.csv": (b"a\n", b"\n", 20_000_000),
        "quotes.csv": (b"a\n", b'"', 20_000_001),
        "field.csv": (b"a\n", b"x" * 60_000 + b"\n", 500),
    }
    for name, (head, row, number) in rows.items():
        (folder / name).write_bytes(head + row * number)
    (folder / "random.csv").write_text("a\n" + "".join(f"{n * 7919 % 1_000_003:030}\n" for n in range(400_000)))
    (folder / "sparse").write_bytes(b"a\n")
    os.truncate(folder / "sparse", 1 << 40)


@pytest.fixture(scope="module")
def attack(folder: Path) -> Iterator[Attack]:
    with attacks(folder, SECONDS, SECONDS) as attack:
        yield attack


def test_rules_of_strangers_end_within_bounds_and_show_no_secret(attack: Attack, folder: Path, some: Some[str]) -> None:
    assert len(EVERYTHING) >= 300
    outside = {path.name for path in folder.parent.iterdir()}
    wrong = []
    for name in some([*EVERYTHING], 24):
        came = attack(*EVERYTHING[name])
        fine = came.how in ("done", "mistake") and "canary-of-" not in came.what and "the rules file /" not in came.what
        if not fine or came.cpu > SECONDS or came.megabytes > MEGABYTES or came.disk > DISK:
            wrong.append(f"{name}: {came}")
        (folder / "attack.toml").unlink(missing_ok=True)
    assert not wrong, "\n\n".join(wrong)
    assert {path.name for path in folder.parent.iterdir()} == outside
