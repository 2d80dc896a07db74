"""Instances written byte by byte."""

from pathlib import Path

from tests import raw
from tests.conftest import Workplace
from tests.raw import LITTLE, ROOT, Raw, Tag

Elements = dict[Tag, tuple[Raw, Raw] | bytes]


def put(workplace: Workplace, name: str, number: int, more: Elements | None = None, written: raw.Written = LITTLE) -> Path:
    file = workplace.folder / "data" / name
    file.parent.mkdir(exist_ok=True)
    syntax = raw.IMPLICIT if written.implicit else raw.EXPLICIT
    file.write_bytes(raw.file(written.instance(number, more), syntax, uid=f"{ROOT}.{number}"))
    return file
