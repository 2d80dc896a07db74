"""Proving an export: what the ledger says against what is on the disk."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby

from pyconquest_rules.execute.files import hash_of
from pyconquest_rules.execute.folders import listing, opened
from pyconquest_rules.execute.ledger import Done, Ledger
from pyconquest_rules.facts import Kind
from pyconquest_rules.outputs import Outputs


class Finding(StrEnum):
    """What is found at a destination."""

    OK = "ok"
    MISSING = "missing"
    CHANGED = "changed"
    EXTRA = "extra"


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
    folder that holds a destination.
    """
    entries = (entry for entry in ledger.done() if entry.action in actions)
    looked: set[str] = set()
    for folder, done in groupby(entries, key=lambda entry: os.path.dirname(entry.destination)):
        yield from _folder(folder, list(done), ledger, outputs, deep)
        looked.add(folder)
    for prefix in prefixes:
        yield from _extra_below(prefix, ledger, outputs, looked)


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
    yield from _unknown(folder, [name for name, entry in there.items() if entry.kind is not Kind.FOLDER], ledger)


def _extra_below(folder: str, ledger: Ledger, outputs: Outputs, looked: set[str]) -> Iterator[Verified]:
    folders = [folder]
    while folders:
        folder = folders.pop()
        entries = list(listing(outputs, folder))
        folders += [f"{folder}/{entry.name}" for entry in entries if entry.kind is Kind.FOLDER]
        if folder not in looked:
            yield from _unknown(folder, [entry.name for entry in entries if entry.kind is not Kind.FOLDER], ledger)


def _unknown(folder: str, names: list[str], ledger: Ledger) -> Iterator[Verified]:
    for name in names:
        path = f"{folder}/{name}" if folder else name
        if not ledger.knows(path):
            yield Verified(path, Finding.EXTRA)


def _digest(destination: str, outputs: Outputs) -> str | None:
    folder, _, name = destination.rpartition("/")
    try:
        with opened(outputs, folder) as descriptor:
            return hash_of(name, descriptor)
    except OSError:
        return None
