"""Conditions for queries about the instances of a set."""

from pyconquest_rules.dicom import Level
from pyconquest_rules.index.query.selection import Sets
from pyconquest_rules.index.store.schema import VIEWS, quoted
from pyconquest_rules.index.store.views import patient_of_images


def within(sets: Sets, name: str, alias: str) -> str:
    """Return the condition on `images AS alias` that the set selects the instance. Raises Mistake if the set cannot be made."""
    key, target = sets.key(sets.selections[name].level, sets.make(name))
    chosen = f"SELECT {quoted(key)} FROM {quoted(name)}"
    if target != Level.PATIENT.key:
        return f"{alias}.{target} IN ({chosen})"
    # Images without a PatientID belong to one patient.
    patients = f"SELECT coalesce({quoted(key)}, '') FROM {quoted(name)}"
    of_patients = f"SELECT SOPInstanceUID FROM ({patient_of_images(sets.schema)}) WHERE PatientID IN ({patients})"
    return f"{alias}.SOPInstanceUID IN ({of_patients})"


def indexed(sets: Sets, name: str, alias: str) -> str:
    """Return the condition on a row of a set, `alias`, that the index has what the row selects."""
    level = sets.selections[name].level
    key, target = sets.key(level, sets.make(name))
    own = f"{alias}.{quoted(key)}"
    value = f"nullif({own}, '')" if level is Level.PATIENT else own
    return f"EXISTS (SELECT 1 FROM {VIEWS[level]} AS level WHERE level.{target} IS {value})"
