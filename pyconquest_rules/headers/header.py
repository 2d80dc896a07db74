"""The header of a DICOM file: whether it is an instance that can be indexed, and the texts of wanted elements.

No file can raise anything but `Rejected`, and that error has no text of the file. Only this module and the modules that it uses
read bytes of foreign files.
"""

import os
import re
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

from pyconquest_rules.archives.blocks import Bytes
from pyconquest_rules.archives.flaws import Flaw, Flawed
from pyconquest_rules.dicom import TagPath, Value, unpadded
from pyconquest_rules.headers.dataset import DIRECTORY_RECORDS, DataSet
from pyconquest_rules.headers.dialect import Odd
from pyconquest_rules.headers.elements import WINDOW, MemberWindow, TooMany, Window
from pyconquest_rules.headers.layouts import Found, Layouts
from pyconquest_rules.headers.notes import Note
from pyconquest_rules.headers.opening import Opened, Reason, Rejected, data_set, opened, text_of_uid
from pyconquest_rules.headers.pointers import MODALITY, Pointer, Pointing, pointers
from pyconquest_rules.headers.scanning import encoding
from pyconquest_rules.headers.stepping import every

SOP_CLASS, SOP_INSTANCE = 0x00080016, 0x00080018
DIRECTORY = "1.2.840.10008.1.3.10"

# Wider than PS3.5 9.1: some de-identification tools write UUIDs as UIDs, and some writers make UIDs too long.
UID = re.compile(r"(?=.*[0-9])[0-9A-Fa-f][0-9A-Fa-f.-]{0,127}")

