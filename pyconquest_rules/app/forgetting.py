"""Taking instances out of the index: those that somebody names, and those that were moved away."""

import os
from itertools import chain
from typing import TYPE_CHECKING

from pyconquest_rules.actions.copy import Copy
from pyconquest_rules.answers import Forgotten, Going
from pyconquest_rules.app.opening import opened, writing
from pyconquest_rules.errors import UsageError
from pyconquest_rules.execute.ledger import Ledger
from pyconquest_rules.rules.rules import Rules
from pyconquest_rules.steps import Mode

if TYPE_CHECKING:
    from pyconquest_rules.index.forgetting import Forgetting
    from pyconquest_rules.index.store import Store


def to_forget(rules: Rules, what: tuple[str, ...], *, files: bool) -> Going:
    """What `forget` would do.

    Raises UsageError where `what` names nothing, or where files of a source without a layout would go.
    """
    with writing(rules) as store, store.transaction():
        forgetting = _chosen(rules, store, what)
        if files and (others := {place.device for place in forgetting.places()} - _devices_with_layout(rules, store)):
            names = [name for name, source in store.sources().items() if source.device in others]
            raise UsageError(f"files of a source without a layout are never deleted: {', '.join(names)}")
        return forgetting.going()


def forget(rules: Rules, what: tuple[str, ...], *, files: bool = False, prune_empty: bool = False) -> Forgotten:
    """Takes instances out of the index, and with `files` their files off the disk. Raises as `to_forget` does.

    With `prune_empty` the folders that become empty go too.
    """
    from pyconquest_rules.index.forgetting import delete, delete_empty

    going = to_forget(rules, what, files=files)
    with writing(rules) as store, store.transaction():
        forgetting = _chosen(rules, store, what)
        roots = [source.root for source in store.sources().values()]
        gone, failed = delete(forgetting.places(), roots) if files else ([], 0)
        forgetting.forget(gone)
    folders = delete_empty(gone, roots) if prune_empty else 0
    return Forgotten(going.images, going.files, len(gone), failed, folders)


def _chosen(rules: Rules, store: "Store", what: tuple[str, ...]) -> "Forgetting":
    from pyconquest_rules.index.forgetting import Forgetting

    forgetting = Forgetting(store)
    for name in what:
        if name in rules.selections:
            with opened(rules) as sets:
                forgetting.choose_instances(uid for uid, *_ in sets.instances(name, ()))
        else:
            forgetting.choose(name)
    return forgetting


def _devices_with_layout(rules: Rules, store: "Store") -> set[str]:
    return {source.device for name, source in store.sources().items() if name in rules.layouts}


def forget_moved(rules: Rules, store: "Store", run: int | None = None) -> None:
    """Takes the files that a run, or those that were killed, moved away out of the index: they did not vanish."""
    movers = [name for name, action in rules.actions.items() if isinstance(action, Copy) and action.mode is Mode.MOVE]
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
