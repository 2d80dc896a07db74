"""An inbox, and instances that it receives."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pyconquest_rules import app
from pyconquest_rules.intake.inbox import Inbox
from pyconquest_rules.network.part10 import data_set_offset, file_meta_information
from pyconquest_rules.network.syntaxes import EXPLICIT
from tests.conftest import Workplace
from tests.network.raw import CT

RULES = """
[sources.archive]
path = "archive"
layout = "{{ PatientID }}/{{ SOPInstanceUID }}.dcm"
"""


@contextmanager
def receiving(archive: Workplace, *, newest: bool = False) -> Iterator[Inbox]:
    rules = app.Rules.load(archive.folder / "rules.toml")
    where = archive.folder / "archive", rules.layouts["archive"], rules.database, rules.schema
    with Inbox("archive", *where, lambda _: None, newest=newest, order=rules.order) as inbox:
        yield inbox


def put(inbox: Inbox, uid: str, data: bytes, syntax: str = EXPLICIT) -> tuple[int, str, bool]:
    """Receive an instance. Return the status, the reason or note, and whether it was a duplicate."""
    about = CT, uid, syntax, "CLINIC"
    with inbox.part(*about) as part:
        part.write(file_meta_information(*about))
        part.write(data)
        status = part.finish()
        return status, part.reason or part.note, part.duplicate


def kept(file: Path) -> bytes:
    with file.open("rb") as opened:
        return file.read_bytes()[data_set_offset(opened.fileno()) :]


OLDER = ".pyconquest-rules-older/1.2.9/"
