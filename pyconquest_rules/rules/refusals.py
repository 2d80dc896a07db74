"""The reasons for which a file may stay out of the index: the values of `accept`."""

from typing import Literal

Refusal = Literal[
    "archive-bomb",
    "conflict",
    "damaged-archive",
    "damaged-member",
    "dicomdir",
    "doubled-name",
    "encrypted",
    "invalid-SOPInstanceUID",
    "malformed",
    "nested-archive",
    "no-SOPInstanceUID",
    "not-a-file",
    "overlapping",
    "reader-killed",
    "too-large",
    "too-many-members",
    "truncated",
    "unreadable",
    "unsafe-name",
    "unsupported-compression",
]
"""The reasons for which a DICOM file, or a file that cannot be read, is not indexed."""
