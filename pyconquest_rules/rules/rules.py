"""The rules as the rest of the program sees them: checked, compiled, frozen."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

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


@dataclass(frozen=True, slots=True)
class Rules:
    """A rules file. `actions`, named as `copy.NAME`, stand in an order in which each comes after what it needs.

    `of_kind` has the tables of all kinds, actions or not; `templates` are the destinations of actions; `files` are those that
    tables name, each with what it is.
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
    params: Mapping[str, str]
    today: date

    def on(self, today: date) -> "Rules":
        """Return the same rules on another day, which is `:today` in SQL, and the last day of `last_days`."""
        bound = {TODAY: today.isoformat()}
        sets = {name: replace(each, params={**each.params, **bound}) for name, each in self.selections.items()}
        return replace(self, today=today, selections=sets)

    @property
    def values(self) -> dict[str, str]:
        """The values that a query may bind, by name."""
        return {**self.params, TODAY: self.today.isoformat()}

    @property
    def needs(self) -> dict[str, tuple[str, ...]]:
        """For each action the actions that it needs."""
        return {name: action.needs for name, action in self.actions.items()}

    def where(self, source: str) -> tuple[Path, Template, Path, Schema]:
        """Return where and how instances are put into a source: its folder and layout, the index and its columns."""
        root = next(tree.root for tree in self.trees if tree.name == source)
        return root, self.layouts[source], self.database, self.schema

    def chosen(self, targets: tuple[str, ...]) -> tuple[str, ...]:
        """The actions that targets name, with all that they need: `copy.export`, `copy`, `tag:nightly`; all where there is none.

        Raises UsageError for a target that names nothing.
        """
        wanted = set(self.actions) if not targets else {name for target in targets for name in self._matching(target)}
        pending = list(wanted)
        while pending:
            more = set(self.actions[pending.pop()].needs) - wanted
            wanted |= more
            pending += more
        return tuple(name for name in self.actions if name in wanted)

    def _matching(self, target: str) -> list[str]:
        word, _, tag = target.partition(":")
        matching = [
            name
            for name, action in self.actions.items()
            if (tag in action.tags if word == "tag" and tag else target in (name, name.partition(".")[0]))
        ]
        if not matching:
            known = {*self.actions, *(f"tag:{tag}" for action in self.actions.values() for tag in action.tags)}
            hint = did_you_mean(target, known) or f"targets are: {', '.join(sorted(known)) or 'none; the rules have no action'}"
            raise UsageError(f'no action is called "{target}"; {hint}')
        return matching
