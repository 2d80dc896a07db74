"""Create the executor of an action that retrieves."""

from collections.abc import Callable, Collection
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pyconquest_rules.dicom import Level
from pyconquest_rules.kinds.retrieve.do import Ask, Identity, Retrieving
from pyconquest_rules.kinds.retrieve.identities import identities
from pyconquest_rules.kinds.retrieve.rule import By, Retrieve

if TYPE_CHECKING:
    from pyconquest_rules.index.query.selection import Sets
    from pyconquest_rules.kinds.kind import Running
    from pyconquest_rules.rules.rules import Rules


@dataclass(frozen=True, slots=True)
class _Index:
    """The index for a retrieval. Each query opens it again, and so sees instances that arrived meanwhile."""

    opened: "Callable[[], AbstractContextManager[Sets]]"

    def sizes(self, uids: Collection[str]) -> dict[str, int]:
        """Return the file sizes of the instances that are in the index, by SOPInstanceUID."""
        with self.opened() as sets:
            return dict(sets.known(uids, "SOPInstanceUID", "FileSize"))

    def identities(self, uids: Collection[str]) -> dict[str, Identity]:
        """Return the identities of instances, from those of their files that are indexed and readable."""
        with self.opened() as sets:
            return identities(sets.connection, uids)

    def has_series(self, uid: str) -> bool:
        """Return whether the index has an instance of a series."""
        with self.opened() as sets:
            return sets.connection.execute("SELECT 1 FROM images WHERE SeriesInstanceUID = ?", (uid,)).fetchone() is not None


def retrieving(retrieve: Retrieve, running: "Running") -> Retrieving:
    """Return the executor of an action."""
    whole = retrieve.level is not Level.IMAGE
    node = running.rules.nodes[retrieve.node]
    return Retrieving(node, _Index(running.opened), _receiver(retrieve, running.rules), whole)


def _receiver(retrieve: Retrieve, rules: "Rules") -> Callable[[Callable[[], bool]], AbstractContextManager[Ask]]:
    """Return how the instances of an action are received."""

    def receiver(stop: Callable[[], bool]) -> AbstractContextManager[Ask]:
        from pyconquest_rules.intake.inbox import Inbox
        from pyconquest_rules.intake.listening import Listening
        from pyconquest_rules.kinds.retrieve.receivers import by_get, by_move

        node, where = rules.nodes[retrieve.node], rules.where(retrieve.into)
        if retrieve.by is By.MOVE and retrieve.listener is not None:
            settings = rules.of_kind["listen"][retrieve.listener]
            return by_move(node, Listening(settings, *where, order=rules.order), settings.ae_title, stop)
        return by_get(node, Inbox(retrieve.into, *where, lambda _: None, order=rules.order), stop)

    return receiver
