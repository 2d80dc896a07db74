"""`no-burned-in`: no instance says, or is likely, to have text of the patient in its pixels."""

from pyconquest_rules.kinds.expect.builtins.builtin import Builtin, Given, Query

LIKELY = {
    "secondary captures": ("7", "7.1", "7.2", "7.3", "7.4"),
    "ultrasound": ("3", "3.1", "6", "6.1", "6.2"),
    "endoscopy and photographs": ("77.1.1", "77.1.1.1", "77.1.4", "77.1.4.1"),
    "encapsulated documents": ("104.1", "104.2"),
}
"""The SOP classes that often have such text (PS3.4 B.5, with retired ones), by the end of the UID."""

CLASSES = ", ".join(f"'1.2.840.10008.5.1.4.1.1.{end}'" for ends in LIKELY.values() for end in ends)

QUERY = f"""
SELECT i.PatientID, i.SeriesInstanceUID, i.SOPInstanceUID, i.SOPClassUID, i.BurnedInAnnotation,
    CASE WHEN i.BurnedInAnnotation IS NULL THEN 'the SOP class often has burned-in text, and BurnedInAnnotation is missing'
        ELSE 'BurnedInAnnotation is ' || i.BurnedInAnnotation END AS problem
FROM images AS i WHERE {{chosen}}
    AND CASE WHEN i.BurnedInAnnotation IS NULL THEN i.SOPClassUID IN ({CLASSES}) ELSE i.BurnedInAnnotation != 'NO' END
"""


def _query(given: Given) -> Query:
    return Query(QUERY.format(chosen=given.within("i")), {})


NO_BURNED_IN = Builtin(_query)
