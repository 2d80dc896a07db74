"""Remove instances from the index: those that the user forgets, and those that an action moved."""

import os
from itertools import chain
from typing import TYPE_CHECKING

from pyconquest_rules.answers import Forgotten, Going
from pyconquest_rules.app.opening import check_sources, opened, writing
from pyconquest_rules.dicom import unpadded
from pyconquest_rules.engine.ledger import Ledger
from pyconquest_rules.errors import UsageError
from pyconquest_rules.index.store.decisions import Decision, DecisionsFile
from pyconquest_rules.rules.rules import Rules
from pyconquest_rules.steps import Mode

if TYPE_CHECKING:
    from pyconquest_rules.index.store.forgetting import Forgetting
    from pyconquest_rules.index.store.store import Store


def to_forget(rules: Rules, what: tuple[str, ...], *, files: bool) -> Going:
    """Return what `forget` would remove. `what` are names of sets, UIDs and PatientIDs; `files`: their files are deleted too.

    Raises UsageError if a name matches nothing, or if files of a source without a layout would be deleted.
    """
    with writing(rules) as store, store.transaction():
        return _chosen(rules, store, what, files=files)[0].going()


def forget(rules: Rules, what: tuple[str, ...], *, files: bool = False, prune_empty: bool = False) -> Forgotten:
    """Record the decision to forget instances; with `files`, delete their files first. Raises as `to_forget` does.

    With `prune_empty`, folders that become empty are deleted too. The decision is recorded after the deletions, so that the
    same command completes them after a kill. It is written to its file before the index applies it.
    """
    from pyconquest_rules.index.store.forgetting import delete, delete_empty

    with writing(rules) as store, store.transaction():
        if files:
            check_sources(rules, store.connection)
        forgetting, decisions = _chosen(rules, store, what, files=files)
        going, places = forgetting.going(), list(forgetting.places())
        roots = [source.root for source in store.sources().values()]
    gone, failed = delete(places, roots) if files else ([], 0)
    folders = delete_empty(gone, roots) if prune_empty else 0
    DecisionsFile(rules.base).change(decisions)
    with writing(rules) as store, store.transaction():
        for place in gone:
            store.forget(place.device, place.path)
    return Forgotten(going.images, going.files, len(gone), failed, folders)


def undo_forget(rules: Rules, what: tuple[str, ...]) -> int:
    """Undo decisions to forget, and return their number. The next `index` reads the files again.

    Raises UsageError if there is no decision to forget one of the names.
    """
    file = DecisionsFile(rules.base)
    taken_back = set[Decision]()
    for name in what:
        of_name = {words for words in file.read().all if words[0] == "forget" and unpadded(words[2]) == unpadded(name)}
        if not of_name:
            raise UsageError(f"this UID or PatientID is not forgotten; {file.path} lists what is")
        taken_back |= of_name
    file.change(removed=taken_back)
    with writing(rules):
        pass  # opening the index for writing applies the decisions
    return len(taken_back)


def _chosen(rules: Rules, store: "Store", what: tuple[str, ...], *, files: bool) -> tuple["Forgetting", frozenset[Decision]]:
    """Return the chosen instances, and the decisions to forget them."""
    from pyconquest_rules.index.store.forgetting import Forgetting

    forgetting = Forgetting(store)
    for name in what:
        if name in rules.selections:
            with opened(rules) as sets:
                forgetting.choose_rows(*sets.keys(name), (uid for uid, *_ in sets.instances(name, ())))
        else:
            forgetting.choose(name)
    decisions = forgetting.decided()
    if files and (others := {place.device for place in forgetting.places()} - _devices_with_layout(rules, store)):
        names = [name for name, source in store.sources().items() if source.device in others]
        raise UsageError(f"cannot delete files of a source without a layout: {', '.join(names)}; run forget without --files")
    return forgetting, decisions


def _devices_with_layout(rules: Rules, store: "Store") -> set[str]:
    return {source.device for name, source in store.sources().items() if name in rules.layouts}


def forget_moved(rules: Rules, store: "Store", run: int | None = None) -> None:
    """Remove the files that a run moved from the index, so that they do not count as vanished. Without `run`: any killed run."""
    movers = [name for name, action in rules.actions.items() if action.fingerprint == Mode.MOVE.fingerprint]
    if not movers:
        return
    roots = [(os.fsencode(source.root) + b"/", source.device) for source in store.sources().values()]
    with Ledger(rules.base) as ledger:
        moved = (source for source in ledger.sources(movers, run) if not os.path.lexists(source))
        places = ((device, source[len(root) :]) for source in moved for root, device in roots if source.startswith(root))
        if first := next(places, None):
            with store.transaction():
                for device, path in chain([first], places):
                    store.forget(device, path)
