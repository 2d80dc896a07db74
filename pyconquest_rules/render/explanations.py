"""What `explain` prints about an instance: its file, its sets and its steps."""

from collections.abc import Iterator

from pyconquest_rules.answers import Explained, ExplainedStep
from pyconquest_rules.render.steps import Line
from pyconquest_rules.render.terminal import cell, printable


def explanation(instance: Explained) -> Iterator[Line]:
    """Yield the lines of one instance."""
    yield ((instance.SOPInstanceUID, "bold"),)
    yield (f"  file   {_path(instance.source)}",)
    yield (f"  sets   {', '.join(instance.sets) or 'none'}",)
    for other in instance.not_in:
        values = (f"{column} {'has no value' if v is None else f'is {cell(v)}'}" for column, v in other.has.items())
        has = ", ".join(values)
        yield f"  not in {other.name}", f": {has}" if has else ""
    for step in instance.steps:
        yield from _step(step)


def _step(explained: ExplainedStep) -> Iterator[Line]:
    step = explained.step
    where = printable(step.operation.destination) or "nowhere"
    where += f", as {printable(explained.member)}" if explained.member is not None else ""
    yield (f"  {step.action}: {step.status} ({step.reason}) → {where}",)
    if step.message:
        yield (f"    {printable(step.message)}",)
    for partner in explained.partners:
        yield (f"    with {partner.SOPInstanceUID} of {partner.action} → {printable(partner.destination)}",)
        yield (f"      file {_path(partner.source)}",)
    if explained.others:
        yield (f"    and {explained.others:,} more",)


def _path(path: bytes) -> str:
    return printable(path.decode("utf-8", "surrogateescape"))
