"""Encode and decode identifiers of Query/Retrieve (PS3.4 C.4.1.1.3), with keys as text."""

import struct
from collections.abc import Iterable, Mapping
from typing import Any

from pydicom.charset import convert_encodings, decode_bytes
from pydicom.config import IGNORE
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.valuerep import CUSTOMIZABLE_CHARSET_VR, PN_DELIMS, TEXT_VR_DELIMS

from pyconquest_rules.dicom import Level, dictionary, tags
from pyconquest_rules.errors import Mistake
from pyconquest_rules.network.elements import IMPLICIT_VR_LITTLE_ENDIAN, elements
from pyconquest_rules.network.keys import known_key
from pyconquest_rules.network.limits import LONGEST_VALUE

SPECIFIC_CHARACTER_SET, LONGEST_CHARACTER_SETS = 0x00080005, 256

NUMBERS = {"US": "H", "SS": "h", "UL": "I", "SL": "i", "UV": "Q", "SV": "q", "FL": "f", "FD": "d"}


def query(level: Level, keys: Mapping[str, str]) -> Dataset:
    """Return the identifier of a query (PS3.4 C.4.1.1.3). Raises Mistake for invalid keys or values."""
    identifier = Dataset()
    for keyword, value in keys.items():
        identifier.add(_element(keyword, known_key(keyword), value))
    if not all(value.isascii() for value in keys.values()):
        identifier.SpecificCharacterSet = "ISO_IR 192"
    identifier.QueryRetrieveLevel = level.upper()
    try:
        encoded(identifier, IMPLICIT_VR_LITTLE_ENDIAN)
    except Exception:  # noqa: BLE001 - pydicom raises many types when it packs a value
        raise Mistake("a value of the query is not valid for its VR") from None
    return identifier


def encoded(identifier: Dataset, syntax: str) -> bytes:
    """Encode a data set in Implicit or Explicit VR Little Endian. Raises the errors of pydicom."""
    file = DicomBytesIO()
    file.is_implicit_VR, file.is_little_endian = syntax == IMPLICIT_VR_LITTLE_ENDIAN, True
    write_dataset(file, identifier)
    return bytes(file.getvalue())


def _element(keyword: str, tag: int, text: str) -> DataElement:
    VR = dictionary()[tag].VR[:2]
    value: Any = text
    if VR in NUMBERS:
        try:
            value = [float(part) if VR in ("FL", "FD") else int(part) for part in text.split("\\") if part]
        except ValueError:
            raise Mistake(f"{keyword} must be a number", fragment=keyword) from None
    try:  # not validated, because a wild card or a range is not valid for the VR
        return DataElement(tag, VR, value, validation_mode=IGNORE)
    except (ValueError, TypeError):
        raise Mistake(f"the value of {keyword} is not valid for its VR ({VR})", fragment=keyword) from None


def answer(data: bytes, syntax: str, keywords: Iterable[str]) -> dict[str, str] | None:
    """Return the values of a match, "" for missing ones. Return None if it cannot be read or a value is too long."""
    try:
        found = elements(data, syntax)
        encodings = convert_encodings(_characters(found))
        return {keyword: _text(found.get(tags()[keyword]), keyword, encodings) for keyword in keywords}
    except Exception:  # noqa: BLE001 - pydicom raises many types when it decodes foreign bytes
        return None


def _characters(found: Mapping[int, memoryview]) -> str | list[str]:
    """Return the character sets of a match (PS3.3 C.12.1.1.2)."""
    names = bytes(found.get(SPECIFIC_CHARACTER_SET, b""))[:LONGEST_CHARACTER_SETS].decode("ascii").split("\\")
    named = [name.strip(" \0") for name in names]
    return named if len(named) > 1 else named[0] or "ISO_IR 6"


def _text(value: memoryview | None, keyword: str, encodings: list[str]) -> str:
    """Decode a value. pydicom's elements are not used: their warnings contain the value, and invalid values raise."""
    VR, data = dictionary()[tags()[keyword]].VR[:2], bytes(value or b"")
    if len(data) > LONGEST_VALUE:
        raise ValueError
    if VR in NUMBERS:
        number = struct.Struct(f"<{NUMBERS[VR]}")
        return "\\".join(str(value) for (value,) in number.iter_unpack(data[: len(data) // number.size * number.size]))
    if VR in CUSTOMIZABLE_CHARSET_VR:
        return decode_bytes(data, encodings, PN_DELIMS if VR == "PN" else TEXT_VR_DELIMS).strip(" \0")
    return data.decode("ascii", "replace").strip(" \0")
