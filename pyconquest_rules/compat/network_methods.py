"""Sending, receiving, and asking nodes."""

import logging
import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext
from operator import itemgetter
from pathlib import Path
from queue import SimpleQueue
from tempfile import TemporaryDirectory
from threading import Event, Thread
from typing import Any

from pyconquest_rules.compat.connection import Connection
from pyconquest_rules.compat.errors import NotSent
from pyconquest_rules.compat.files import instances
from pyconquest_rules.compat.indexing import SOURCE, at
from pyconquest_rules.content import Stamp, Verbatim
from pyconquest_rules.dicom import Level
from pyconquest_rules.errors import UsageError
from pyconquest_rules.headers.header import Wanted, read
from pyconquest_rules.headers.opening import Rejected
from pyconquest_rules.intake.inbox import Inbox
from pyconquest_rules.intake.listening import GRACE
from pyconquest_rules.kinds.retrieve.do import Identity, Retrieving, retrieved
from pyconquest_rules.kinds.retrieve.identities import identities
from pyconquest_rules.kinds.retrieve.receivers import MIN_FREE, by_move
from pyconquest_rules.kinds.retrieve.rule import retrieve_wishes
from pyconquest_rules.kinds.send.do import Sending, transferred
from pyconquest_rules.network.keys import UNIQUE
from pyconquest_rules.network.node import Node, NodeError
from pyconquest_rules.network.query_retrieve import find
from pyconquest_rules.network.storage_scp import Listener, Listening
from pyconquest_rules.network.storing import About, kept
from pyconquest_rules.steps import Reason, RetrieveInstance, SendInstance, Status, Step
from pyconquest_rules.templates import Template

log = logging.getLogger("pyconquest")

LAYOUT = Template("{% if PatientID is defined %}{{ PatientID }}/{% endif %}{{ SOPInstanceUID }}.dcm", {})
EVERYWHERE = "0.0.0.0"  # noqa: S104 - scripts of pyconquest have no way to say where to listen
# The least that may be asked for: shorter words would ask for half of an archive.
LEAST = 4
# What `query_dicom` gives of a series, beside what may be asked for.
RETURNED = (
    *("SOPClassesInStudy", "StudyTime", "SeriesDate", "SeriesTime", "SeriesDescription", "StudyDescription"),
    *("PatientBirthDate", "StudyID", "FrameOfReferenceUID"),
)