LONGEST_UID = 64
"""The length of a UID by PS3.5 9.1. Longer ones are read and noted."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """The elements to read, in any order, and whether to compute a digest of the content of RT objects.

    With `pointing`, which needs the modality among `paths`, references to instances are read too. It can be pickled for worker
    processes.
    """

    paths: tuple[TagPath, ...]
    content: bool = False
    pointing: Pointing | None = None
    tags: frozenset[int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "tags", frozenset({SOP_CLASS, SOP_INSTANCE}).union(*(path.tags for path in self.paths)))


class Header(NamedTuple):
    """The header of an instance. `values` has a text or None for each wanted path, in the same order.

    A path over all items of a sequence has a tuple with a text or None for each item; None if there is no sequence. `notes` are
    the oddities of the file, each of which may have lost a value. `pointers` are the referenced instances.
    """

    SOPInstanceUID: str
    TransferSyntaxUID: str | None
    values: tuple[Value, ...]
    content: str | None = None
    notes: tuple[Note, ...] = ()
    pointers: tuple[Pointer, ...] = ()


class Spoiled(Rejected):
    """A member cannot be read from its archive, because of a flaw."""

    def __init__(self, flaw: Flaw) -> None:
        super().__init__(Reason.UNREADABLE)
        self.flaw = flaw


class Reader:
    """Reads the headers of many files. It remembers parts of earlier files, which saves time and never changes a value."""

    def __init__(self, wanted: Wanted) -> None:
        self.wanted = wanted
        self._layouts = Layouts(wanted.paths, wanted.tags, (SOP_CLASS, SOP_INSTANCE))
        self._modality_at = wanted.paths.index(MODALITY) if wanted.pointing else 0

    def read(self, path: str | os.PathLike[str] | bytes) -> Header:
        """Return the header of the file at `path`, with the wanted values as `values.text` returns them.

        The SOPInstanceUID comes from the data set, not from the file meta information (PS3.10 7.1). The content of a file
        decides whether it is DICOM: it has `DICM` after 128 bytes, or a SOP Class UID and a SOP Instance UID. Elements after
        the pixel data are not read.

        Raises Rejected, and nothing else, if `path` is not a regular file or cannot be read, is not DICOM, is truncated (also
        within the pixel data), violates the encoding of PS3.5, is a DICOMDIR, or has no SOP Instance UID of 1 to 128
        hexadecimal digits, dots and dashes.
        """
        try:
            # O_NONBLOCK: opening a FIFO would wait for a writer.
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except (OSError, ValueError) as error:
            reason = _reason(error)
        else:
            try:
                return self.read_open(descriptor)
            finally:
                os.close(descriptor)
        # Raised outside the handler, so that its context is not an error whose text may have values of the file.
        raise Rejected(reason)

    def read_open(self, descriptor: int) -> Header:
        """Return the header of an open file as `read` does, wherever its position is, which stays. Raises Rejected."""
        try:
            return self._header(opened(descriptor))
        except Exception as error:  # noqa: BLE001  no foreign file may end the run
            reason = _reason(error)
        raise Rejected(reason)

    def read_member(self, data: Bytes, size: int) -> Header:
        """Return the header of a member of an archive, of `size` bytes. Only what is needed of it is read.

        Raises Rejected as `read` does, and Spoiled.
        """
        try:
            return self._header(data_set(MemberWindow(data, size)))
        except Flawed as flawed:
            rejected: Rejected = Spoiled(flawed.flaw)
        except Exception as error:  # noqa: BLE001  no foreign file may end the run
            rejected = Rejected(_reason(error))
        raise rejected

    def _header(self, of: Opened) -> Header:
        window, start, sop_class, syntax, bare, _ = of
        found = self._found(window, start, bare=bare)
        if found.ended_at == DIRECTORY_RECORDS or DIRECTORY in (sop_class, found.SOPClassUID):
            raise Rejected(Reason.DICOMDIR)
        uid = found.SOPInstanceUID
        valid = uid is not None and UID.fullmatch(uid)
        if bare and not (valid and found.SOPClassUID):
            raise Rejected(Reason.NOT_DICOM)
        if not uid or not valid:
            raise Rejected(Reason.BAD_SOP_INSTANCE_UID if uid else Reason.NO_SOP_INSTANCE_UID)
        named = self._pointers(window, start, found)
        notes = {*window.notes, Note.LONG_UID} if len(uid) > LONGEST_UID else window.notes
        return Header(uid, syntax if UID.fullmatch(syntax) else None, found.values, notes=_sorted(notes), pointers=named)

    def _pointers(self, window: Window, start: int, found: Found) -> tuple[Pointer, ...]:
        """Return the references if they are wanted. This is a second pass, for few files, so that others do not pay for it."""
        pointing, modality = self.wanted.pointing, found.values[self._modality_at] if found.values else None
        if pointing is None or not isinstance(modality, str) or unpadded(modality) not in pointing.modalities:
            return ()
        window.renew()
        dataset = DataSet.read(window, start, encoding(window, start), pointing.tags)
        return pointers(dataset, pointing.places)

    def _found(self, window: Window, start: int, *, bare: bool) -> Found:
        of_meta = _sorted(window.notes)
        if not (bare or of_meta):
            with suppress(Odd, EOFError):
                return self._layouts.read(window, start)
        window.notes.intersection_update(of_meta)
        window.renew()
        dataset = DataSet.read(window, start, encoding(window, start), self.wanted.tags)
        values = tuple(map(dataset.found, self.wanted.paths))
        return Found(values, text_of_uid(dataset.value(SOP_CLASS)), text_of_uid(dataset.value(SOP_INSTANCE)), dataset.ended_at)


@lru_cache(4)
def reader(wanted: Wanted) -> Reader:
    """Return the Reader of this process for these elements. Sharing it is faster, because it remembers earlier files."""
    return Reader(wanted)


def read(path: str | os.PathLike[str] | bytes, wanted: Wanted) -> Header:
    """Return the header of one file as `Reader.read` does. Raises Rejected."""
    return reader(wanted).read(path)


def check_elements(descriptor: int, most: int) -> None:
    """Raise TooMany if an open file has more than `most` elements, including nested ones."""
    window, start, *_ = opened(descriptor)
    if start > WINDOW:  # file meta information with hundreds of elements
        raise TooMany
    every(window, start, *encoding(window, start)[:2], most)


def _reason(error: Exception) -> Reason:
    match error:
        case Rejected():
            return error.reason
        case OSError():
            return Reason.UNREADABLE
        case EOFError():
            return Reason.TRUNCATED
        case MemoryError() | TooMany():
            return Reason.TOO_LARGE
        case _:
            return Reason.MALFORMED


def _sorted(notes: set[Note]) -> tuple[Note, ...]:
    return tuple(sorted(notes)) if notes else ()
