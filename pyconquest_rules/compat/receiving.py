"""Receive instances into the data directory."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from queue import SimpleQueue
from tempfile import TemporaryDirectory
from threading import Event, Thread

from pyconquest_rules.compat.database import Database
from pyconquest_rules.compat.indexing import SOURCE
from pyconquest_rules.intake.inbox import Inbox
from pyconquest_rules.intake.listening import GRACE
from pyconquest_rules.network.storage_scp import Listener, Listening
from pyconquest_rules.templates import Template

PATH_TEMPLATE = Template("{% if PatientID is defined %}{{ PatientID }}/{% endif %}{{ SOPInstanceUID }}.dcm", {})


def inbox(root: Path, database: Database, file: Path | None = None) -> Inbox:
    """Return the inbox of a data directory. It indexes into the database, or into another `file` with the same columns."""
    return Inbox(SOURCE, root, PATH_TEMPLATE, file or database.file, database.design.schema, lambda _: None)


@contextmanager
def receiving(root: Path, database: Database, listening: Listening, *, index: bool = True) -> Iterator[None]:
    """Receive into the data directory. Without `index`, the index is a temporary one. Raises ListenError."""
    with TemporaryDirectory() as folder, inbox(root, database, None if index else Path(folder) / "conquest.db") as opened:
        listener = Listener(listening, opened)
        listener.start()
        try:
            yield
        finally:
            listener.stop(GRACE)


class Background:
    """A listener that runs in a thread until `stop`."""

    def __init__(self, listener: AbstractContextManager[None]) -> None:
        """Start the listener and wait until it listens. Raises what the listener raises at its start."""
        self._stop = Event()
        started: SimpleQueue[BaseException | None] = SimpleQueue()

        def listen() -> None:
            try:
                with listener:
                    started.put(None)
                    self._stop.wait()
            except BaseException as error:  # noqa: BLE001 - raised in the thread of the script
                started.put(error)

        # A daemon, so that the script can end. Instances that were acknowledged are on the disk by then.
        self._thread = Thread(target=listen, daemon=True)
        self._thread.start()
        if error := started.get():
            raise error

    def stop(self) -> None:
        """Stop the listener and wait for its end."""
        self._stop.set()
        self._thread.join()
