"""`[profile.NAME]`, `--profile` and `--var`: other values of variables, and actions that are left out."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from pyconquest_rules.errors import Problem, UsageError, did_you_mean
from pyconquest_rules.rules.kinds import Action
from pyconquest_rules.rules.model import RulesFile
from pyconquest_rules.rules.places import Places
from pyconquest_rules.rules.positions import Path
from pyconquest_rules.rules.rules import matching


@dataclass(frozen=True, slots=True)
class Choice:
    """What the command line chooses: a profile, and values that replace those of variables."""

    profile: str | None = None
    variables: Mapping[str, str] = field(default_factory=dict)


def applied(choice: Choice, places: Places) -> Places:
    """Return the document with the values of the chosen profile and of the command line in `[vars]`.

    Raises UsageError for a profile or a variable that the document does not have.
    """
    names = [*_table(places, "profile")]
    if choice.profile is not None and choice.profile not in names:
        hint = did_you_mean(choice.profile, names) or f"profiles are: {', '.join(names) or 'none'}"
        raise UsageError(f'unknown profile "{choice.profile}"; {hint}')
    known = _table(places, "vars")
    for name in choice.variables:
        if name not in known:
            hint = did_you_mean(name, known) or f"variables are: {', '.join(known) or 'none'}"
            raise UsageError(f'unknown variable "{name}"; {hint}')
    of_profile = _table(places, "profile", choice.profile, "vars") if choice.profile is not None else {}
    replacing = {name: value for name, value in of_profile.items() if name in known and name not in choice.variables}
    moved: dict[Path, Path] = {("vars", name): ("profile", choice.profile or "", "vars", name) for name in replacing}
    return places.replaced("vars", {**replacing, **choice.variables}, moved)


def profile_problems(
    rules_file: RulesFile, actions: Mapping[str, Action], acting: list[str], places: Places
) -> Iterator[Problem]:
    """Yield a problem for each variable, kind, action or tag of a profile that the rules do not have.

    An action that needs a disabled one is a problem too: it would run without what it needs.
    """
    words = [*acting, *actions, *sorted({f"tag:{tag}" for action in actions.values() for tag in action.tags})]
    known = [*_table(places, "vars")]
    for name, profile in rules_file.profile.items():
        for variable in profile.vars:
            if variable not in known:
                hint = did_you_mean(variable, known) or f"variables are: {', '.join(known) or 'none'}"
                yield places.at_key(("profile", name, "vars", variable), f'[vars] has no variable "{variable}"', hint)
        out = disabled(profile.disable, actions)
        for number, word in enumerate(profile.disable):
            place = ("profile", name, "disable", number)
            if word not in words:
                hint = did_you_mean(word, words) or f"it can name: {', '.join(words)}"
                yield places.at_value(place, f'unknown kind, action or tag "{word}"', hint)
            for needed in disabled((word,), actions):
                for other, action in actions.items():
                    if needed in action.needs and other not in out:
                        hint = f'add "{other}" to disable, or remove "{word}" from it'
                        yield places.at_value(place, f"{other} needs {needed}, which this profile disables", hint)


def disabled(words: tuple[str, ...], actions: Mapping[str, Action]) -> frozenset[str]:
    """Return the actions that any of some words means: a kind, an action, or a tag as `tag:WORD`."""
    return frozenset(name for word in words for name in matching(word, actions))


def _table(places: Places, *path: str) -> Mapping[str, object]:
    """Return the table of the document at a path; an empty one if there is none, or if its value is not a table."""
    found, rest = places.follow(path)
    value = None if rest else places.at(found)
    return value if isinstance(value, dict) else {}
