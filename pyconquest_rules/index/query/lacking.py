"""Why a set does not select an instance: the values that the instance has in the columns named in the SQL of the set."""

from pyconquest_rules.dicom import Level
from pyconquest_rules.index.query.selection import Sets
from pyconquest_rules.index.query.sql import Value
from pyconquest_rules.index.store.schema import VIEWS, column_names, quoted
from pyconquest_rules.index.store.tokens import words


def values(sets: Sets, name: str, SOPInstanceUID: str) -> dict[str, Value]:
    """Return the values of an instance by column, first from the view of the set's level, then from the view `images`.

    The key of the level is left out for a query, which has to select it, but not for a condition.
    """
    selection = sets.selections[name]
    wanted = words(selection.text)
    if selection.query is not None:
        wanted.discard(selection.level.key.lower())
    found = dict[str, Value]()
    for level in dict.fromkeys((selection.level, Level.IMAGE)):
        view, key = VIEWS[level], level.key
        columns = column_names(sets.connection, view)
        if named := [column for column in columns if column.lower() in wanted and column not in found]:
            row = sets.connection.execute(
                f"SELECT {', '.join(map(quoted, named))} FROM {view}"
                f" WHERE {key} = (SELECT {key} FROM images WHERE SOPInstanceUID = ?) LIMIT 1",
                (SOPInstanceUID,),
            ).fetchone()
            found |= dict(zip(named, row or (), strict=False))
    return found
