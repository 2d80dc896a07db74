"""Check that templates with any values render portable paths inside their folder."""

import posixpath
import unicodedata
from collections.abc import Callable, Mapping

from hypothesis import strategies as st

from pyconquest_rules.templates import RenderError, Template

VARS: Mapping[str, object] = {
    "out": "export",
    "root": "/mnt/x/",
    "up": "../export",
    "release": "2026.1",
    "empty": "",
    "half": 0.5,
}
ANY_TEXT = st.text(st.characters(), max_size=300) | st.text(" .-_/\\:\0\1\u0301\u0338aCON1", max_size=12)


def bad_name(part: str) -> str | None:
    """Return why a name is not portable, or None. This is independent of the rules in `paths`."""
    name = part.encode()
    if not 1 <= len(name) <= 255 or part in {".", ".."} or "/" in part:
        return "not one name"
    if part != unicodedata.normalize("NFC", part) or part.startswith((" ", "-")) or part.endswith((" ", ".")):
        return "not NFC, or a strange first or last character"
    if any(unicodedata.category(c)[0] == "C" or unicodedata.category(c) in {"Zl", "Zp"} or c in '<>:"|?*\\' for c in part):
        return "a forbidden character"
    devices = {"con", "prn", "aux", "nul"} | {f"{p}{n}" for p in ("com", "lpt") for n in range(1, 10)}
    return "reserved" if part.partition(".")[0].rstrip(" ").lower() in devices else None


INSIDE: Mapping[str, Callable[[str], bool]] = {
    "export/{{ x }}": lambda p: p.count("/") == 1,
    "export/{{ x }}/y.dcm": lambda p: p.count("/") == 2,
    "export/.{{ x }}": lambda p: p.count("/") == 1,
    "export/{{ x }}.": lambda p: p.count("/") == 1,
    "export/{{ x }}.dcm": lambda p: p.count("/") == 1,
    "export/{{ x }}{{ x }}": lambda p: p.count("/") == 1,
    "export/{{ x | replace('a', '/') }}": lambda p: p.count("/") == 1,
    "export/{{ x | lower }}-{{ x | truncate(2) }}": lambda p: p.count("/") == 1,
    "export/{{ x ~ '/' ~ x }}": lambda p: p.count("/") == 2,
    "export/{{ x if x == x else x }}": lambda p: p.count("/") == 1,
    "export/{{ missing | default(vars.root) }}/{{ x }}": lambda p: p.startswith("export/_mnt_x_/"),
}


def check_inside(text: str, value: str, bad: Callable[[str], str | None]) -> None:
    try:
        destination = Template(text, VARS).path({"x": value})
    except RenderError:
        return
    assert destination.path == posixpath.normpath(destination.path)
    assert destination.path.startswith("export/")
    assert [bad(part) for part in destination.path.split("/") if bad(part)] == []
    assert INSIDE[text](destination.path)
    assert destination.written.encode()
