"""Templates of strangers print values, and reach nothing else: attacks by name, and a thousand that a grammar makes."""

import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar

import pytest

from pyconquest_rules.templates.filters import FILTERS
from tests.torture.conftest import Some
from tests.torture.limited import CPU_SECONDS, MEGABYTES, Came, attacks

Attack = Callable[[str], Came]

# What it is, and what is said of it; None where it does no harm.
ATTACKS: dict[str, tuple[str, str | None]] = {
    # It reaches for Python.
    "a class": ("{{ PatientID.__class__ }}", "cannot read attributes"),
    "all classes": ("{{ ''.__class__.__mro__[1].__subclasses__() }}", "cannot call"),
    "a class by filter": ("{{ PatientID | attr('__class__') }}", "unknown filter"),
    "a class by map": ("{{ [PatientID] | map(attribute='__class__') }}", "unknown filter|cannot have lists"),
    "a class by item": ("{{ PatientID['__class__'] }}", r"\[ \]"),
    "a class in pieces": ("{{ PatientID['__cl' ~ 'ass__'] }}", r"\[ \]"),
    "a class by escapes": ("{{ PatientID['\\x5f\\x5fclass\\x5f\\x5f'] }}", r"\[ \]"),
    "a class of vars": ("{{ vars.__class__ }}", "unknown variable"),
    "globals of a function": ("{{ vars.get.__globals__ }}", "cannot read attributes"),
    "globals of Jinja": ("{{ cycler.__init__.__globals__.os.popen('id').read() }}", "cannot call"),
    "lipsum": ("{{ lipsum.__globals__['os'].environ }}", "cannot read attributes"),
    "self": ("{{ self._TemplateReference__context }}", "cannot read attributes"),
    "a namespace": ("{{ namespace(a=1) }}", "cannot call"),
    "range": ("{{ range(999999999) | list }}", "unknown filter|cannot call"),
    "dict": ("{{ dict(a=1) }}", "cannot call"),
    "a format string": ("{{ '{0.__class__}' | format(PatientID) }}", "unknown filter"),
    "a format by per cent": ("{{ '%999999999d' % Rows }}", "cannot calculate"),
    "a method": ("{{ 'a'.join(PatientID) }}", "cannot call"),
    "a test": ("{{ 1 if PatientID is callable }}", "cannot test"),
    "the environment": ("{{ environ.CANARY }}", "cannot read attributes"),
    # It reads files, or brings code.
    "include": ("{% include '/etc/passwd' %}", "include"),
    "include by value": ("{% include PatientID %}", "include"),
    "import": ("{% import 'os' as os %}", "import"),
    "from": ("{% from 'os' import system %}", "from"),
    "extends": ("{% extends '/etc/passwd' %}", "extends"),
    "a macro": ("{% macro a() %}{{ a() }}{% endmacro %}{{ a() }}", "macro"),
    "a call": ("{% call a() %}{% endcall %}", "call"),
    "a block": ("{% block a %}{% endblock %}", "block"),
    "set": ("{% set vars = PatientID %}{{ vars }}", "set"),
    "with": ("{% with vars = PatientID %}{{ vars }}{% endwith %}", "with"),
    "a block of a filter": ("{% filter upper %}a{% endfilter %}", "filter"),
    "a statement on a line": ("# for x in range(9)\nx", r"U\+000A"),
    "a template within a value": ("{{ vars.evil }}", "outside|does not render a path|stands after"),
    # It does not end, or is large.
    "a loop": ("{% for a in range(999999999) %}a{% endfor %}", "cannot loop"),
    "a loop over a value": ("{% for a in PatientID recursive %}{{ loop(a) }}{% endfor %}", "cannot loop"),
    "a power": ("{{ 9 ** 9 ** 9 }}", "cannot calculate"),
    "a product of texts": ("{{ 'a' * 999999999 }}", "cannot calculate"),
    "a shifted number": ("{{ 0x" + "f" * 10_000 + " }}", "hundreds of digits"),
    "digits": ("{{ " + "9" * 10_000 + " }}", "thousands of digits"),
    "binary digits": ("{{ 0b" + "1" * 18_000 + " | default(1) }}", "hundreds of digits"),
    "an exponent": ("{{ 1e999999999 }}", None),
    "a long text": ("{{ '" + "a" * 18_000 + "' }}", "longer than 255"),
    "a text that is too long": ("a/" * 60_000, "longer than 20000"),
    "replaced again and again": ("{{ PatientID" + f" | replace('a', '{'a' * 255}')" * 70 + " }}", None),
    "padded again and again": ("{{ PatientID" + " | pad(64)" * 400 + " }}", None),
    "a wide pad": ("{{ PatientID | pad(999999999) }}", "invalid arguments"),
    "a long replacement": ("{{ PatientID | replace('a', '" + "b" * 256 + "') }}", "invalid arguments"),
    "values beside each other": ("{{ x }}" * 2000, None),
    "values joined": ("{{ " + " ~ ".join(["x"] * 2000) + " }}", None),
    "values joined and filtered": ("{{ (" + " ~ ".join(["x"] * 2000) + ") | lower }}", None),
    "values joined and compared": ("{{ 1 if (" + " ~ ".join(["x"] * 2000) + ") == 'a' else 2 }}", None),
    "values": ("{{ x }}" * 2000, None),
    "values, some filtered": ("{{ (" + " ~ ".join(["x"] * 32) + ") | lower }}" + "{{ y | upper }}" * 31, None),
    "brackets": ("{{ " + "(" * 8000 + "1" + ")" * 8000 + " }}", "nested too deeply"),
    "brackets that stay open": ("{{ " + "[" * 18_000, "nested too deeply|cannot be read"),
    "nots": ("{{ " + "not " * 4000 + "x }}", "nested too deeply"),
    "filters": ("{{ x" + " | lower" * 1800 + " }}", "nested too deeply"),
    "ifs": ("{% if x %}" * 800 + "a" + "{% endif %}" * 800, "nested too deeply"),
    "elifs": ("{% if x == 1 %}a" + "{% elif x == 1 %}b" * 800 + "{% endif %}", None),
    "comparisons": ("{{ 1 if " + " < ".join(["x"] * 2000) + " else 2 }}", None),
    "a list": ("{{ 1 if x in [" + ", ".join(["'a'"] * 2000) + "] else 2 }}", None),
    "what is never closed": ("{{" * 8000, "nested too deeply|cannot be read"),
    "tags": ("{% " * 6000, "cannot be read"),
    "raw": ("{% raw %}" * 2000, "cannot be read"),
    "a date of dates": ("{{ x | date('" + "%B" * 8000 + "') }}", None),
    # It leaves its folder.
    "a folder above": ("../{{ x }}", None),
    "a folder above at the end": ("{{ x }}/..", "ends with a folder"),
    "a folder above a value": ("{{ x }}/../../y", "stands after a value"),
    "a variable that is the folder above": ("{{ x }}/{{ vars.up }}/{{ vars.up }}/y", "stands after a value"),
    "a folder above in pieces": ("{{ x }}/{{ '.' }}{{ '.' }}/y", "stands after a value"),
    "a folder above in a condition": ("{{ x }}/{% if x %}..{% endif %}/{{ y }}", None),
    "the root": ("/etc/{{ x }}", None),
    "the root by a condition": ("{% if x %}/{% endif %}etc/{{ y }}", None),
    "a folder of Windows": ("C:\\Windows\\{{ x }}", None),
    "NUL": ("export/{{ '\\x00' }}", r"U\+0000"),
    "a mark of ours": ("export/{{ '\\x01' }}{{ x }}", r"U\+0001"),
    "half a letter": ("export/{{ '\\ud800' }}", r"U\+D800"),
    "a line break": ("export/a\n{{ x }}", r"U\+000A"),
    "letters that turn round": ("export/{{ '\u202e' }}{{ x }}", r"U\+202E"),
}


