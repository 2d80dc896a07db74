"""The model of `[expect.NAME]`."""

from typing import Annotated, Literal

from pydantic import Field

from pyconquest_rules.rules.fields import ActionName, Sql, Table


class Expect(Table):
    """An expectation about the data: a query for rows that should not be there."""

    query: Annotated[Sql, Field(description="A SELECT that returns the rows that should not be there.")]
    severity: Annotated[
        Literal["error", "warn"],
        Field(description='"error": if it fails, the actions of `blocks` are held back. "warn": it is only shown.'),
    ] = "error"
    max_rows: Annotated[int, Field(strict=True, ge=0, description="The most rows that are allowed.")] = 0
    blocks: Annotated[
        tuple[ActionName, ...] | None,
        Field(description="The actions that are held back; if left out, all except retrievals."),
    ] = None
