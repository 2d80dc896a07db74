"""Proving an export: what the ledger says against what is on the disk."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby

from pyconquest_rules.execute.files import hash_of
from pyconquest_rules.execute.folders import listing, opened
from pyconquest_rules.execute.ledger import Done, Ledger
from pyconquest_rules.facts import Entry, Kind
from pyconquest_rules.outputs import Outputs
from pyconquest_rules.paths import UnsafePath


class Finding(StrEnum):
    """What is found at a destination."""

    OK = "ok"
    MISSING = "missing"
    CHANGED = "changed"
    EXTRA = "extra"
    OUTSIDE = "outside"


@dataclass(frozen=True, slots=True)
class Verified:
    """One destination and what was found there."""

    destination: str
    finding: Finding


def verify(
    ledger: Ledger, outputs: Outputs, actions: frozenset[str], prefixes: tuple[str, ...], *, deep: bool
) -> Iterator[Verified]:
    """Every destination of `actions` in the ledger, by size and mtime, with `deep` by SHA-256, and every file that is not there.

    Looked through for such extra files are the folders below `prefixes`, the leading folders of the templates, and every
    folder that holds a destination. What lies outside the outputs, which were others once, is not looked at.
    """
    entries = (entry for entry in ledger.done() if entry.action in actions)
    looked: set[str] = set()
    for folder, group in groupby(entries, key=lambda entry: os.path.dirname(entry.destination)):
        done = list(group)
        try:
            yield from _folder(folder, done, ledger, outputs, deep)
        except UnsafePath:
            yield from (Verified(entry.destination, Finding.OUTSIDE) for entry in done)
        looked.add(folder)
    for prefix in prefixes:
        yield from _extra_below(os.path.dirname(outputs.place(f"{prefix}/-")), ledger, outputs, looked)


def _folder(folder: str, done: list[Done], ledger: Ledger, outputs: Outputs, deep: bool) -> Iterator[Verified]:
    there = {entry.name: entry for entry in listing(outputs, folder)}
    for entry in done:
        found = there.pop(os.path.basename(entry.destination), None)
        if found is None:
            yield Verified(entry.destination, Finding.MISSING)
        elif found.stamp != entry.stamp or (deep and _digest(entry.destination, outputs) != entry.sha256):
            yield Verified(entry.destination, Finding.CHANGED)
        else:
            yield Verified(entry.destination, Finding.OK)
    yield from _unknown(folder, there.values(), ledger)


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
