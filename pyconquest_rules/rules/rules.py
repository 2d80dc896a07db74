"""The rules in the form that the rest of the program uses: checked, compiled and frozen."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from hashlib import sha256
from pathlib import Path
from typing import Any, Self

from pyconquest_rules.disk.outputs import Outputs
from pyconquest_rules.errors import UsageError, did_you_mean
from pyconquest_rules.index.query.clock import TODAY
from pyconquest_rules.index.query.selection import Selection
from pyconquest_rules.index.scan.trees import Tree
from pyconquest_rules.index.store.csv_tables import CsvTable
from pyconquest_rules.index.store.order import Order
from pyconquest_rules.index.store.schema import Schema
from pyconquest_rules.network.node import Node
from pyconquest_rules.rules.kinds import Action
from pyconquest_rules.templates import Template


def matching(target: str, actions: Mapping[str, Action]) -> list[str]:
    """Return the actions that a word means: an action, a kind, or a tag as `tag:WORD`."""
    word, _, tag = target.partition(":")
    return [
        name
        for name, action in actions.items()
        if (tag in action.tags if word == "tag" and tag else target in (name, name.partition(".")[0]))
    ]


@dataclass(frozen=True, slots=True)
class Rules:
    """A rules file. `actions` are by name, as `copy.NAME`, each after those that it needs.

    `included` are the rules files that `file` includes. `of_kind` has the tables of all kinds, actions or not. `templates` has
    the destinations of actions, and `layouts` those of sources. `files` are the files that tables name, each with a description.
    `base` is the folder of the rules file.
    `profiles` are the names of the profiles. `disabled` are the actions that the chosen one leaves out.
    """

    file: Path
    base: Path
    database: Path
    schema: Schema
    order: Order
    accept: frozenset[str]
    outputs: Outputs
    trees: tuple[Tree, ...]
    layouts: Mapping[str, Template]
    tables: tuple[CsvTable, ...]
    dicom_sql: str
    dicom_sql_file: Path | None
    selections: Mapping[str, Selection]
    actions: Mapping[str, Action]
    nodes: Mapping[str, Node]
    of_kind: Mapping[str, Mapping[str, Any]]
    templates: Mapping[str, Template]
    files: tuple[tuple[Path, str], ...]
    included: tuple[Path, ...]
    params: Mapping[str, str]
    profiles: tuple[str, ...]
    disabled: frozenset[str]
    today: date

    def on(self, today: date) -> Self:
        """Return the same rules on another day. The day is `:today` in SQL, and the last day of `last_days`."""
        bound = {TODAY: today.isoformat()}
        sets = {name: replace(each, params={**each.params, **bound}) for name, each in self.selections.items()}
        return replace(self, today=today, selections=sets)

    @property
    def values(self) -> dict[str, str]:
        """The values of the parameters of queries, by name."""
        return {**self.params, TODAY: self.today.isoformat()}

    @property
    def variables(self) -> str:
        """A digest of the variables. Their values may be secrets."""
        return sha256(json.dumps(sorted(self.params.items())).encode()).hexdigest()

    @property
    def needs(self) -> dict[str, tuple[str, ...]]:
        """The actions that each action needs."""
        return {name: action.needs for name, action in self.actions.items()}

    def where(self, source: str) -> tuple[Path, Template, Path, Schema]:
        """Return what is needed to store instances in a source: its folder, its layout, the index, and the index's schema."""
        root = next(tree.root for tree in self.trees if tree.name == source)
        return root, self.layouts[source], self.database, self.schema

    def chosen(self, targets: tuple[str, ...]) -> tuple[str, ...]:
        """Return the actions that match the targets, and those that they need, in order; all actions if there is no target.

        A target is an action, a kind or a tag: `copy.export`, `copy`, `tag:nightly`.
        Raises UsageError for a target that matches no action.
        """
        wanted = set(self.actions) if not targets else {name for target in targets for name in self._matching(target)}
        pending = list(wanted)
        while pending:
            more = set(self.actions[pending.pop()].needs) - wanted
            wanted |= more
            pending += more
        return tuple(name for name in self.actions if name in wanted)

    def _matching(self, target: str) -> list[str]:
        found = matching(target, self.actions)
        if not found and any(target in (name, name.partition(".")[0]) for name in self.disabled):
            raise UsageError(f'the profile disables "{target}"; choose another profile, or leave this target out')
        if not found:
            known = {*self.actions, *(f"tag:{tag}" for action in self.actions.values() for tag in action.tags)}
            hint = did_you_mean(target, known) or f"targets are: {', '.join(sorted(known)) or 'none; the rules have no action'}"
            raise UsageError(f'unknown target "{target}"; {hint}')
        return found
