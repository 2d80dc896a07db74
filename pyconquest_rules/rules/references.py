"""What the names of a rules file refer to: tables, actions, and what comes before what."""

import re
from collections.abc import Iterable, Iterator, Mapping

from pyconquest_rules.errors import Problem, did_you_mean
from pyconquest_rules.index.query.clock import TODAY
from pyconquest_rules.rules.fields import Marked, Reference, ReferenceToAction
from pyconquest_rules.rules.kinds import Action
from pyconquest_rules.rules.model import NAME, RulesFile
from pyconquest_rules.rules.order import in_order
from pyconquest_rules.rules.places import Places
from pyconquest_rules.rules.positions import Path

NAMED = ("vars", "sources", "tables", "select", "nodes")
"""The tables of the rules file itself that have names."""


def name_problems(rules_file: RulesFile, kinds: Iterable[str], places: Places) -> Iterator[Problem]:
    """Yield the names that are not valid, or taken."""
    tables: list[Path] = [(kind, name) for kind in (*NAMED, *kinds) for name in places.names(kind)]
    params: list[Path] = [("select", name, "params", key) for name, of in rules_file.select.items() for key in of.params]
    for place in (*tables, *params):
        if not re.fullmatch(NAME, str(place[-1])):
            hint = "names are small letters, digits and _, at most 64, and begin with a letter"
            yield places.at_key(place, f'"{place[-1]}" is not a name', hint)
        elif place in (("vars", TODAY), (*place[:2], "params", TODAY)):
            yield places.at_key(place, f'"{TODAY}" is taken: :{TODAY} is the day of the run', "choose another name")


def reference_problems(found: Iterable[Marked], rules_file: RulesFile, acting: list[str], places: Places) -> Iterator[Problem]:
    """Yield the references to what the file does not have. `acting` are the kinds whose tables are actions."""
    actions = [f"{kind}.{name}" for kind in acting for name in places.names(kind)]
    for place, marker, name in found:
        match marker:
            case ReferenceToAction():
                yield from _unknown(place, "action", name, actions, places)
            case Reference(what, kind, filled):
                yield from _unknown(place, what, name, places.names(kind), places)
                if filled and name in rules_file.sources and rules_file.sources[name].layout is None:
                    hint = 'give it one: layout = "{{ PatientID }}/{{ SOPInstanceUID }}.dcm"'
                    yield places.at_value(place, f'the source "{name}" has no layout', hint)


def _unknown(place: Path, what: str, name: str, names: list[str], places: Places) -> Iterator[Problem]:
    if name not in names:
        hint = did_you_mean(name, names) or f"{what}s are: {', '.join(names) or 'none'}"
        yield places.at_value(place, f'unknown {what} "{name}"', hint)


def ordered(actions: Mapping[str, Action], places: Places) -> tuple[list[str], list[Problem]]:
    """Return the actions, each after those that it needs, else as they stand; and those that need themselves."""
    order, rings = in_order({name: action.needs for name, action in actions.items()})
    problems = list[Problem]()
    for first, needed, *rest in rings:
        place: Path = (*first.split("."), "needs", actions[first].needs.index(needed))
        problems.append(places.at_value(place, f"{first} needs itself", " → ".join([first, needed, *rest])))
    return order, problems