@pytest.fixture(scope="module")
def attack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Attack]:
    """Renders a template of a stranger's; afterwards nothing may be there that was not before."""
    folder: Path = tmp_path_factory.mktemp("templates")
    with attacks(folder, 1) as done:
        yield lambda text: done("template", text)
    assert not [*folder.iterdir()]


def assert_harmless(came: Came) -> None:
    assert came.how in ("mistake", "done"), came
    assert not re.search(r"canary|root:|<class|object at", came.what), came
    assert came.cpu <= CPU_SECONDS, came
    assert came.megabytes <= MEGABYTES, came


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_by_name(attack: Attack, name: str) -> None:
    text, said = ATTACKS[name]
    came = attack(text)
    assert_harmless(came)
    assert came.how == ("done" if said is None else "mistake"), came
    assert re.search(said or "", came.what), came


def test_generated_attacks(attack: Attack, some: Some[int]) -> None:
    done = 0
    for seed in some(range(1000), 100):
        text = Grammar(seed).template()
        came = attack(text)
        try:
            assert_harmless(came)
        except AssertionError as error:
            error.add_note(f"{seed}: {text[:2000]}")
            raise
        done += came.how == "done"
    assert done, "a grammar of which no template is allowed attacks nothing"


class Grammar:
    """Makes templates, sound for the most part, of what could do harm."""

    NAMES = ("x", "PatientID", "vars.out", "vars.up", "vars.evil", "vars", "self", "cycler", "loop", "environ", "__builtins__")
    LITERALS = (
        "''",
        "'..'",
        "'/'",
        "'\\0'",
        "'a' * 9",
        "1",
        "-1",
        "1e400",
        "0xffffffffffffffffffff",
        "none",
        "[1]",
        "{'a': 1}",
        "'%s'",
    )
    FILTERS = (*sorted(FILTERS), "attr", "format", "list", "map", "join", "tojson", "pprint", "xmlattr", "center", "indent")
    ARGUMENTS = ("", "(1)", "(999999999)", "('a')", "('a', 'aa')", "('%Y')", "('__class__')", "(x)", "(*x)", "(n=9)", "('')")
    SOUND: ClassVar[dict[str, str]] = {
        **{"default": "('../..')", "lower": "", "upper": "", "replace": "('a', 'aa/../')", "truncate": "(255)", "pad": "(64)"},
        **{"date": "('%Y/%m')", "short_uid": "(4)", "slug": ""},
    }
    OPERATORS = ("~", "~", "~", "==", "<", "in", "and", "or", "+", "*", "**", "//", "%", "is", "not in", "if")
    TAGS = (
        "for x in y",
        "set x = 1",
        "include 'a'",
        "macro a()",
        "raw",
        "endif",
        "else",
        "block a",
        "import 'a' as b",
        "filter upper",
    )
    TEXTS = ("/", "/", "..", "../", "//", "a", ".", "C:", "\\", "~", "\0", "\n", "{{", "}}", "%}", "{#", "é", "\u202e", "a" * 300)

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def template(self) -> str:
        start = self.random.choice(("export/", "export/", "", "{{ vars.out }}/", "/", "../"))
        return start + "".join(self.piece() for _ in range(self.random.choice((1, 2, 3, 5, 50))))

    def piece(self) -> str:
        match self.random.randrange(20):
            case 0 if self.random.random() < 0.3:
                return f"{{% {self.random.choice(self.TAGS)} %}}"
            case 1 | 2 | 3 | 4:
                return self.random.choice(self.TEXTS[:9])
            case 5:
                return self.random.choice(self.TEXTS if self.random.random() < 0.2 else self.TEXTS[:9])
            case 6 | 7:
                body = "".join(self.piece() for _ in range(self.random.randrange(3)))
                return f"{{% if {self.expression(2)} %}}{body}{{% else %}}{self.random.choice(self.TEXTS[:7])}{{% endif %}}"
        return f"{{{{ {self.expression(self.random.randrange(3))} }}}}"

    def expression(self, depth: int) -> str:
        if not depth:
            return (
                self.random.choice(self.NAMES[:5])
                if self.random.random() < 0.9
                else self.random.choice(self.NAMES + self.LITERALS)
            )
        match self.random.randrange(8):
            case 0 | 1 | 2:
                name = self.random.choice(self.FILTERS if self.random.random() < 0.1 else self.FILTERS[: len(FILTERS)])
                sound = self.random.random() < 0.8 and name in self.SOUND
                return (
                    f"({self.expression(depth - 1)} | {name}{self.SOUND[name] if sound else self.random.choice(self.ARGUMENTS)})"
                )
            case 3 | 4:
                operator = self.random.choice(self.OPERATORS if self.random.random() < 0.05 else ("~", "~", "and", "or", "=="))
                return f"({self.expression(depth - 1)} {operator} {self.expression(depth - 1)})"
            case 5:
                return f"({self.expression(depth - 1)} if {self.expression(depth - 1)} else {self.expression(depth - 1)})"
            case 6 if self.random.random() < 0.1:
                return self.expression(depth - 1) + self.random.choice((".__class__", "()", "[0]", "['a']", ".x", "[::2]"))
        return self.expression(depth - 1)
