"""Check the templates: the layouts of sources, the destinations of actions, and texts such as the arguments of commands."""

from collections.abc import Iterable, Iterator, Mapping, Set
from itertools import islice

from pyconquest_rules.dicom import near_keyword, tags
from pyconquest_rules.disk.outputs import Outputs
from pyconquest_rules.errors import MOST_TOLD, Mistake, Problem, did_you_mean
from pyconquest_rules.index.query.sql_mistakes import how_to_index
from pyconquest_rules.paths import UnsafePath
from pyconquest_rules.rules.fields import Marked, MemberTemplate, PathTemplate, Reference, TextTemplate
from pyconquest_rules.rules.model import RulesFile
from pyconquest_rules.rules.places import Places
from pyconquest_rules.rules.positions import Path
from pyconquest_rules.rules.problems import Problems
from pyconquest_rules.rules.sets import CheckedSets
from pyconquest_rules.rules.validation import STAND_IN
from pyconquest_rules.templates import Template
from pyconquest_rules.templates.template import Text

Named = tuple[str, str]
"""The kind and the name of a table."""


class CheckedTemplates:
    """Compiles and checks the templates of a rules file.

    `prefixes` are the leading folders of the destinations of a table. `names` are the names that each valid template uses, by
    its path in the file.
    """

    def __init__(self, rules_file: RulesFile, places: Places, outputs: Outputs, sets: CheckedSets) -> None:
        self._file, self._places, self._outputs, self._sets = rules_file, places, outputs, sets
        self.prefixes, self.names = dict[Named, set[str]](), dict[Path, frozenset[str]]()

    def check(self, tables: Mapping[Named, Iterable[Marked]], problems: Problems) -> dict[Named, Template]:
        """Return the templates by table; if a table has several, the last. Append to `problems` what is wrong with them."""
        templates = dict[Named, Template]()
        for table, found in tables.items():
            selects = [value for _, marker, value in found if isinstance(marker, Reference) and marker.kind == "select"]
            for place, marker, text in found:
                if isinstance(marker, TextTemplate) and not problems.enough:
                    problems += islice(self._in_text(text, marker, selects, place), MOST_TOLD)
                if not isinstance(marker, PathTemplate | MemberTemplate) or problems.enough:
                    continue
                try:
                    template = Template(text, self._file.vars)
                except Mistake as mistake:
                    problems.append(self._places.within(place, mistake))
                    continue
                self.names[place] = template.names
                if isinstance(marker, MemberTemplate):
                    problems += islice(self._unknown_names(template.names, selects, place), MOST_TOLD)
                    continue
                templates[table] = template
                if marker.below_outputs:
                    self.prefixes.setdefault(table, set()).add(template.prefix)
                    problems += self._outside(template, place)
                    unknown = self._unknown_names(template.names, selects, place)
                else:
                    unknown = self._not_of_images(template, place)
                problems += islice(unknown, MOST_TOLD)
        return templates

    def _in_text(self, text: str, marker: TextTemplate, selects: list[str], place: Path) -> Iterator[Problem]:
        """Yield what is wrong with the template of a text."""
        try:
            names = self.names[place] = frozenset(Text(text, self._file.vars).columns)
        except Mistake as mistake:
            yield self._places.within(place, mistake)
        else:
            yield from self._unknown_names(names.difference(marker.own), selects, place, marker.own)

    def _not_of_images(self, template: Template, place: Path) -> Iterator[Problem]:
        """Yield the names in the layout of a source that are not columns of images. A layout has no query to add columns."""
        for used in sorted(template.names - {*self._sets.columns_of_images}):
            unknown = Mistake(f'"{used}" is not a column of the index', fragment=used, hint=how_to_index(used))
            yield self._places.within(place, unknown)

    def _outside(self, template: Template, place: Path) -> Iterator[Problem]:
        """Yield a problem if the folders that all destinations begin with are outside the outputs."""
        try:
            self._outputs.place(f"{template.prefix}/x" if template.prefix else "x")
        except UnsafePath as unsafe:
            folders = [self._places.written(("outputs", number), folder) for number, folder in enumerate(self._file.outputs)]
            below = " or ".join(f'"{folder}"' for folder in folders) or "an output (there are none)"
            hint = f"it must be below {below}, and outside all sources"
            mistake = Mistake(str(unsafe), fragment=template.prefix, hint=hint)
            if STAND_IN not in template.prefix:
                yield self._places.within(place, mistake)

    def _unknown_names(self, names: Set[str], selects: list[str], place: Path, others: tuple[str, ...] = ()) -> Iterator[Problem]:
        """Yield the names in a template that are neither columns of images nor of the set of the action."""
        for name_of_set in selects:
            of_set = self._sets.columns(name_of_set)
            if of_set is None:
                return
            columns = [*of_set, *self._sets.columns_of_images]
            shown = [*others, *(column for column in columns if column not in self._sets.hidden)]
            own = [column.lower() for column in of_set] if self._sets.is_query(name_of_set) else []
            for name in sorted(names - {*columns}):
                if name.lower() in own:
                    continue
                hint = f"write vars.{name}" if name in self._file.vars else how_to_index(name) or did_you_mean(name, shown)
                hint = hint or near_keyword(name) or "templates can use the columns of images, those of the query, and vars.NAME"
                what = "is not a column of the index" if name in tags() else "is neither a column of the index nor of the set"
                yield self._places.within(place, Mistake(f'"{name}" {what}', fragment=name, hint=hint))