class NetworkMethods(Connection):
    """The part of `pyconquest` that speaks DICOM."""

    _stop: Event | None = None
    _listening: Thread | None = None

    def send_dicom(
        self,
        addres: str = "127.0.0.1",
        port: int = 5678,
        patientid: str = "",
        seriesuid: str = "",
        query: str = "",
        ae_title: str | bytes = b"PYNETDICOM",
        sending_ae_title: str | bytes = b"pyconquest",
    ) -> None:
        """Sends the files of a patient, of a series, or of the rows of a query, which gives SeriesInst or ObjectFile.

        Raises NotSent where the node does not have all of them then.
        """
        found: dict[str, bytes] = {}
        for level, key in self._wanted(patientid, seriesuid, query):
            found |= {instance.SOPInstanceUID: instance.whole for instance in instances(self.conn_pacs, self._root(), level, key)}
        _send(_node(addres, port, ae_title, sending_ae_title), found)

    def _wanted(self, patientid: str, seriesuid: str, query: str) -> Iterator[tuple[str, str]]:
        """The keys of what is to be sent, each with its keyword."""
        if patientid or seriesuid:
            yield ("PatientID", patientid) if patientid else ("SeriesInstanceUID", seriesuid)
            return
        if not query:
            raise UsageError("send_dicom needs a patientid, a seriesuid or a query")
        rows = self.execute_db_query(query)
        if rows is None:
            raise UsageError("the query of send_dicom failed; the log says why")
        for row in rows:
            values = {name.lower(): value for name, value in row.items()}
            if "seriesinst" in values:
                yield "SeriesInstanceUID", values["seriesinst"]
            elif "objectfile" in values:
                yield "ObjectFile", values["objectfile"]
            else:
                raise UsageError("the query of send_dicom must give SeriesInst or ObjectFile")

    def send_dicom_file(
        self,
        addres: str,
        port: int,
        filename_list: str | Iterable[str],
        aetitle: str | bytes = b"PYNETDICOM",
        sending_ae_title: str | bytes = b"pyconquest",
    ) -> None:
        """Sends files, or one file. Raises NotSent where the node does not have all of them then."""
        names = [filename_list] if isinstance(filename_list, str) else [*filename_list]
        found, unfit = dict[str, bytes](), 0
        for name in names:
            try:
                found[read(name, Wanted(())).SOPInstanceUID] = os.fsencode(name)
            except Rejected as rejected:
                log.error("a file is no instance that can be sent: %s", rejected)
                unfit += 1
        _send(_node(addres, port, aetitle, sending_ae_title), found, unfit)

    def start_dicom_listener(self, port: int = 5678, write_to_database: bool = True, block: bool = True) -> None:
        """Receives into the data directory, in a folder for each patient, until Ctrl-C; on every address of this machine.

        With `block=False` it goes on beside the script, until `close_db()` or the end of the script.
        Raises ListenError where the port cannot be listened on.
        """
        self._ready_to_write()
        if block:
            with self._receiving(EVERYWHERE, port, "", index=write_to_database):
                log.info("listening on port %d", port)
                Event().wait()  # until Ctrl-C
            return
        self._stop_listening()
        begun: SimpleQueue[BaseException | None] = SimpleQueue()
        stop = self._stop = Event()

        def listen() -> None:
            try:
                with self._receiving(EVERYWHERE, port, "", index=write_to_database):
                    begun.put(None)
                    stop.wait()
            except BaseException as error:  # noqa: BLE001 - told to who waits for it
                begun.put(error)

        # Its threads are daemons too, so that the script can end. What was answered with success is on the disk by then.
        self._listening = Thread(target=listen, daemon=True)
        self._listening.start()
        if error := begun.get():
            raise error

    def close_db(self) -> None:
        """Stops what still listens, and closes the database."""
        self._stop_listening()
        super().close_db()

    def _stop_listening(self) -> None:
        if self._stop is not None and self._listening is not None:
            self._stop.set()
            self._listening.join()
            self._stop = self._listening = None

    def handle_dicom_store_request(self, event: Any) -> int:
        """Keeps the instance of a C-STORE request of pynetdicom (EVT_C_STORE), and gives the status to answer."""
        self._ready_to_write()
        request = event.request
        about = About(
            str(request.AffectedSOPClassUID),
            str(request.AffectedSOPInstanceUID),
            str(event.context.transfer_syntax),
            str(event.assoc.requestor.ae_title).strip(),
        )
        with self._inbox(self._opened().file) as inbox:
            return kept(inbox, about, iter([request.DataSet.getvalue()]), min_free=MIN_FREE).status

    def query_dicom(
        self,
        addres: str = "127.0.0.1",
        port: int = 5678,
        ae_title: str = "",
        patientid: str = "",
        modality: str = "",
        studyuid: str = "",
        studydate: str = "",
        seriesuid: str = "",
        sending_ae_title: str | bytes = b"PYCONQUEST",
    ) -> list[dict[str, str]]:
        """The series of a node that match, as dicts of text by keyword. Raises NodeError where it does not answer well."""
        asked = {
            "PatientID": str(patientid),
            "StudyInstanceUID": studyuid,
            "SeriesInstanceUID": seriesuid,
            "Modality": modality,
            "StudyDate": studydate,
        }
        return _matches(_node(addres, port, ae_title, sending_ae_title), Level.SERIES, asked, RETURNED)

    def get_dicom(
        self,
        addres: str = "127.0.0.1",
        port: int = 5678,
        ae_title: str = "",
        patientid: str = "",
        modality: str = "",
        series_uid: str = "",
        sop_instance_uid: str = "",
        receiving_ae_title: str = "PYCONQUEST",
        receiving_ip: str = "",
        receiving_port_number: int = 5699,
        requesting_ae_title: str = "PYCONQUEST",
        association_timeout: int = 60,
        sending_to_my_own_scp: bool = True,
        unrestricted_storage: bool = True,
        force_transfer: bool = False,
    ) -> str | None:
        """Has a node move what matches, and is not here yet, to this machine, and receives it; gives what went wrong, or None.

        `unrestricted_storage` and `force_transfer` change nothing: what is here has come whole, and is not replaced.
        """
        asked = {
            "PatientID": str(patientid),
            "Modality": modality,
            "SeriesInstanceUID": series_uid,
            "SOPInstanceUID": sop_instance_uid,
        }
        if all(len(asked[key]) < LEAST for key in ("PatientID", "SeriesInstanceUID", "SOPInstanceUID")):
            log.error("a patientid, series_uid or sop_instance_uid of at least %d letters is needed; nothing is asked for", LEAST)
            return None
        node = _node(addres, port, ae_title, requesting_ae_title, association_timeout)
        match = {keyword: value for keyword, value in asked.items() if value}
        try:
            steps = self._missing(node, match)
        except NodeError as error:
            log.error("%s", error)
            return str(error)
        if sending_to_my_own_scp:
            self._ready_to_write()
        receiver = (
            self._receiving(receiving_ip or EVERYWHERE, receiving_port_number, receiving_ae_title)
            if sending_to_my_own_scp
            else nullcontext()
        )
        whole = not sop_instance_uid
        retrieving = Retrieving(node, _Index(self), lambda stop: by_move(node, receiver, receiving_ae_title, stop), whole)
        failed = [outcome for some in retrieved(iter(steps), retrieving, lambda: False) for outcome in some if outcome.message]
        for outcome in failed:
            log.error("%s did not come: %s", outcome.step.SOPInstanceUID, outcome.message)
        return f"{len(failed)} of {len(steps)} instances did not come: {failed[0].message}" if failed else None

    def _missing(self, node: Node, match: dict[str, str]) -> list[Step]:
        """What a node has that matches, and is not in the index, as steps that bring it. Raises NodeError."""
        index = _Index(self)
        matches = sorted(_matches(node, Level.IMAGE, match, ["SOPClassUID"]), key=itemgetter(*UNIQUE[Level.IMAGE][:-1]))
        wishes = [wish for wish in retrieve_wishes(matches, index.sizes) if wish.reason is None]
        return [
            _step(number, wish.SOPInstanceUID, RetrieveInstance(node.identity, wish.series, SOURCE))
            for number, wish in enumerate(wishes)
            if wish.series is not None
        ]

    def _ready_to_write(self) -> None:
        """Brings the columns of the index up to date, and tells it where the data directory is now, which is made."""
        self._root().mkdir(parents=True, exist_ok=True)
        with self._writing() as store:
            at(store, self._root())

    def _inbox(self, database: Path) -> Inbox:
        return Inbox(SOURCE, self._root(), LAYOUT, database, self._opened().design.schema, lambda _: None)

    @contextmanager
    def _receiving(self, host: str, port: int, ae_title: str, *, index: bool = True) -> Iterator[None]:
        """Receives into the data directory; without `index` only into an index that is gone at the end."""
        with TemporaryDirectory() as folder:
            database = self._opened().file if index else Path(folder) / "conquest.db"
            with self._inbox(database) as inbox:
                listener = Listener(Listening(ae_title=ae_title, host=host, port=port), inbox)
                listener.start()
                try:
                    yield
                finally:
                    listener.stop(GRACE)


