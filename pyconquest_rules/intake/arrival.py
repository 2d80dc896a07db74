"""Check a received instance, store it at its path, and resolve conflicts with existing files."""

import errno
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISREG
from typing import TYPE_CHECKING

from pyconquest_rules.content import Stamp
from pyconquest_rules.disk.file import File
from pyconquest_rules.disk.older import kept_older
from pyconquest_rules.disk.placing import same_data_set
from pyconquest_rules.headers.header import Header
from pyconquest_rules.headers.notes import reason
from pyconquest_rules.headers.opening import Rejected
from pyconquest_rules.headers.written import written
from pyconquest_rules.index.store.places import Place
from pyconquest_rules.network.part10 import data_set_offset, file_meta_information
from pyconquest_rules.network.statuses import Status
from pyconquest_rules.network.syntaxes import DEFLATED, NotAsAgreed, real_syntax
from pyconquest_rules.paths import UnsafePath
from pyconquest_rules.templates import RenderError

if TYPE_CHECKING:
    from pyconquest_rules.intake.inbox import Inbox

BLOCK = 1 << 20

OCCUPIED = "another file has the path of its layout; a layout with {{ SOPInstanceUID }} gives each instance its own path"

FORGOTTEN = "its patient, study, series or the instance itself is forgotten (decisions.txt)"


@dataclass(frozen=True, slots=True)
class Received:
    """An instance that was received, stored and indexed."""

    SOPInstanceUID: str
    StudyInstanceUID: str


class _Refused(Exception):
    """An instance is not stored. It has the status to answer (PS3.4 B.2.3) and the reason."""

    def __init__(self, status: Status, why: str) -> None:
        super().__init__(why)
        self.status = status


