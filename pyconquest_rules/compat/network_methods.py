"""The methods that speak DICOM: send, receive, query, retrieve."""

import logging
import os
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from threading import Event
from typing import Any

from pyconquest_rules.compat.connection import Connection
from pyconquest_rules.compat.files import instances
from pyconquest_rules.compat.indexing import at
from pyconquest_rules.compat.nodes import node_at
from pyconquest_rules.compat.receiving import Background, inbox, receiving
from pyconquest_rules.compat.retrieving import ScriptIndex, matches, missing
from pyconquest_rules.compat.sending import send
from pyconquest_rules.dicom import Level
from pyconquest_rules.errors import UsageError
from pyconquest_rules.headers.header import Wanted, read
from pyconquest_rules.headers.opening import Rejected
from pyconquest_rules.kinds.retrieve.do import Retrieving, retrieved
from pyconquest_rules.kinds.retrieve.receivers import MIN_FREE, by_move
from pyconquest_rules.network.node import NodeError
from pyconquest_rules.network.storage_scp import Listening
from pyconquest_rules.network.storing import About, kept

log = logging.getLogger("pyconquest")

EVERYWHERE = "0.0.0.0"  # noqa: S104 - pyconquest has no parameter for the address
SHORTEST_KEY = 4
"""Characters of the shortest key of `get_dicom`. A shorter wild card would match half an archive."""
RETURNED = (
    *("SOPClassesInStudy", "StudyTime", "SeriesDate", "SeriesTime", "SeriesDescription", "StudyDescription"),
    *("PatientBirthDate", "StudyID", "FrameOfReferenceUID"),
)
"""The return keys of `query_dicom`."""


class NetworkMethods(Connection):
    """The part of `pyconquest` that speaks DICOM."""

    _listener: Background | None = None

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
        """Send the files of a patient, of a series, or of the rows of a query, which returns SeriesInst or ObjectFile.

        Raises NotSent if the node did not store all of them.
        """
        found: dict[str, bytes] = {}
        for keyword, value in self._selected(patientid, seriesuid, query):
            selected = instances(self.conn_pacs, self._root(), keyword, value)
            found |= {instance.SOPInstanceUID: instance.absolute for instance in selected}
        send(node_at(addres, port, ae_title, sending_ae_title), found)

    def _selected(self, patientid: str, seriesuid: str, query: str) -> Iterator[tuple[str, str]]:
        """Yield the keyword and the value of each selection of files to send."""
        if patientid or seriesuid:
            yield ("PatientID", patientid) if patientid else ("SeriesInstanceUID", seriesuid)
            return
        if not query:
            raise UsageError("send_dicom needs a patientid, a seriesuid or a query")
        rows = self.execute_db_query(query)
        if rows is None:
            raise UsageError("the query of send_dicom failed; see the log")
        for row in rows:
            values = {name.lower(): value for name, value in row.items()}
            if "seriesinst" in values:
                yield "SeriesInstanceUID", values["seriesinst"]
            elif "objectfile" in values:
                yield "ObjectFile", values["objectfile"]
            else:
                raise UsageError("the query of send_dicom must return SeriesInst or ObjectFile")

    def send_dicom_file(
        self,
        addres: str,
        port: int,
        filename_list: str | Iterable[str],
        aetitle: str | bytes = b"PYNETDICOM",
        sending_ae_title: str | bytes = b"pyconquest",
    ) -> None:
        """Send one or more files. Raises NotSent if a file is invalid or the node did not store all of them."""
        names = [filename_list] if isinstance(filename_list, str) else [*filename_list]
        found, invalid = dict[str, bytes](), 0
        for name in names:
            try:
                found[read(name, Wanted(())).SOPInstanceUID] = os.fsencode(name)
            except Rejected as rejected:
                log.error("not a DICOM instance that can be sent: %s", rejected)
                invalid += 1
        send(node_at(addres, port, aetitle, sending_ae_title), found, invalid)

    def start_dicom_listener(self, port: int = 5678, write_to_database: bool = True, block: bool = True) -> None:
        """Listen on every address of this machine and store instances in the data directory, one folder for each patient.

        It runs until Ctrl-C. With `block=False` it runs in the background until `close_db()` or the end of the script. Raises
        ListenError if it cannot listen on the port.
        """
        self._ready_to_write()
        if block:
            with self._receiving(EVERYWHERE, port, "", index=write_to_database):
                log.info("listening on port %d", port)
                Event().wait()  # until Ctrl-C
            return
        self._stop_listening()
        self._listener = Background(self._receiving(EVERYWHERE, port, "", index=write_to_database))

    def close_db(self) -> None:
        """Stop the listener and close the database."""
        self._stop_listening()
        super().close_db()

    def _stop_listening(self) -> None:
        if self._listener is not None:
            self._listener.stop()
            self._listener = None

    def handle_dicom_store_request(self, event: Any) -> int:
        """Store the instance of a C-STORE request of pynetdicom (EVT_C_STORE). Return the status to answer."""
        self._ready_to_write()
        request = event.request
        about = About(
            str(request.AffectedSOPClassUID),
            str(request.AffectedSOPInstanceUID),
            str(event.context.transfer_syntax),
            str(event.assoc.requestor.ae_title).strip(),
        )
        with inbox(self._root(), self._opened()) as opened:
            return kept(opened, about, iter([request.DataSet.getvalue()]), min_free=MIN_FREE).status

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
        """Return the matching series of a node, as dicts of text by keyword. Raises NodeError if the query fails."""
        asked = {
            "PatientID": str(patientid),
            "StudyInstanceUID": studyuid,
            "SeriesInstanceUID": seriesuid,
            "Modality": modality,
            "StudyDate": studydate,
        }
        return matches(node_at(addres, port, ae_title, sending_ae_title), Level.SERIES, asked, RETURNED)

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
        """Retrieve matching instances that the index lacks, by C-MOVE to this machine. Return an error message, or None.

        `unrestricted_storage` and `force_transfer` have no effect: existing files are complete and are never replaced.
        """
        asked = {
            "PatientID": str(patientid),
            "Modality": modality,
            "SeriesInstanceUID": series_uid,
            "SOPInstanceUID": sop_instance_uid,
        }
        if all(len(asked[key]) < SHORTEST_KEY for key in ("PatientID", "SeriesInstanceUID", "SOPInstanceUID")):
            log.error(
                "nothing retrieved: patientid, series_uid or sop_instance_uid must have at least %d characters", SHORTEST_KEY
            )
            return None
        node, index = node_at(addres, port, ae_title, requesting_ae_title, association_timeout), ScriptIndex(self)
        match = {keyword: value for keyword, value in asked.items() if value}
        try:
            steps = missing(index, node, match)
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
        retrieving = Retrieving(node, index, lambda stop: by_move(node, receiver, receiving_ae_title, stop), whole)
        failed = [outcome for some in retrieved(iter(steps), retrieving, lambda: False) for outcome in some if outcome.message]
        for outcome in failed:
            log.error("%s was not retrieved: %s", outcome.step.SOPInstanceUID, outcome.message)
        return f"{len(failed)} of {len(steps)} instances were not retrieved: {failed[0].message}" if failed else None

    def _ready_to_write(self) -> None:
        """Create the data directory, update the columns of the index, and record where the data directory is."""
        self._root().mkdir(parents=True, exist_ok=True)
        with self._writing() as store:
            at(store, self._root())

    def _receiving(self, host: str, port: int, ae_title: str, *, index: bool = True) -> AbstractContextManager[None]:
        return receiving(self._root(), self._opened(), Listening(ae_title=ae_title, host=host, port=port), index=index)
