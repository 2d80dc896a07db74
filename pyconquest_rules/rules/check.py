"""What a rules file means, checked: names, columns, queries, templates. Nothing of the data is looked at."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

from pyconquest_rules.actions.copy import Copy
from pyconquest_rules.dicom import Level, tag_path, tags
from pyconquest_rules.errors import Mistake, Problem, RulesError, did_you_mean
from pyconquest_rules.index import sql
from pyconquest_rules.index.dicom_sql import Layout, parse, standard_text
from pyconquest_rules.index.scan import Tree
from pyconquest_rules.index.selection import Selection, Sets
from pyconquest_rules.index.tables import LEVELS, VIEWS, Addition, schema, statements
from pyconquest_rules.outputs import Outputs
from pyconquest_rules.rules.model import RulesFile, Select
from pyconquest_rules.rules.places import Places
from pyconquest_rules.rules.rules import Rules
from pyconquest_rules.templates import Template, UnsafePath


class Check:
    """The checks of one rules file, in the order in which its parts build on each other. `problems` is what they found."""

    def __init__(self, file: Path, rules_file: RulesFile, places: Places) -> None:
        self.file, self.base, self.model, self.places = file, file.resolve().parent, rules_file, places
        self.problems: list[Problem] = []
        self.trees = tuple(
            Tree(name, (self.base / source.path).resolve(), source.exclude) for name, source in rules_file.sources.items()
        )
        self.outputs = Outputs(self.base, rules_file.outputs, [tree.root for tree in self.trees])
        self.layout = self._layout()
        self.schema = schema(self.layout, tuple(self._additions()))
        self.connection = sqlite3.connect(":memory:", isolation_level=None)
        for statement in statements(self.schema):
            self.connection.execute(statement)
        self.selections = {name: self._selection(name, select) for name, select in rules_file.select.items()}
        self.sets = Sets(self.connection, self.schema, self.selections)
        self.usable = {name for name in self.selections if self._check_select(name)}
        self.actions = {f"copy.{name}": copy for name, copy in rules_file.copy_.items()}
        self.templates: dict[str, Template] = {}
        for name, copy in rules_file.copy_.items():
            self._check_copy(name, copy)
        self.order = self._ordered()

    def rules(self) -> Rules:
        """The rules; there must be no problems."""
        return Rules(
            file=self.file.resolve(),
            base=self.base,
            database=self.base / self.model.index.database,
            schema=self.schema,
            outputs=self.outputs,
            trees=self.trees,
            selections=self.selections,
            actions={name: self.actions[name] for name in self.order},
            templates=self.templates,
            params=self.model.vars,
        )

    def _layout(self) -> Layout:
        if (name := self.model.index.dicom_sql) is None:
            return parse(standard_text())
        file, place = self.base / name, ("index", "dicom_sql")
        try:
            return parse(file.read_text(encoding="utf-8"), name)
        except RulesError as error:
            self.problems += error.problems
        except (OSError, UnicodeDecodeError):
            self.problems.append(
                self.places.at_value(place, f'cannot read "{name}"', "leave dicom_sql out for the standard layout")
            )
        return parse(standard_text())

    def _additions(self) -> Iterator[Addition]:
        """The columns that the rules add, without those that clash with another or name no element."""
        for level in LEVELS:
            stock = schema(self.layout).level(level)
            taken = {column: "the layout" for field in stock for column in (field.column.lower(), field.name.lower())}
            for number, added in enumerate(getattr(self.model.schema_, level)):
                place = ("schema", level.value, number)
                clash = next((taken[key] for key in (added.column.lower(), added.column[:10].lower()) if key in taken), None)
                if clash:
                    hint = "names must differ in their first 10 letters, which is all that Conquest keeps"
                    self.problems.append(
                        self.places.at_value((*place, "column"), f'"{added.column}" clashes with a column of {clash}', hint)
                    )
                    continue
                taken |= dict.fromkeys((added.column.lower(), added.column[:10].lower()), "these rules")
                try:
                    yield Addition(level, added.column, tag_path(added.tag))
                except Mistake as mistake:
                    self.problems.append(self.places.within((*place, "tag"), mistake))

    def _selection(self, name: str, select: Select) -> Selection:
        return Selection(name, select.level, select.query, select.where, {**self.model.vars, **select.params})

    def _check_select(self, name: str) -> bool:
        """Whether the set can be used further."""
        select, place = self.model.select[name], ("select", name)
        if (select.query is None) == (select.where is None):
            self.problems.append(self.places.at_key(place, f'the set "{name}" needs either query or where'))
            return False
        exists = f"{sql.TABLE_NAMES} INTERSECT SELECT ?"
        if name not in self.sets.columns and self.connection.execute(exists, (name,)).fetchone():
            self.problems.append(
                self.places.at_key(place, f'"{name}" is a table or view of the index already', "call the set otherwise")
            )
            return False
        try:
            self.sets.make(name)
        except Mistake as mistake:
            self.problems.append(self.places.within((*place, "query" if select.query is not None else "where"), mistake))
            return False
        return True

    def _check_copy(self, name: str, copy: Copy) -> None:
        place = ("copy", name)
        known = self.places.document.get("select", {})
        if copy.select not in known:
            hint = did_you_mean(copy.select, known) or f"sets are: {', '.join(known) or 'none'}"
            self.problems.append(self.places.at_value((*place, "select"), f'unknown set "{copy.select}"', hint))
        try:
            template = self.templates[f"copy.{name}"] = Template(copy.to, self.model.vars)
            self.outputs.place(f"{template.prefix}/x" if template.prefix else "x")
        except Mistake as mistake:
            self.problems.append(self.places.within((*place, "to"), mistake))
        except UnsafePath as unsafe:
            self.problems.append(self.places.at_value((*place, "to"), str(unsafe), "name its folder in outputs"))
        else:
            if copy.select in self.usable:
                self.problems += self._unknown_names(template, copy, place)
        self._check_needs(f"copy.{name}", copy)

    def _unknown_names(self, template: Template, copy: Copy, place: tuple[str, str]) -> Iterator[Problem]:
        columns = {*sql.columns(self.connection, f"SELECT * FROM {VIEWS[Level.IMAGE]}", {}), *self.sets.make(copy.select)}
        fold = {column.lower() for column in columns}
        for name in sorted(template.names):
            if name in columns or (
                name.lower() in fold and self.selections[copy.select].query is not None and name not in tags()
            ):
                continue
            if name in tags():
                hint = f'add it to the index: [[schema.image]] column = "{name}" tag = "{name}"'
                mistake = Mistake(f'"{name}" is not a column of the index', fragment=name, hint=hint)
            else:
                hint_or_none = did_you_mean(name, {*columns, *tags()})
                mistake = Mistake(f'unknown name "{name}"', fragment=name, hint=hint_or_none)
            yield self.places.within((*place, "to"), mistake)

    def _check_needs(self, name: str, copy: Copy) -> None:
        known = {f"copy.{other}" for other in self.places.document.get("copy", {})}
        for number, needed in enumerate(copy.needs):
            if needed not in known:
                place = ("copy", name.partition(".")[2], "needs", number)
                self.problems.append(self.places.at_value(place, f'unknown action "{needed}"', did_you_mean(needed, known)))

    def _ordered(self) -> list[str]:
        """The actions, each after those that it needs, else as the file has them."""
        ordered: list[str] = []
        waiting = dict.fromkeys(self.actions)
        while waiting:
            ready = [name for name in waiting if not any(needed in waiting for needed in self.actions[name].needs)]
            if not ready:
                name = next(iter(waiting))
                place = ("copy", name.partition(".")[2], "needs")
                self.problems.append(self.places.at_value(place, f"the action needs itself: {' → '.join([*waiting, name])}"))
                return ordered
            ordered += ready[:1]
            del waiting[ready[0]]
        return ordered
