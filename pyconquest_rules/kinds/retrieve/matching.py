"""`match` of `[retrieve.NAME]`: the values of a query, as text or as days that end with the day of the run."""

import json
from collections.abc import Mapping
from datetime import date
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from pyconquest_rules.rules.fields import Table, VariablesOnly, wrong

MOST_DAYS = 36525


class LastDays(Table):
    """`{ last_days = 7 }`: the day of the run and the days before it."""

    last_days: Annotated[
        int,
        Field(strict=True, ge=0, le=MOST_DAYS, description="How many days before the day of the run, which counts as well."),
    ]

    def until(self, today: date) -> str:
        """Return the days as a range of dates (PS3.4 C.2.2.2.5)."""
        first = date.fromordinal(max(1, today.toordinal() - self.last_days))
        return "-".join(day.isoformat().replace("-", "") for day in (first, today))


def _value(value: Any) -> object:
    """Return text unchanged, and `{ last_days = N }` as LastDays. Raises one error, not one for each branch of the union."""
    match value:
        case str() | LastDays():
            return value
        case {"last_days": int(days)} if len(value) == 1 and not isinstance(days, bool) and 0 <= days <= MOST_DAYS:
            return LastDays(last_days=days)
        case {"env": _}:
            raise wrong("must be text", hint="environment variables come from [vars]: write {{ vars.NAME }}")
        case {"last_days": _}:
            other = next((str(key) for key in value if key != "last_days"), None)
            message = f'unknown key "{other}"' if other else f"must be a whole number from 0 to {MOST_DAYS}"
            raise wrong(message, other or "last_days", "write { last_days = 7 }")
        case dict():
            raise wrong("must be text, or { last_days = N }", hint='write { last_days = 7 }, or a range: "20240101-20241231"')
        case date():
            raise wrong("must be text", hint=f'write it as DICOM does: "{value:%Y%m%d}"')
        case list():
            raise wrong("must be text", hint=r"join the values of a list by a backslash: 'CT\MR'")
    raise wrong("must be text", hint=f"write it in quotes: {json.dumps(str(value))}")


Match = Annotated[str | LastDays, BeforeValidator(_value), VariablesOnly()]
"""The value of a key: text, or days that end with the day of the run."""


def on(match: Mapping[str, str | LastDays], today: date) -> dict[str, str]:
    """Return the values of the query in a run on a day."""
    return {key: value.until(today) if isinstance(value, LastDays) else value for key, value in match.items()}
