"""`unique-instance-numbers`: no two instances of a series have the same InstanceNumber."""

from pyconquest_rules.kinds.expect.builtins.builtin import Builtin, Given, Query

QUERY = """
SELECT min(i.PatientID) AS PatientID, i.SeriesInstanceUID, i.InstanceNumber, count(*) AS instances,
    count(*) || ' instances have InstanceNumber ' || i.InstanceNumber AS problem
FROM images AS i WHERE {chosen} AND coalesce(i.InstanceNumber, '') != ''
GROUP BY i.SeriesInstanceUID, i.InstanceNumber HAVING count(*) > 1 ORDER BY i.SeriesInstanceUID, i.InstanceNumber
"""


def _query(given: Given) -> Query:
    return Query(QUERY.format(chosen=given.within("i")), {})


UNIQUE_INSTANCE_NUMBERS = Builtin(_query)
