"""`[release.NAME]`: its keys and its checks."""

import posixpath
from collections.abc import Iterator, Mapping
from typing import Annotated

from pydantic import Field

from pyconquest_rules.disk.outputs import Outputs
from pyconquest_rules.errors import Mistake, Problem
from pyconquest_rules.rules.fields import ActionName, PathTemplate, Table, VariablesOnly, marked
from pyconquest_rules.rules.kinds import Seen
from pyconquest_rules.rules.positions import Path
from pyconquest_rules.rules.validation import STAND_IN
from pyconquest_rules.steps import Mode
from pyconquest_rules.templates import Template
from pyconquest_rules.templates.template import with_vars

TEXTS = ("root", "lock", "title", "licence")
"""The keys in which variables work."""


class Release(Table):
    """Names the actions whose files are handed over together, and the lock that freezes their selection."""

    actions: Annotated[
        tuple[ActionName, ...], Field(min_length=1, description='The actions whose files belong to the release, as "copy.NAME".')
    ]
    root: Annotated[
        str, VariablesOnly(), Field(min_length=1, description="The folder below which all files lie. May use `{{ vars.NAME }}`.")
    ]
    lock: Annotated[
        str,
        VariablesOnly(),
        Field(min_length=1, description="The lock file, below the folder of the rules file. `lock` writes it."),
    ]
    title: Annotated[str, VariablesOnly(), Field(description="The title of the release, for the head of its lock.")] = ""
    licence: Annotated[
        str, VariablesOnly(), Field(description='The licence of the release, such as "CC-BY-4.0", for the head of its lock.')
    ] = ""
    sources: Annotated[bool, Field(strict=True, description="Whether the manifest has the paths and digests of the sources.")] = (
        False
    )
    tags: Annotated[tuple[str, ...], Field(description="Words by which this action can be chosen: `apply tag:nightly`.")] = ()

    @property
    def needs(self) -> tuple[str, ...]:
        """The actions whose files the evidence is about."""
        return self.actions

    @property
    def fingerprint(self) -> str:
        """Changes with the form of the evidence. What it is about is the identity of each file."""
        return "release 1 "


def check(release: Release, place: Path, seen: Seen) -> Iterator[Problem]:
    """Yield a problem for each text and each action that does not fit a release."""
    texts = dict[str, str]()
    for key in TEXTS:
        try:
            texts[key] = with_vars(getattr(release, key), seen.params)
        except Mistake as mistake:
            yield seen.places.within((*place, key), mistake)
    if place[-1] == "diff":
        yield seen.places.at_key(place, '"diff" is reserved: "lock diff" compares two locks', "choose another name")
    for key in ("title", "licence"):
        if not texts.get(key, "").isprintable():
            yield seen.places.at_value((*place, key), "must be one line of printable characters")
    lock = texts.get("lock", STAND_IN)
    if STAND_IN not in lock and (posixpath.isabs(lock) or ".." in lock.split("/") or posixpath.normpath(lock) == "."):
        hint = 'name a file, as in: lock = "locks/release.txt"'
        yield seen.places.at_value((*place, "lock"), "the lock must be below the folder of the rules file", hint)
    for number, name in enumerate(release.actions):
        yield from _action_problems((*place, "actions", number), name, texts.get("root", STAND_IN), seen)


def _action_problems(place: Path, name: str, root: str, seen: Seen) -> Iterator[Problem]:
    """Yield a problem if an action makes no files, or if the leading folders of its template leave the root."""
    kind, _, of = name.partition(".")
    action = seen.tables.get(kind, {}).get(of)
    if action is None or kind not in seen.acting:
        return  # reported as an unknown action, or by the check of that table
    templates = [each.value for each in marked(action, (kind, of)) if each.marker == PathTemplate(below_outputs=True)]
    if not templates:
        yield seen.places.at_value(place, f"{name} makes no files", "a release has the files of actions such as copy.NAME")
    if getattr(action, "mode", None) is Mode.MOVE:
        hint = "what was moved has left the sources, so that the release has it no more: use another mode"
        yield seen.places.at_value(place, f'{name} has mode = "move"', hint)
    for template in templates:
        try:
            prefix = Template(template, seen.params).prefix
        except Mistake:
            continue  # reported at the template
        if STAND_IN not in root + prefix and _leaves(prefix, root):
            yield seen.places.at_value(place, f"{name} makes files outside the root", f'its files lie below "{prefix or "."}"')


def _leaves(prefix: str, root: str) -> bool:
    """Return whether no path that begins with the folders `prefix` can lie below `root`.

    A relative and an absolute path are compared when the release is locked, because only then the folder of the rules counts.
    """
    if posixpath.isabs(prefix) != posixpath.isabs(root):
        return False
    one, other = (posixpath.normpath(path).rstrip("/").removeprefix(".") + "/" for path in (prefix or ".", root))
    return not (other == "/" or one.startswith(other) or other.startswith(one) or one == "/")


def root_of(release: Release, outputs: Outputs) -> str:
    """Return the root of a release as destinations begin. It ends with a slash. Raises UnsafePath if nothing may be put there."""
    return outputs.within(f"{release.root.rstrip('/')}/", "-")


def bound(release: Release, params: Mapping[str, str]) -> Release:
    """Return the release with the values of variables in its texts."""
    return release.model_copy(update={key: with_vars(getattr(release, key), params) for key in TEXTS})
