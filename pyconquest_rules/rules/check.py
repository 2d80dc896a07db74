"""What a rules file means, checked: names, columns, queries, templates. Nothing of the data is looked at."""

import re
import sqlite3
from collections.abc import Iterator
from datetime import date
from functools import cached_property
from io import BytesIO, TextIOWrapper
from itertools import islice
from pathlib import Path
from time import thread_time

from pyconquest_rules.dicom import Level, near_keyword, tags
from pyconquest_rules.disk.named_files import is_inside, read_named
from pyconquest_rules.disk.outputs import Outputs
from pyconquest_rules.errors import MOST_TOLD, Mistake, Problem, RulesError, did_you_mean
from pyconquest_rules.index.conquest.dicom_sql import Layout, is_dicom_sql, parse, standard_text
from pyconquest_rules.index.query.clock import TODAY
from pyconquest_rules.index.query.selection import Selection, SetMistake, Sets
from pyconquest_rules.index.query.sql_mistakes import TABLE_NAMES, how_to_index
from pyconquest_rules.index.scan.patterns import broken, too_many
from pyconquest_rules.index.scan.trees import Tree, divided
from pyconquest_rules.index.store.budget import Budget
from pyconquest_rules.index.store.order import Order
from pyconquest_rules.index.store.read_only import set_up
from pyconquest_rules.index.store.tables import VIEWS, column_names, schema, statements
from pyconquest_rules.kinds.copy.rule import Copy
from pyconquest_rules.kinds.listen.rule import Listen
from pyconquest_rules.kinds.retrieve.matching import LastDays, Match
from pyconquest_rules.kinds.retrieve.rule import By, Retrieve
from pyconquest_rules.network.keys import check_key, check_value, is_date
from pyconquest_rules.paths import UnsafePath
from pyconquest_rules.rules.columns import additions
from pyconquest_rules.rules.misplaced import in_sql, misplaced
from pyconquest_rules.rules.model import NAME, RulesFile
from pyconquest_rules.rules.nodes import nodes
from pyconquest_rules.rules.order import in_order
from pyconquest_rules.rules.places import Places
from pyconquest_rules.rules.positions import Path as Place
from pyconquest_rules.rules.rules import Action, Rules
from pyconquest_rules.rules.tables import csv_tables, table_problems
from pyconquest_rules.rules.validation import STAND_IN
from pyconquest_rules.steps import Mode, OnChanged
from pyconquest_rules.templates import Template, with_vars

# Of queries on an index that holds nothing: one of them, and all.
SECONDS, MOST_SECONDS = 1.0, 5.0
OUR_VARIABLES = "PYCONQUEST_"
LARGEST_DICOM_SQL = 1 << 20
HOW_TO_SHOW = "its text is shown only if it lies below the folder of the rules and begins with a section, as *Patient*"


