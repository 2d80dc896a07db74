"""Check the names of tables, the references to them, and the order of actions."""

import re
from collections.abc import Iterable, Iterator, Mapping

from pyconquest_rules.errors import Problem, did_you_mean
from pyconquest_rules.index.query.clock import TODAY
from pyconquest_rules.rules.fields import NAME, Marked, Reference, ReferenceToAction
from pyconquest_rules.rules.kinds import Action
from pyconquest_rules.rules.model import RulesFile
from pyconquest_rules.rules.order import in_order
from pyconquest_rules.rules.places import Places
from pyconquest_rules.rules.positions import Path

NAMED = ("vars", "sources", "tables", "select", "nodes", "profile")
"""The kinds of named tables that are part of the rules file itself."""


def name_problems(rules_file: RulesFile, kinds: Iterable[str], places: Places) -> Iterator[Problem]:
    """Yield a problem for each name that is invalid or reserved."""
    tables: list[Path] = [(kind, name) for kind in (*NAMED, *kinds) for name in places.names(kind)]
    params: list[Path] = [("select", name, "params", key) for name, of in rules_file.select.items() for key in of.params]
    for place in (*tables, *params):
        if not re.fullmatch(NAME, str(place[-1])):
            hint = "a name has lower-case letters, digits and _, at most 64, and begins with a letter"
            yield places.at_key(place, f'"{place[-1]}" is not a valid name', hint)
        elif place in (("vars", TODAY), (*place[:2], "params", TODAY)):
            yield places.at_key(place, f'"{TODAY}" is reserved: :{TODAY} is the day of the run', "choose another name")


def reference_problems(found: Iterable[Marked], rules_file: RulesFile, acting: list[str], places: Places) -> Iterator[Problem]:
    """Yield a problem for each reference to a missing table or action, and to a source without the layout that it needs.

    `acting` are the kinds whose tables are actions.
    """
    actions = [f"{kind}.{name}" for kind in acting for name in places.names(kind)]
    for place, marker, name in found:
        match marker:
            case ReferenceToAction():
                yield from _unknown(place, "action", name, actions, places)
            case Reference(what, kind, filled):
                yield from _unknown(place, what, name, places.names(kind), places)
                if filled and name in rules_file.sources and rules_file.sources[name].layout is None:
                    hint = 'add one: layout = "{{ PatientID }}/{{ SOPInstanceUID }}.dcm"'
                    yield places.at_value(place, f'the source "{name}" has no layout', hint)


def _unknown(place: Path, what: str, name: str, names: list[str], places: Places) -> Iterator[Problem]:
    if name not in names:
        hint = did_you_mean(name, names) or f"{what}s are: {', '.join(names) or 'none'}"
        yield places.at_value(place, f'unknown {what} "{name}"', hint)


def ordered(actions: Mapping[str, Action], places: Places) -> tuple[list[str], list[Problem]]:
    """Return the actions in the order of the file, but each after those that it needs, and a problem for each cycle."""
    order, cycles = in_order({name: action.needs for name, action in actions.items()})
    problems = list[Problem]()
    for first, needed, *rest in cycles:
        place: Path = (*first.split("."), "needs", actions[first].needs.index(needed))
        problems.append(places.at_value(place, f"{first} needs itself", " → ".join([first, needed, *rest])))
    return order, problems
