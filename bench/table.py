"""The table of comparisons, as text or as Markdown."""

from collections.abc import Callable, Sequence

from bench.contest import AtLeast, AtMost, Compared, Measured, Memory, Target, Within
from bench.measure import Sample

HEAD = ("row", "peer", "by", "files/s", "MB/s", "wall s", "CPU s", "peak MB", "ratio", "target", "met")
NOTHING = "-"


def cells(compared: Compared) -> tuple[str, ...]:
    """Return a line of the table. A cell with two figures has ours first, then the peer's."""
    line, sides = compared.line, [side for side in (compared.ours, compared.peer) if side]
    targets = line.targets
    return (
        line.name,
        line.peer or NOTHING,
        line.by.value,
        _both(sides, lambda sample, side: _number(side.files / line.by.of(sample)) if side.files else NOTHING),
        _both(sides, lambda sample, side: f"{side.bytes / line.by.of(sample) / 1_000_000:.0f}")
        if compared.ours.bytes
        else NOTHING,
        _both(sides, lambda sample, _: _number(sample.wall)),
        _both(sides, lambda sample, _: _number(sample.cpu)),
        _both(sides, lambda sample, _: f"{sample.peak / 1_000_000:.0f}"),
        _ratio(compared),
        ", ".join(map(_target, targets)) or NOTHING,
        ", ".join({True: "yes", False: "NO", None: "?"}[compared.met(target)] for target in targets) or NOTHING,
    )


def notes(lines: Sequence[Compared]) -> list[str]:
    """Return the reasons for missing figures, each once."""
    sides = [(c.line.ours, c.ours) for c in lines] + [(c.line.peer, c.peer) for c in lines]
    return list(dict.fromkeys(f"{name}: {side.why}" for name, side in sides if side and side.why))


def as_text(lines: Sequence[Compared]) -> str:
    """Return the table for a terminal, with the notes below it."""
    rows = [HEAD, *map(cells, lines)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    padded = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([padded[0], "  ".join("-" * width for width in widths), *padded[1:], "", *notes(lines)]).rstrip() + "\n"


def as_markdown(lines: Sequence[Compared]) -> str:
    """Return the same as Markdown."""
    rows = [HEAD, ["---"] * len(HEAD), *map(cells, lines)]
    table = "".join(f"| {' | '.join(row)} |\n" for row in rows)
    return table + "".join(f"\n* {note.splitlines()[0]}\n" for note in notes(lines))


def _both(sides: Sequence[Measured], figure: Callable[[Sample, Measured], str]) -> str:
    return " / ".join(figure(side.sample, side) if side.sample else NOTHING for side in sides)


def _ratio(compared: Compared) -> str:
    if compared.ratio:
        return f"{_number(compared.ratio)} x {'as long' if compared.line.longer else 'as fast'}"
    reasons = [side.why.partition(":")[0] for side in (compared.ours, compared.peer) if side and side.why]
    return ", ".join(reasons) or NOTHING


def _number(value: float) -> str:
    """Return a number with three significant digits."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}" if value >= 0.001 else f"{value:.4f}"


def _target(target: Target) -> str:
    match target:
        case AtLeast(times):
            return f">= {times:g} x"
        case AtMost(times):
            return f"<= {times:g} x"
        case Within(seconds):
            return f"<= {seconds:g} s"
        case Memory(megabytes):
            return f"<= {megabytes} MB"
