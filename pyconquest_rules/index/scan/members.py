"""Reading the members of archives, each archive once and in its order."""

from collections.abc import Generator, Iterator
from dataclasses import dataclass

from pyconquest_rules.archives.archive import Archive
from pyconquest_rules.archives.flaws import Flaw, Flawed, NotAnArchive
from pyconquest_rules.archives.members import Member
from pyconquest_rules.archives.names import DEEPEST, below, by_number, is_archive
from pyconquest_rules.content import Stamp
from pyconquest_rules.disk.file import File
from pyconquest_rules.headers.header import Spoiled, reader
from pyconquest_rules.headers.opening import Reason, Rejected
from pyconquest_rules.index.scan.chunks import with_digest
from pyconquest_rules.index.store.contest import Outcome
from pyconquest_rules.index.store.records import Record, Records

ARCHIVE = Outcome("skipped", "archive")
"""The outcome of an archive that was read to its end: its members are files of their own."""

NAMELESS = (Flaw.UNSAFE_NAME, Flaw.DOUBLED)
"""The flaws of members that are named by their numbers."""

REFUSED = frozenset(Flaw) - {Flaw.NOT_REGULAR}

Found = tuple[File, Record | Outcome]


def members_of(root: bytes, file: File, makes: Records) -> Iterator[Found]:
    """Yield every member of an archive, those of archives in it too, and last the archive itself.

    `root` ends with a slash. The members have the mtime of the archive. An archive with a flawed member is rejected for that
    flaw, and one without any DICOM file as a file that is not DICOM; its other members are files of the index all the same.
    """
    flaw, has_dicom = None, False
    try:
        with Archive(root + file.path) as archive:
            if Stamp.of(archive.status()) != file[1:]:
                outcome = _refused(Reason.UNREADABLE)  # the next run reads it again
            else:
                for member, record in _Reading(archive, root, file.mtime_ns, makes).found(file.path, archive.members()):
                    reason = record.reason if isinstance(record, Outcome) else None
                    flaw = reason if flaw is None and reason in REFUSED else flaw
                    has_dicom = has_dicom or reason not in (Reason.NOT_DICOM, Flaw.NOT_REGULAR)
                    yield member, record
                outcome = _refused(flaw) if flaw else ARCHIVE if has_dicom else _refused(Reason.NOT_DICOM)
    except NotAnArchive:
        outcome = _refused(Reason.NOT_DICOM)
    except Flawed as flawed:
        outcome = _refused(flawed.flaw)
    except OSError:
        outcome = _refused(Reason.UNREADABLE)
    yield file, outcome


@dataclass(frozen=True, slots=True)
class _Reading:
    archive: Archive
    root: bytes
    mtime_ns: int
    makes: Records

    def found(self, path: bytes, members: Iterator[Member], depth: int = 1) -> Iterator[Found]:
        """Yield the members of the archive at `path`, in its order. Raises Flawed, NotAnArchive, OSError."""
        for number, member in enumerate(members, 1):
            name = by_number(path, number) if member.flaw in NAMELESS else below(path, member.name)
            file = File(name, member.size, self.mtime_ns)
            record = self._record(file, member)
            if is_archive(member.name) and record == _refused(Reason.NOT_DICOM):
                record = yield from self._inner(name, member, depth)
            yield file, record

    def _inner(self, path: bytes, member: Member, depth: int) -> Generator[Found, None, Outcome]:
        """Yield the members of an archive that is a member itself, and return its outcome."""
        if depth == DEEPEST:
            return _refused(Flaw.TOO_DEEP)
        try:
            yield from self.found(path, self.archive.members_of(member, member.bytes()), depth + 1)
        except NotAnArchive:
            return _refused(Reason.NOT_DICOM)
        except Flawed as flawed:
            if flawed.flaw is Flaw.BOMB:
                raise
            return _refused(flawed.flaw)
        return ARCHIVE

    def _record(self, file: File, member: Member) -> Record | Outcome:
        """Read the header of a member. Raises Flawed if that exceeds the budget of the archive."""
        if member.flaw is not None:
            return _refused(member.flaw)
        wanted = self.makes.wanted
        try:
            data = member.bytes()
            header = reader(wanted).read_member(data, member.size)
            if member.shared and not data.at(member.size - 1, 1):  # it may be cut off behind its header
                return _refused(Flaw.DAMAGED)
        except Spoiled as spoiled:
            if spoiled.flaw is Flaw.BOMB:
                raise Flawed(Flaw.BOMB) from None
            return _refused(spoiled.flaw)
        except Rejected as rejected:
            return _refused(rejected.reason)
        return self.makes.record(with_digest(header, self.root + file.path, wanted))


def _refused(reason: str) -> Outcome:
    """Return the outcome of a file that is not indexed. Links, pipes and devices are none of ours, as in a folder."""
    return Outcome("skipped" if reason == Flaw.NOT_REGULAR else "rejected", str(reason))