class _Index:
    """The index of a script, as a retrieval asks of it."""

    def __init__(self, script: Connection) -> None:
        self._script = script

    def sizes(self, uids: Collection[str]) -> dict[str, int]:
        """Of SOPInstanceUIDs those that it has, with the sizes of their files."""
        query = "SELECT FileSize FROM images WHERE SOPInstanceUID = ?"
        found = ((uid, self._script.conn_pacs.execute(query, (uid,)).fetchone()) for uid in uids)
        return {uid: int(row[0]) for uid, row in found if row}

    def identities(self, uids: Collection[str]) -> dict[str, Identity]:
        """What the files of instances say of them, as far as they are indexed and can be read."""
        return identities(self._script.conn_pacs, uids)

    def has_series(self, uid: str) -> bool:
        """Whether it has anything of a series."""
        query = "SELECT 1 FROM images WHERE SeriesInstanceUID = ?"
        return self._script.conn_pacs.execute(query, (uid,)).fetchone() is not None


def _matches(node: Node, level: Level, match: dict[str, str], return_keys: Sequence[str]) -> list[dict[str, str]]:
    """What a node has, by the one relational query of pyconquest; level by level if the node refuses that or leaves out UIDs.

    Raises NodeError if the node does not answer well.
    """
    skipped: list[None] = []
    try:
        with closing(find(node, level, match, return_keys, relational=True, skipped=lambda: skipped.append(None))) as found:
            matches = [*found]
        if not skipped and all(each[keyword] for each in matches for keyword in UNIQUE[level]):
            return matches
    except NodeError as error:
        if error.retry:
            raise
    with closing(find(node, level, match, return_keys)) as found:
        return [*found]


def _node(host: str, port: int, ae_title: str | bytes, calling: str | bytes, timeout: float = 60.0) -> Node:
    titles = [title.decode("ascii") if isinstance(title, bytes) else title for title in (ae_title, calling)]
    return Node("of the script", titles[0], host, port, titles[1], acse_timeout=timeout, dimse_timeout=timeout)


def _step(number: int, uid: str, operation: SendInstance | RetrieveInstance) -> Step:
    return Step(number, "pyconquest", uid, Status.TODO, Reason.NEW, None, "", operation)


def _send(node: Node, files: dict[str, bytes], unfit: int = 0) -> None:
    """Sends files, given by SOPInstanceUID. Raises NotSent where the node does not have all of them, or some were unfit."""
    steps = (
        _step(number, uid, SendInstance(Verbatim(path, _stamp(path)), node.identity, sent=False))
        for number, (uid, path) in enumerate(files.items())
    )
    failed = unfit
    for answers in transferred(steps, Sending(node), lambda: False):
        for step, sent in answers:
            if sent.stored:
                log.info("%s was sent: 0x%04X", step.SOPInstanceUID, sent.status or 0)
            else:
                log.error("%s was not sent: %s", step.SOPInstanceUID, sent.message)
                failed += 1
    if failed:
        raise NotSent(failed, len(files) + unfit)


def _stamp(path: bytes) -> Stamp:
    try:
        status = os.stat(path)
    except OSError:
        return Stamp(0, 0)  # whoever opens it says what is wrong
    return Stamp.of(status)
