"""Steps of a plan as text: one per line, or grouped by folder within the width of a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from textwrap import wrap
from typing import TYPE_CHECKING

from pyconquest_rules.answers import size
from pyconquest_rules.render.terminal import Part, printable, shortened
from pyconquest_rules.steps import Reason, RetrieveInstance, SendInstance, Status, Step

if TYPE_CHECKING:
    from pyconquest_rules.engine.overview import Group, Place

COLOURS = {Status.TODO: "green", Status.BLOCKED: "red", Status.UNCHANGED: "dim"}

Line = tuple[Part, ...]


def step_line(step: Step) -> Line:
    """Return one step with its reason, without shortening."""
    sign, colour = _sign(step.status, step.reason)
    match step.operation:
        case RetrieveInstance(node, series):
            study = f"study {series.StudyInstanceUID}, series {series.SeriesInstanceUID}"
            shown = f"{step.SOPInstanceUID} from {node} ({study})"
        case SendInstance(destination=node):
            shown = f"{step.SOPInstanceUID} to {node}"
        case operation:
            shown = operation.destination or step.SOPInstanceUID
    says = step.message and (step.status is Status.BLOCKED or step.reason is not Reason.CONFLICT)
    why = f"{step.reason}: {step.message}" if says else step.reason
    return (f"{sign} {step.action} ", colour), printable(shown), (f"  ({why})", "dim")


def group_lines(groups: Iterable[Group], columns: int) -> Iterator[Line]:
    """Yield the lines of groups: a heading, a message, and the folders of each; no line is wider than `columns`."""
    more = False
    for group in groups:
        sign, colour = _sign(group.status, group.reason)
        yield (f"{sign} {group.action}", f"bold {colour}"), shortened(_what(group), columns - 2 - len(group.action))
        for text in wrap(group.message or "", columns - 4):
            yield ((f"    {text}", "dim"),)
        yield from _places(group, columns)
        more = more or group.folders > len(group.places) or any(place.steps > len(place.first) for place in group.places)
    if more:
        yield (("… plan --list shows every step", "dim"),)


def _sign(status: Status, reason: Reason) -> tuple[str, str]:
    if reason is Reason.DESTINATION_CHANGED:
        return "~", "red" if status is Status.BLOCKED else "yellow"
    if status is Status.TODO and reason is Reason.PRUNE:
        return "-", "yellow"
    return {Status.TODO: "+", Status.BLOCKED: "!", Status.UNCHANGED: "="}[status], COLOURS[status]


def _what(group: Group) -> str:
    """Return the number of steps, their status, their reason, and their node if they have one."""
    blocked = "blocked, " if group.status is Status.BLOCKED else ""
    parts = [f"  {group.steps:,} {blocked}{group.reason}"]
    if group.bytes and group.status is Status.TODO and group.reason is not Reason.ADOPT:
        parts.append(size(group.bytes))
    if group.node:
        parts.append(f"{'from' if group.kind == 'arrival' else 'to'} {printable(group.node)}")
    return ", ".join(parts)


def _places(group: Group, columns: int) -> Iterator[Line]:
    study = None
    for place in group.places:
        if group.kind == "arrival" and place.name:
            *above, series = place.name.split(" ")
            if above != study:
                study = above
                yield (f"    study {shortened(printable(' '.join(above)), columns - 10)}",)
            yield f"      series {shortened(printable(series), columns - 30)}", (f"  {_number(place, 'image')}", "dim")
            continue
        if place.name:
            counted = f"  {_number(place, 'file')}" + (f", {size(place.bytes)}" if place.bytes else "")
            yield f"    {shortened(printable(place.name), columns - 4 - len(counted))}", (counted, "dim")
        indent = 6 if place.name else 4
        for name in place.first:
            yield (" " * indent + shortened(printable(name), columns - indent),)
        if (rest := place.steps - len(place.first)) > 0 and (len(place.first) > 1 or not place.name):
            yield ((f"{' ' * indent}… {rest:,} more", "dim"),)
    if (rest := group.folders - len(group.places)) > 0:
        what = "series" if group.kind == "arrival" else "folder" if rest == 1 else "folders"
        yield ((f"    … {rest:,} more {what}", "dim"),)


def _number(place: Place, what: str) -> str:
    return f"{place.steps:,} {what if place.steps == 1 else what + 's'}"
