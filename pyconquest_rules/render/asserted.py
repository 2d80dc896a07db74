"""The results of expectations as text and as JSON."""

from collections.abc import Iterable, Iterator
from textwrap import indent

from pyconquest_rules.answers import Asserted
from pyconquest_rules.render.steps import Line
from pyconquest_rules.render.terminal import cell, printable, table, text_of


def asserted_lines(results: Iterable[Asserted], *, rows: bool) -> Iterator[Line]:
    """Yield a line for each expectation. With `rows`, the first rows of those that fail follow; they may have patient data."""
    for result in results:
        if not result.exceeded:
            allowed = f"  ({result.rows:,} of {result.most:,} allowed rows)" if result.rows else ""
            yield ("ok ", "green"), result.name, (allowed, "dim")
            continue
        yield ("failed: ", "bold red") if result.severe else ("warning: ", "yellow"), result.message
        if rows:
            cells = ([cell(value) for value in row] for row in result.first)
            for line in table([*map(printable, result.columns)], cells):
                yield (indent("".join(map(text_of, line)), "    "),)
        shown = len(result.first) if rows else 0
        if result.rows > shown:
            yield ((f"    all rows: query {result.name}", "dim"),)


def asserted_fields(result: Asserted, *, rows: bool) -> dict[str, object]:
    """Return the result of an expectation as JSON fields; with `rows`, the first rows too."""
    first = {"first": [dict(zip(result.columns, row, strict=True)) for row in result.first]} if rows else {}
    return {
        "name": result.name,
        "severity": "error" if result.severe else "warn",
        "rows": result.rows,
        "max_rows": result.most,
        "exceeded": result.exceeded,
        "blocks": result.holds,
        "message": result.message if result.exceeded else None,
        **first,
    }


def asserted_totals(results: Iterable[Asserted]) -> dict[str, object]:
    """Return the results of expectations by name, for a summary."""
    return {each.name: {"rows": each.rows, "exceeded": each.exceeded, "failed": each.failed} for each in results}
