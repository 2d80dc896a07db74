"""Pack folders into archives, and read what the index says of their members."""

import base64
import io
import json
import os
import tarfile
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

from tests.conftest import Workplace

RULES = """
[sources.archive]
path = "data"

[select.everything]
level = "image"
where = "1"

[copy.export]
select = "everything"
to = "export/{{ SOPInstanceUID }}.dcm"
"""

Members = Iterable[tuple[str, bytes]]
Pack = Callable[[Path, Members], None]


def deflated(file: Path, members: Members) -> None:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, data in members:
            packed.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)


def stored(file: Path, members: Members) -> None:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as packed:
        for name, data in members:
            packed.writestr(zipfile.ZipInfo(name), data)


def _tarred(file: Path, members: Members, mode: str, form: int) -> None:
    with tarfile.open(file, mode, format=form) as packed:  # type: ignore[call-overload]
        for name, data in members:
            about = tarfile.TarInfo(name)
            about.size = len(data)
            packed.addfile(about, io.BytesIO(data))


def tarred(file: Path, members: Members) -> None:
    _tarred(file, members, "w", tarfile.PAX_FORMAT)


def zipped_tar(file: Path, members: Members) -> None:
    _tarred(file, members, "w:gz", tarfile.GNU_FORMAT)


PACKERS: dict[str, Pack] = {"a.zip": deflated, "b.ZIP": stored, "c.tar": tarred, "d.tar.gz": zipped_tar, "e.tgz": zipped_tar}
"""How archives of these names are made."""


def packer_of(name: str) -> Pack:
    """Return what makes an archive of this name."""
    return next(pack for known, pack in PACKERS.items() if name.endswith(known[1:]))


def age(file: Path, seconds: int = 1_700_000_000) -> Path:
    """Give a file a time that is no doubt, so that a second run need not read it again."""
    os.utime(file, (seconds, seconds))
    return file


def pack(workplace: Workplace, name: str, members: dict[str, bytes]) -> Path:
    """Make `data/NAME` of members."""
    file = workplace.folder / "data" / name
    file.parent.mkdir(exist_ok=True)
    packer_of(name)(file, members.items())
    return age(file)


def report(workplace: Workplace) -> dict[str, tuple[str, str | None]]:
    """Return the outcome and the reason of each file and member, by its path below `data`; each is reported once."""
    file = workplace.folder / "report.jsonl"
    workplace.run("index", "--report", str(file))
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    below = os.fsencode(os.path.realpath(workplace.folder / "data")) + b"/"
    paths = [os.fsdecode(base64.b64decode(line["path_b64"]).removeprefix(below)) for line in lines]
    assert len(paths) == len(set(paths))
    return {path: (line["outcome"], line["reason"]) for path, line in zip(paths, lines, strict=True)}
