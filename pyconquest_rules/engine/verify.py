"""Compare the disk with the ledger."""

import os
from collections.abc import Callable, Iterable, Iterator
from itertools import groupby

from pyconquest_rules.disk.facts import Entry, Kind
from pyconquest_rules.disk.folders import listing, opened
from pyconquest_rules.disk.hashing import hash_of
from pyconquest_rules.disk.outputs import Outputs
from pyconquest_rules.engine.ledger import Done, Ledger
from pyconquest_rules.engine.verified import Finding, Verified
from pyconquest_rules.paths import UnsafePath, collision_key

LookedAt = Callable[[str], bool]


def every(path: str) -> bool:
    """Choose every file."""
    return True


def verify(
    ledger: Ledger,
    outputs: Outputs,
    actions: frozenset[str],
    prefixes: tuple[str, ...],
    *,
    deep: bool,
    looked_at: LookedAt = every,
) -> Iterator[Verified]:
    """Yield every recorded destination of `actions`, compared by size and mtime, with `deep` by SHA-256, and every extra file.

    Only what is `looked_at` is told, and read. Looked through for extra files are the folders below `prefixes`, the leading
    folders of the templates, and every folder that holds a destination. What lies outside the outputs, which were others once,
    is not looked at.
    """
    entries = (entry for entry in ledger.done() if entry.action in actions)
    looked: set[str] = set()
    for folder, group in groupby(entries, key=lambda entry: os.path.dirname(entry.destination)):
        done = list(group)
        try:
            yield from _folder(folder, done, ledger, outputs, deep, looked_at)
        except UnsafePath:
            yield from (Verified(entry.destination, Finding.OUTSIDE) for entry in done if looked_at(entry.destination))
        looked.add(folder)
    for prefix in prefixes:
        folder = _as_listed(os.path.dirname(outputs.place(f"{prefix}/-")), outputs)
        extra = _extra_below(folder, ledger, outputs, looked)
        yield from (verified for verified in extra if looked_at(verified.destination))


def _folder(
    folder: str, done: list[Done], ledger: Ledger, outputs: Outputs, deep: bool, looked_at: LookedAt
) -> Iterator[Verified]:
    there = {entry.name: entry for entry in listing(outputs, folder)}
    for entry in done:
        found = there.pop(os.path.basename(entry.destination), None)
        if not looked_at(entry.destination):
            continue
        if found is None:
            yield Verified(entry.destination, Finding.MISSING)
        elif found.kind in (Kind.FOLDER, Kind.OTHER) or (found.stamp != entry.stamp and not entry.doubted):
            yield Verified(entry.destination, Finding.CHANGED, there=found.stamp)
        elif (deep or entry.doubted or entry.young) and _digest(entry.destination, outputs) != entry.sha256:
            yield Verified(entry.destination, Finding.CHANGED, rotten=True, there=found.stamp)
        else:
            yield Verified(entry.destination, Finding.OK)
    yield from (extra for extra in _unknown(folder, there.values(), ledger) if looked_at(extra.destination))


def _as_listed(folder: str, outputs: Outputs) -> str:
    """Return a folder as the disk spells it: a file system may ignore the case of letters."""
    above, *below = reversed([*outputs.folders(folder)])
    for requested in below:
        name = os.path.basename(requested)
        listed = [entry.name for entry in listing(outputs, above)]
        alike = [each for each in listed if collision_key(each) == collision_key(name)]
        if name not in listed and len(alike) == 1 and _opens(os.path.join(above, name), outputs):
            name = alike[0]
        above = os.path.join(above, name)
    return above


def _opens(folder: str, outputs: Outputs) -> bool:
    try:
        with opened(outputs, folder):
            return True
    except OSError:
        return False


def _extra_below(folder: str, ledger: Ledger, outputs: Outputs, looked: set[str]) -> Iterator[Verified]:
    folders = [folder]
    while folders:
        folder = folders.pop()
        entries = list(listing(outputs, folder))
        folders += [os.path.join(folder, entry.name) for entry in entries if entry.kind is Kind.FOLDER]
        if folder not in looked:
            looked.add(folder)
            yield from _unknown(folder, entries, ledger)


def _unknown(folder: str, entries: Iterable[Entry], ledger: Ledger) -> Iterator[Verified]:
    for entry in entries:
        path = os.path.join(folder, entry.name)
        if entry.kind is not Kind.FOLDER and not ledger.knows(path):
            yield Verified(path, Finding.EXTRA)


def _digest(destination: str, outputs: Outputs) -> str | None:
    folder, _, name = destination.rpartition("/")
    try:
        with opened(outputs, folder) as descriptor:
            return hash_of(name, descriptor)
    except OSError:
        return None