class Part:
    """An instance that is being received. `reason` explains a refusal, `note` comments on a stored instance."""

    def __init__(self, inbox: "Inbox", path: Path, sop_class: str, sop_instance: str, syntax: str, calling_ae_title: str) -> None:
        self.inbox, self.path, self.duplicate, self.reason, self.note = inbox, path, False, "", ""
        self._sop_class, self._sop_instance, self._syntax, self._calling = sop_class, sop_instance, syntax, calling_ae_title
        self._file = open(path, "x+b", buffering=0)  # noqa: SIM115 - Inbox.part closes it

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Take the next bytes. Raises OSError."""
        view = memoryview(data)
        while view:
            view = view[self._file.write(view) :]

    def finish(self) -> int:
        """Sync the file, compare it with the request, give it its path without replacing, and index it. Return the status."""
        os.fsync(self._file.fileno())
        try:
            header = self._header()
            with self.inbox.alone(self._sop_instance):
                self._keep(header)
        except _Refused as refused:
            self.reason = str(refused)
            return refused.status
        return Status.SUCCESS

    def _header(self) -> Header:
        """Read the header. If the transfer syntax of the data set is another one, correct the file. Raises _Refused."""
        try:
            header = self.inbox.indexer.read(self.path)
            if (sop_class := header.values[self.inbox.class_at]) != self._sop_class:
                why = "the data set has another SOP class than the request" if sop_class else "the data set has no SOP class"
                raise _Refused(Status.DATA_SET_DOES_NOT_MATCH_SOP_CLASS, why)
            if header.SOPInstanceUID != self._sop_instance:
                raise _Refused(Status.CANNOT_UNDERSTAND, "the data set has another SOPInstanceUID than the request")
            descriptor = self._file.fileno()
            start, deflated = data_set_offset(descriptor), self._syntax == DEFLATED
            how = written(descriptor, start, deflated=deflated)
            real = real_syntax(self._syntax, how)
        except Rejected as rejected:
            raise _Refused(Status.CANNOT_UNDERSTAND, f"the data set cannot be read: {rejected.reason}") from None
        except (NotAsAgreed, EOFError) as error:
            raise _Refused(Status.CANNOT_UNDERSTAND, str(error) or "the data set ends too early") from None
        if real != self._syntax or (how.start != start and not deflated):
            self._rewrite(real, start if deflated else how.start)
        if header.notes:
            self._say(f"indexed with a note: {reason(header.notes)}")
        return header._replace(TransferSyntaxUID=real)

    def _rewrite(self, syntax: str, start: int) -> None:
        """Write the correct file meta information before the data set, which stays as received."""
        self.note = (
            f"stored as {syntax}, its real encoding; {self._syntax} was negotiated"
            if syntax != self._syntax
            else "the file meta information in its data set was left out"
        )
        with self._file as before, self.path.with_suffix(".rewritten.part").open("x+b", buffering=0) as anew:
            before.seek(start)
            self._file, self._syntax = anew, syntax
            os.replace(anew.name, self.path)
            self.write(file_meta_information(self._sop_class, self._sop_instance, syntax, self._calling))
            while block := before.read(BLOCK):
                self.write(block)
            os.fsync(anew.fileno())

    def _keep(self, header: Header) -> None:
        """Store and index the instance, unless it exists already. Raises _Refused, OSError."""
        if self.inbox.indexer.is_forgotten(header):
            raise _Refused(Status.NOT_AUTHORIZED, FORGOTTEN)
        known = self.inbox.indexer.known(self._sop_instance)
        if known is not None:
            if (there := _regular(known.path)) is not None:
                if self._is_same(known.source):
                    self._is_there(header, known, there)
                    return
                found = self._instance_in(known.source)
                if found == self._sop_instance:
                    self._conflict(header, known)
                    return
                if found is None and known.device == self.inbox.indexer.device and not known.is_packed:
                    self._supersede(header, known, "a file that cannot be read")
                    return
            self._say("its indexed file no longer exists")
        path = self._path(header)
        try:
            self.duplicate = self._place(header, path, known)
        except FileExistsError:
            self._conflict_at(header, path)

    def _is_there(self, header: Header, known: Place, there: os.stat_result) -> None:
        """Accept a duplicate: `known` has the same data set. Index it if a kill came before."""
        self.duplicate = True
        if not known.is_packed and (stamp := Stamp.of(there)) != known.file[1:]:
            file = File(known.file.path, *stamp)
            self.inbox.indexer.add(Place(known.device, known.root, file), header)

    def _instance_in(self, path: Path | bytes) -> str | None:
        """Return the SOPInstanceUID in a file or a member of an archive; None if it cannot be read as an instance."""
        try:
            return self.inbox.indexer.read(path).SOPInstanceUID
        except Rejected:
            return None

    def _path(self, header: Header) -> str:
        try:
            return self.inbox.path(header.values, self._syntax)
        except (RenderError, UnsafePath) as error:
            raise _Refused(Status.PROCESSING_FAILURE, f"its values give no valid path: {error}") from None

    def _place(self, header: Header, path: str, gone: Place | None, *, replace: bool = False, remove: bool = False) -> bool:
        """Give the file its path and index it. Return whether the same data set had the path.

        With `replace`, it replaces the file at `path`; with `remove`, the file at `gone` is deleted. Raises _Refused,
        FileExistsError, OSError.
        """
        try:
            same, file = self.inbox.places.put(self.path, path, replace=replace)
        except UnsafePath as error:
            raise _Refused(Status.PROCESSING_FAILURE, str(error)) from None
        if remove and gone is not None and gone.file.path != file.path:
            self.inbox.places.remove(gone.file.path)
        self.inbox.indexer.add(Place(self.inbox.indexer.device, self.inbox.root, file), header, gone)
        self.inbox.received(Received(self._sop_instance, str(header.values[self.inbox.study_at] or "")))
        return same

    def _conflict(self, header: Header, known: Place) -> None:
        """Resolve a conflict with another data set of this instance, at `known`: refuse this one, or supersede the other."""
        if not self.inbox.newest:
            raise _Refused(Status.DUPLICATE_SOP_INSTANCE, 'another data set of this instance exists (on_conflict = "refuse")')
        if known.is_packed:
            raise _Refused(Status.DUPLICATE_SOP_INSTANCE, "another data set of this instance exists in an archive")
        if known.device != self.inbox.indexer.device:
            raise _Refused(Status.DUPLICATE_SOP_INSTANCE, "another data set of this instance exists in another source")
        self._supersede(header, known, "an older data set")

    def _supersede(self, header: Header, known: Place, what: str) -> None:
        """Replace the file at `known`, which is kept in OLDER."""
        path = self._path(header)
        older = kept_older(self.inbox.root, self._sop_instance, known.path)
        try:
            self._place(header, path, known, replace=os.fsencode(path) == known.file.path, remove=True)
        except FileExistsError:
            raise _Refused(Status.PROCESSING_FAILURE, OCCUPIED) from None
        self._say(f"replaces {what}, which is kept as {older}")

    def _conflict_at(self, header: Header, path: str) -> None:
        """Resolve a conflict with an unindexed file at the path: another data set of this instance, or any other file."""
        place = self.inbox.root / path
        if self._instance_in(place) != self._sop_instance:
            raise _Refused(Status.PROCESSING_FAILURE, OCCUPIED)
        status = place.stat()
        file = File(os.fsencode(path), *Stamp.of(status))
        self._conflict(header, Place(self.inbox.indexer.device, self.inbox.root, file))

    def _is_same(self, there: bytes) -> bool:
        try:
            return same_data_set(self.path, there)
        except OSError as error:
            raise OSError(error.errno or errno.EIO, f"the existing file cannot be read: {error.strerror}") from None

    def _say(self, note: str) -> None:
        self.note = "; ".join(filter(None, (self.note, note)))

    def close(self) -> None:
        """Close and delete the temporary file."""
        self._file.close()
        with suppress(OSError):
            self.path.unlink()


def _regular(path: Path) -> os.stat_result | None:
    """Return the status of a file; None if it is missing or not a regular file. Raises OSError if it cannot be read."""
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return status if S_ISREG(status.st_mode) else None
