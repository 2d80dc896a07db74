"""Check the meaning of a rules file: names, columns, queries, templates. No source and no index is read."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any, TypeVar

from pyconquest_rules.disk.named_files import is_inside
from pyconquest_rules.disk.outputs import Outputs
from pyconquest_rules.errors import Problem, RulesError
from pyconquest_rules.index.conquest.dicom_sql import parse, standard_text
from pyconquest_rules.index.scan.patterns import broken, too_many
from pyconquest_rules.index.scan.trees import Tree, divided
from pyconquest_rules.index.store.order import Order
from pyconquest_rules.index.store.schema import schema
from pyconquest_rules.index.store.tables import statements
from pyconquest_rules.rules import dicom_sql
from pyconquest_rules.rules.columns import additions
from pyconquest_rules.rules.fields import Form, Marked, NamedFile, marked
from pyconquest_rules.rules.kinds import Seen, TableKind
from pyconquest_rules.rules.misplaced import misplaced
from pyconquest_rules.rules.model import RulesFile, tables_of
from pyconquest_rules.rules.nodes import nodes
from pyconquest_rules.rules.paths import CheckedTemplates, Named
from pyconquest_rules.rules.places import Places
from pyconquest_rules.rules.problems import Problems
from pyconquest_rules.rules.profiles import disabled, profile_problems
from pyconquest_rules.rules.references import name_problems, ordered, reference_problems
from pyconquest_rules.rules.rules import Rules
from pyconquest_rules.rules.sets import CheckedSets, empty_index
from pyconquest_rules.rules.tables import csv_tables, table_problems

OUR_VARIABLES = "PYCONQUEST_"
R = TypeVar("R", bound=Rules)


def checked(
    file: Path,
    rules_file: RulesFile,
    kinds: Sequence[TableKind[Any]],
    form: Form,
    places: Places,
    problems: Problems,
    make: type[R],
    database: Path | None = None,
    profile: str | None = None,
) -> R:
    """Return the rules of a file, as the class `make`, without the actions that `profile` disables.

    The parts of the file are checked in the order of their dependencies.
    `rules_file` may lack invalid values, which `problems` already has; `places.document` has all values.
    Raises RulesError with `problems` and those found here.
    """
    base = file.resolve().parent
    if database is None:
        problems += _database_problems(rules_file, base, places)
    database = database.absolute() if database else base / rules_file.index.database
    problems += name_problems(rules_file, [kind.name for kind in kinds], places)
    problems += misplaced(places, form)
    trees = divided(Tree(name, (base / source.path).resolve(), source.exclude) for name, source in rules_file.sources.items())
    problems += _pattern_problems(rules_file, places)
    outputs = Outputs(base, rules_file.outputs, [tree.root for tree in trees], [*_own(file, base, database), *places.included])

    layout = dicom_sql.read(rules_file, base, places)
    problems += layout.problems
    columns = layout.layout or parse(standard_text())
    added, clashes = additions(rules_file.schema_, columns, places)
    problems += clashes
    made = schema(columns, added, content_hash=rules_file.index.hash)
    connection = empty_index(statements(made))
    csv = csv_tables(rules_file.tables, base, places)
    problems += table_problems(csv, connection, places)

    sets = CheckedSets(rules_file, places, connection, made, csv)
    templates = CheckedTemplates(rules_file, places, outputs, sets)
    sources = {("sources", name): [*marked(source, ("sources", name))] for name, source in rules_file.sources.items()}
    layouts = templates.check(sources, problems)
    sets.check(problems, all_broken=layout.layout is None)

    tables = tables_of(rules_file, kinds)
    found = {(kind, name): [*marked(table, (kind, name))] for kind, of in tables.items() for name, table in of.items()}
    destinations = templates.check(found, problems)
    sets.check_statements((each for some in found.values() for each in some), problems)
    acting = [kind.name for kind in kinds if kind.acts]
    problems += reference_problems((each for some in found.values() for each in some), rules_file, acting, places)
    others: Mapping[str, Mapping[str, Any]] = {"nodes": rules_file.nodes, "tables": rules_file.tables}
    seen = Seen(places, {**tables, **others}, rules_file.vars, frozenset(acting), sets, templates.names)
    for kind in kinds:
        for name, table in tables[kind.name].items():
            problems += kind.check(table, (kind.name, name), seen)
    actions = {f"{kind}.{name}": table for kind in acting for name, table in tables[kind].items()}
    order, cycles = ordered(actions, places)
    problems += cycles
    problems += profile_problems(rules_file, actions, acting, places)
    if problems:
        raise RulesError(problems)

    left_out = disabled(rules_file.profile[profile].disable, actions) if profile is not None else frozenset()
    bound = {
        kind.name: {name: kind.bound(table, base, rules_file.vars) for name, table in tables[kind.name].items()} for kind in kinds
    }
    return make(
        file=file.resolve(),
        base=base,
        database=database,
        schema=made,
        order=Order(rules_file.index.on_conflict, tuple(rules_file.sources), base, file.resolve()),
        accept=frozenset(rules_file.index.accept),
        outputs=outputs,
        trees=trees,
        layouts={name: template for (_, name), template in layouts.items()},
        tables=csv,
        dicom_sql=layout.text,
        dicom_sql_file=base / named if (named := rules_file.index.dicom_sql) is not None else None,
        selections=sets.selections,
        actions={name: bound[kind][of] for name in order if name not in left_out for kind, _, of in [name.partition(".")]},
        nodes=nodes(rules_file.nodes, base),
        of_kind=bound,
        templates={f"{kind}.{name}": template for (kind, name), template in destinations.items()},
        prefixes={f"{kind}.{name}": frozenset(prefixes) for (kind, name), prefixes in templates.prefixes.items()},
        files=(*_named_files(rules_file, found, base), *((each, "a rules file that is included") for each in places.included)),
        included=places.included,
        params=rules_file.vars,
        profiles=tuple(rules_file.profile),
        disabled=left_out,
        today=(today := date.today()),
    ).on(today)


def _own(file: Path, base: Path, database: Path) -> list[Path]:
    """Return the paths that no destination may have: the rules file, the files of the index and the state folder."""
    files = [database.with_name(database.name + end) for end in ("", "-wal", "-shm", "-journal")]
    return [file, base / ".pyconquest-rules", *files]


def _database_problems(rules_file: RulesFile, base: Path, places: Places) -> Iterator[Problem]:
    """Yield a problem if the rules put the index outside their folder.

    A stranger's rules could otherwise create a file that another program reads. The user can still name any path, by a
    variable whose name begins with OUR_VARIABLES.
    """
    written = places.document.get("index", {}).get("database")
    ours = isinstance(written, dict) and str(written.get("env")).startswith(OUR_VARIABLES)
    if ours and rules_file.index.database != written.get("default"):
        return
    if not is_inside(base / rules_file.index.database, base):
        message = "the index must be below the folder of the rules file"
        hint = f"only --database, $PYCONQUEST_DATABASE or a variable {OUR_VARIABLES}… can name another path"
        yield places.at_value(("index", "database"), message, hint)


def _pattern_problems(rules_file: RulesFile, places: Places) -> Iterator[Problem]:
    for name, source in rules_file.sources.items():
        if too := too_many(source.exclude):
            yield places.at_value(("sources", name, "exclude"), too)
        for number, pattern in enumerate(source.exclude):
            if wrong := broken(pattern):
                yield places.at_value(("sources", name, "exclude", number), *wrong)


def _named_files(rules_file: RulesFile, found: Mapping[Named, list[Marked]], base: Path) -> Iterator[tuple[Path, str]]:
    """Yield the files that the tables name, each with a description."""
    of_nodes = (each for name, node in rules_file.nodes.items() for each in marked(node, ("nodes", name)))
    for place, marker, value in (*of_nodes, *(each for some in found.values() for each in some)):
        if isinstance(marker, NamedFile):
            kind, name, *inside = place
            yield base / value, f"a file {''.join(f'of the {part} ' for part in reversed(inside[:-1]))}of [{kind}.{name}]"
