"""Findings about a plan as fields of a JSON line."""

from dataclasses import asdict

from pyconquest_rules.answers import Finding as Against
from pyconquest_rules.answers import Incomplete, Vanished


def against(finding: Against, *, listed: bool = False) -> dict[str, object]:
    """Return the fields of a finding. UIDs are left out unless they are `listed`."""
    if isinstance(finding, Incomplete):
        uids = {"uids": finding.uids if listed else ()}
        return {"finding": "incomplete", **asdict(finding), **uids, "message": finding.message}
    what = "vanished" if isinstance(finding, Vanished) else "no-room"
    return {"finding": what, **asdict(finding), "message": finding.message}