class Check:
    """The checks of one rules file, in the order in which its parts build on each other. `problems` is what they found.

    `rules_file` may lack what is wrong in the file; `places.document` has all of it.
    """

    def __init__(self, file: Path, rules_file: RulesFile, places: Places, database: Path | None = None) -> None:
        self.file, self.base, self.model, self.places = file, file.resolve().parent, rules_file, places
        self.problems: list[Problem] = []
        self.database = database.absolute() if database else self.base / self.model.index.database
        if database is None:
            self._check_database()
        self._check_names()
        self.problems += misplaced(places)
        self.trees = divided(
            Tree(name, (self.base / source.path).resolve(), source.exclude) for name, source in rules_file.sources.items()
        )
        self._check_patterns()
        self.outputs = Outputs(self.base, rules_file.outputs, [tree.root for tree in self.trees], self._own())
        layout = self._layout()
        added, problems = additions(rules_file.schema_, layout or parse(standard_text()), places)
        self.problems += problems
        self.schema = schema(layout or parse(standard_text()), added, content_hash=rules_file.index.hash)
        self.connection = _empty(statements(self.schema))
        self.tables = csv_tables(rules_file.tables, self.base, places)
        self.problems += table_problems(self.tables, self.connection, places)
        self.layouts: dict[str, Template] = {}
        for name, source in rules_file.sources.items():
            if source.layout is not None:
                self._check_layout(name, source.layout)
        self.selections = {
            name: Selection(name, select.level, select.query, select.where, {TODAY: "", **rules_file.vars, **select.params})
            for name, select in rules_file.select.items()
        }
        self.sets = Sets(self.connection, self.schema, self.selections, Budget.of(self.connection), SECONDS)
        self._left = MOST_SECONDS
        # The sets and tables of which nothing more can be told.
        self.broken: set[str] = {*self._known("select"), *self._known("tables")} - {*self.selections, *self._made()}
        if layout is None:
            self.broken |= {*self.selections}
        for name in self.selections if not self._enough() else ():
            self._check_select(name)
        # What is retrieved is there for all others: these come first.
        self.actions: dict[str, Action] = {f"retrieve.{name}": retrieve for name, retrieve in rules_file.retrieve.items()}
        self.actions |= {f"copy.{name}": copy for name, copy in rules_file.copy_.items()}
        self.actions |= {f"send.{name}": send for name, send in rules_file.send.items()}
        self.templates: dict[str, Template] = {}
        for name, copy in rules_file.copy_.items():
            self._check_copy(name, copy)
        for name, send in rules_file.send.items():
            self._check_known(("send", name, "select"), "set", send.select, self._known("select"))
            self._check_known(("send", name, "node"), "node", send.node, self._known("nodes"))
        for name, retrieve in rules_file.retrieve.items():
            self._check_retrieve(("retrieve", name), retrieve)
        self.order = self._ordered()
        for name, listen in rules_file.listen.items():
            self._check_listen(name, listen)

    def rules(self) -> Rules:
        """The rules; there must be no problems."""
        return Rules(
            file=self.file.resolve(),
            base=self.base,
            database=self.database,
            schema=self.schema,
            order=Order(self.model.index.on_conflict, tuple(self.model.sources), self.base, self.file.resolve()),
            accept=frozenset(self.model.index.accept),
            outputs=self.outputs,
            trees=self.trees,
            layouts=self.layouts,
            tables=self.tables,
            dicom_sql=self.dicom_sql,
            dicom_sql_file=self.base / name if (name := self.model.index.dicom_sql) is not None else None,
            selections=self.selections,
            actions={name: self.actions[name] for name in self.order},
            nodes=nodes(self.model.nodes, self.base),
            listeners={name: listen.below(self.base) for name, listen in self.model.listen.items()},
            templates=self.templates,
            params=self.model.vars,
            today=(today := date.today()),
        ).on(today)

    def _own(self) -> list[Path]:
        """What no destination may be: the rules file, the index and the folder of the ledger."""
        database = self.database
        files = [database.with_name(database.name + end) for end in ("", "-wal", "-shm", "-journal")]
        return [self.file, self.base / ".pyconquest-rules", *files]

    def _enough(self) -> bool:
        """Whether there are more mistakes than are told: to find a hint for each of thousands would take minutes."""
        return len(self.problems) > MOST_TOLD

    def _known(self, kind: str) -> list[str]:
        """The names that the file has of a kind, sound or not."""
        return [*self.places.document.get(kind, {})]

    def _check_names(self) -> None:
        tables: list[Place] = [
            (kind, name)
            for kind in ("vars", "sources", "tables", "select", "copy", "nodes", "send", "retrieve", "listen")
            for name in self._known(kind)
        ]
        params: list[Place] = [("select", name, "params", key) for name, of in self.model.select.items() for key in of.params]
        for place in (*tables, *params):
            if not re.fullmatch(NAME, str(place[-1])):
                hint = "names are small letters, digits and _, at most 64, and begin with a letter"
                self.problems.append(self.places.at_key(place, f'"{place[-1]}" is not a name', hint))
            elif place in (("vars", TODAY), (*place[:2], "params", TODAY)):
                message, hint = f'"{TODAY}" is taken: :{TODAY} is the day of the run', "choose another name"
                self.problems.append(self.places.at_key(place, message, hint))

    def _check_database(self) -> None:
        """Rules alone cannot have an index written anywhere: an empty file of the system's may be read by others."""
        written = self.places.document.get("index", {}).get("database")
        ours = isinstance(written, dict) and str(written.get("env")).startswith(OUR_VARIABLES)
        if ours and self.model.index.database != written.get("default"):
            return
        if not is_inside(self.database, self.base):
            message = "the index must lie below the folder of the rules"
            hint = f"only --database, $PYCONQUEST_DATABASE or a variable {OUR_VARIABLES}… can name another place"
            self.problems.append(self.places.at_value(("index", "database"), message, hint))

    def _check_patterns(self) -> None:
        for name, source in self.model.sources.items():
            if too := too_many(source.exclude):
                self.problems.append(self.places.at_value(("sources", name, "exclude"), too))
            for number, pattern in enumerate(source.exclude):
                if wrong := broken(pattern):
                    self.problems.append(self.places.at_value(("sources", name, "exclude", number), *wrong))

    def _layout(self) -> Layout | None:
        """The layout of the Conquest tables; None where it is not known."""
        self.dicom_sql = standard_text()
        if (name := self.model.index.dicom_sql) is None:
            return None if "dicom_sql" in self.places.document.get("index", {}) else parse(self.dicom_sql)
        shown = self.places.written(("index", "dicom_sql"), name)
        try:
            data = read_named(self.base / name, self.base, LARGEST_DICOM_SQL)
            self.dicom_sql = TextIOWrapper(BytesIO(data), encoding="utf-8").read()
            return parse(self.dicom_sql, shown)
        except RulesError as error:
            if is_inside(self.base / name, self.base) and is_dicom_sql(self.dicom_sql):
                self.problems += error.problems
                return None
            # Its text may be a secret of somebody else's: neither the line is shown nor the word that is wrong.
            first = error.problems[0]
            message, hint = f'"{shown}" is not a valid dicom.sql (line {first.line}, column {first.column})', HOW_TO_SHOW
        except OSError as error:
            message, hint = f'cannot read "{shown}": {error.strerror}', "leave dicom_sql out for the standard layout"
        except UnicodeDecodeError:
            message, hint = f'cannot read "{shown}": it is not UTF-8 text', "leave dicom_sql out for the standard layout"
        self.problems.append(self.places.at_value(("index", "dicom_sql"), message, hint))
        return None

    def _check_layout(self, name: str, layout: str) -> None:
        """A layout may use what every image has: nothing of a query."""
        place: Place = ("sources", name, "layout")
        if self._enough():
            return
        try:
            template = self.layouts[name] = Template(layout, self.model.vars)
        except Mistake as mistake:
            self.problems.append(self.places.within(place, mistake))
            return
        for used in sorted(template.names - {*self._columns_of_images})[:MOST_TOLD]:
            unknown = Mistake(f'"{used}" is not a column of the index', fragment=used, hint=how_to_index(used))
            self.problems.append(self.places.within(place, unknown))

    @cached_property
    def _columns_of_images(self) -> list[str]:
        # Compiling a query of the view would take as long as all else that is checked.
        return column_names(self.connection, VIEWS[Level.IMAGE])

    def _check_select(self, name: str) -> None:
        select, place = self.model.select[name], ("select", name)
        if (select.query is None) == (select.where is None):
            message = f'the set "{name}" {"has query and where" if select.query else "needs query or where"}'
            hint = "keep one of the two" if select.query else "for example: where = \"Modality = 'CT'\""
            self.problems.append(self.places.at_key(place, message, hint))
            self.broken.add(name)
        elif self._is_table(name):
            self.problems.append(self.places.at_key(place, f'a table of the index is called "{name}"', "call the set otherwise"))
            self.broken.add(name)
        elif in_sql(select.query or select.where or ""):
            self.broken.add(name)
        elif name not in self.broken:
            self._make(name)

    def _made(self) -> set[str]:
        return {name for (name,) in self.connection.execute(TABLE_NAMES)}

    def _is_table(self, name: str) -> bool:
        if name in self.sets.columns:
            return False
        taken = self.connection.execute(f"SELECT 1 FROM ({TABLE_NAMES}) WHERE lower(name) = ?", (name,))
        return name.startswith("sqlite_") or taken.fetchone() is not None

    def _make(self, name: str) -> None:
        """Makes a set, and with it the sets that it needs. A mistake is reported once, in the set in whose SQL it is."""
        if self._left <= 0 or self._enough():
            self.broken.add(name)
            return
        began = thread_time()
        try:
            self.sets.make(name)
        except SetMistake as mistake:
            known = mistake.name in self.broken or mistake.fragment in self.broken
            self.broken |= {*mistake.stopped}
            if not known:
                key = "query" if self.model.select[mistake.name].query is not None else "where"
                self.problems.append(self.places.within(("select", mistake.name, key), self._discreet(mistake.mistake)))
        self._left -= thread_time() - began
        if self._left <= 0:
            message = f"the sets up to this one take more than {MOST_SECONDS:g} seconds to check, the others are not checked"
            self.problems.append(self.places.at_key(("select", name), message))

    def _discreet(self, mistake: Mistake) -> Mistake:
        """The same without a hint that shows text of a file that is not to be shown."""
        if any(f'"{column}"' in (mistake.hint or "") for column in self._hidden):
            mistake.hint = None
        return mistake

    @cached_property
    def _hidden(self) -> frozenset[str]:
        """The columns of CSV files that may hold something else than a table."""
        tables = [table.name for table in self.tables if not table.shows_columns]
        return frozenset(name for table in tables for name in column_names(self.connection, table))

    def _check_copy(self, name: str, copy: Copy) -> None:
        if self._enough():
            return
        place = ("copy", name)
        self._check_known((*place, "select"), "set", copy.select, self._known("select"))
        if copy.prune and copy.mode is Mode.MOVE:
            hint = "what was moved has left the set, and may be all that there is of it: use another mode, or leave prune out"
            self.problems.append(self.places.at_key((*place, "prune"), 'mode = "move" cannot have prune', hint))
        if copy.on_changed is OnChanged.RESTORE and copy.mode is Mode.MOVE:
            hint = "the source of what was moved is gone, so nothing can be restored: use another mode, or leave on_changed out"
            self.problems.append(self.places.at_key((*place, "on_changed"), 'mode = "move" cannot restore', hint))
        try:
            template = self.templates[f"copy.{name}"] = Template(copy.to, self.model.vars)
        except Mistake as mistake:
            self.problems.append(self.places.within((*place, "to"), mistake))
            return
        self._check_place(template, (*place, "to"))
        if copy.select in {*self.selections} - self.broken:
            self.problems += islice(self._unknown_names(template, copy, (*place, "to")), MOST_TOLD)

    def _check_known(self, place: Place, what: str, name: str, known: list[str]) -> None:
        """Whether what a rule refers to is there."""
        if name not in known:
            hint = did_you_mean(name, known) or f"{what}s are: {', '.join(known) or 'none'}"
            self.problems.append(self.places.at_value(place, f'unknown {what} "{name}"', hint))

    def _check_listen(self, name: str, listen: Listen) -> None:
        self._check_into(("listen", name, "into"), listen.into)
        for number, action in enumerate(listen.then):
            self._check_known(("listen", name, "then", number), "action", action, [*self.actions])

    def _check_into(self, place: Place, source: str) -> None:
        """Whether a source may be put into."""
        self._check_known(place, "source", source, self._known("sources"))
        if source in self.model.sources and self.model.sources[source].layout is None:
            hint = 'give it one: layout = "{{ PatientID }}/{{ SOPInstanceUID }}.dcm"'
            self.problems.append(self.places.at_value(place, f'the source "{source}" has no layout', hint))

    def _check_retrieve(self, place: Place, retrieve: Retrieve) -> None:
        self._check_known((*place, "node"), "node", retrieve.node, self._known("nodes"))
        self._check_into((*place, "into"), retrieve.into)
        match = {
            keyword: self._match((*place, "match", keyword), value, retrieve.level) for keyword, value in retrieve.match.items()
        }
        self.actions[".".join(map(str, place))] = retrieve.model_copy(update={"match": match})
        for number, needed in enumerate(retrieve.needs):
            if needed.partition(".")[0] in ("copy", "send"):
                message, hint = "what is retrieved comes before all else", "it can need retrieve.NAME alone"
                self.problems.append(self.places.at_value((*place, "needs", number), message, hint))
        if retrieve.listener is not None and retrieve.by is not By.MOVE:
            message, hint = "a listener is for C-MOVE", 'add by = "move", or leave it out'
            self.problems.append(self.places.at_value((*place, "listener"), message, hint))
        elif retrieve.listener is not None:
            self._check_known((*place, "listener"), "listener", retrieve.listener, self._known("listen"))
            if listen := self.model.listen.get(retrieve.listener):
                self._check_listener((*place, "listener"), listen, retrieve)
        elif retrieve.by is By.MOVE:
            hint = f"listeners are: {', '.join(self._known('listen')) or 'none'}"
            self.problems.append(self.places.at_value((*place, "by"), 'C-MOVE needs a "listener"', hint))

    def _match(self, place: Place, value: Match, level: Level) -> Match:
        """What an attribute must be, with the values of variables."""
        keyword = str(place[-1])
        try:
            check_key(keyword, level)
        except Mistake as mistake:
            self.problems.append(self.places.at_key(place, mistake.message, mistake.hint))
            return value
        try:
            if isinstance(value, LastDays):
                if not is_date(keyword):
                    raise Mistake(f"{keyword} is not a date", fragment="last_days", hint="last_days is for dates, as StudyDate")
                return value
            text = with_vars(value, self.model.vars)
            if value and not text:
                raise Mistake(f"{keyword} would match everything: its variable is empty", hint="give the variable a value")
            if STAND_IN not in text:
                check_value(keyword, text)
        except Mistake as mistake:
            self.problems.append(self.places.within(place, mistake))
            return value
        return text

    def _check_listener(self, place: Place, listen: Listen, retrieve: Retrieve) -> None:
        """Whether a listener takes what a node is to move to it."""
        calling = self.model.nodes[retrieve.node].ae_title if retrieve.node in self.model.nodes else None
        if listen.into != retrieve.into:
            message, hint = f'the listener "{retrieve.listener}" puts into another source', f'it has into = "{listen.into}"'
        elif listen.port == 0:
            message, hint = f'the listener "{retrieve.listener}" has no port of its own', "a node must know its port: give it one"
        elif listen.allow and calling is not None and calling not in listen.allow:
            message, hint = f'the listener "{retrieve.listener}" does not let the node in', f'add to its allow: "{calling}"'
        else:
            return
        self.problems.append(self.places.at_value(place, message, hint))

    def _check_place(self, template: Template, place: Place) -> None:
        """Whether the folders that every destination begins with may be written to."""
        try:
            self.outputs.place(f"{template.prefix}/x" if template.prefix else "x")
        except UnsafePath as unsafe:
            folders = [self.places.written(("outputs", number), folder) for number, folder in enumerate(self.model.outputs)]
            below = " or ".join(f'"{folder}"' for folder in folders) or "an output, and there are none"
            mistake = Mistake(str(unsafe), fragment=template.prefix, hint=f"it must lie below {below}, and in no source")
            if STAND_IN not in template.prefix:
                self.problems.append(self.places.within(place, mistake))

    def _unknown_names(self, template: Template, copy: Copy, place: Place) -> Iterator[Problem]:
        columns = [*self.sets.make(copy.select), *self._columns_of_images]
        shown = [column for column in columns if column not in self._hidden]
        for name in sorted(template.names - {*columns}):
            own = self.sets.make(copy.select) if self.selections[copy.select].query is not None else ()
            if name.lower() in (column.lower() for column in own):
                continue
            hint = f"write vars.{name}" if name in self.model.vars else how_to_index(name) or did_you_mean(name, shown)
            hint = hint or near_keyword(name) or "templates know the columns of images, those of the query, and vars.NAME"
            what = "is not a column of the index" if name in tags() else "is neither a column of the index nor of the set"
            yield self.places.within(place, Mistake(f'"{name}" {what}', fragment=name, hint=hint))

    def _ordered(self) -> list[str]:
        """The actions, each after those that it needs, else as the file has them."""
        known = [f"{kind}.{name}" for kind in ("copy", "send", "retrieve") for name in self._known(kind)]
        for name, action in self.actions.items():
            for number, needed in enumerate(action.needs):
                place: Place = (*name.split("."), "needs", number)
                self._check_known(place, "action", needed, known)
        order, rings = in_order({name: action.needs for name, action in self.actions.items()})
        for first, needed, *rest in rings:
            place = (*first.split("."), "needs", self.actions[first].needs.index(needed))
            self.problems.append(self.places.at_value(place, f"{first} needs itself", " → ".join([first, needed, *rest])))
        return order


def _empty(statements: Iterator[str]) -> sqlite3.Connection:
    """An index in memory that holds nothing."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    for statement in statements:
        connection.execute(statement)
    set_up(connection)
    connection.execute("PRAGMA temp_store = MEMORY")
    return connection
