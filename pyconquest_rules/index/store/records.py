"""From the header of an instance to the values of its rows. Nothing here queries the database."""

from collections.abc import Sequence
from functools import lru_cache
from operator import itemgetter
from typing import NamedTuple, cast

from pyconquest_rules.dicom import KEYS, Level, TagPath, Value, tags, unpadded
from pyconquest_rules.headers.header import Header, Wanted
from pyconquest_rules.headers.notes import Note
from pyconquest_rules.index.derived import geometry, references, rt
from pyconquest_rules.index.store.schema import BURNED_IN, LEVELS, REFERENCED, Field, Schema

Row = tuple[str | None, ...]
"""The columns of one level, key first and link to the level above last."""

Full = tuple[tuple[str, str], ...]
"""The columns whose text was cut or changed, each with the full text."""

NO_EXTRAS = rt.Extras()
MOST_TEXTS, LONGEST_TEXT = 5000, 256

# The keys of patients, studies, series and instances are never cut, which would make two of them one, and never NULL. Spaces
# around them are padding (PS3.5 6.2), which would make one of them two.
IDENTIFIERS = frozenset(TagPath((), tags()[key]) for key in KEYS.values())

# Other UIDs that join rows are neither cut nor padded.
KEPT_WHOLE = IDENTIFIERS | {references.FRAME, REFERENCED}


class Record(NamedTuple):
    """An instance as the index stores it. `rows` and `full` have one entry for each level, patient first."""

    SOPInstanceUID: str
    TransferSyntaxUID: str | None
    rows: tuple[Row, ...]
    full: tuple[Full, ...]
    references: tuple[tuple[str, str], ...]
    pointers: tuple[references.Packed, ...]
    slice: geometry.Slice | None
    extras: rt.Extras
    content: str | None
    notes: tuple[Note, ...] = ()
    BurnedInAnnotation: str | None = None


class Records:
    """Makes the records of many headers. It is fast because it remembers values of earlier ones."""

    def __init__(self, schema: Schema) -> None:
        paths = tuple(dict.fromkeys((*schema.tags(), *rt.PATHS, *references.PATHS, *geometry.PATHS, BURNED_IN)))
        self.wanted = Wanted(paths, schema.content_hash, references.POINTING)
        """What a header must be read with: `record` takes its values in this order."""
        self._levels = [_Level(schema, level, paths) for level in LEVELS]
        self._uid_at = self._levels[-1].places[0]
        self._lists = [paths.index(tag) for tag in schema.tags() if tag.all_items]
        self._modality_at, self._frame_at = paths.index(rt.MODALITY), paths.index(references.FRAME)
        self._burned_in_at = paths.index(BURNED_IN)
        has_referenced = any(field.tag == REFERENCED for field in schema.level(Level.SERIES))
        self._referenced_at = paths.index(REFERENCED) if has_referenced else None
        self._rt_of, self._references_of, self._slice_of = (
            itemgetter(*map(paths.index, each)) for each in (rt.PATHS, references.PATHS, geometry.PATHS)
        )

    def record(self, header: Header) -> Record:
        """Return the record of an instance. Its header has the values of `wanted`, and may have others after them."""
        found, uid, extras = header.values, header.SOPInstanceUID, NO_EXTRAS
        values = cast("list[str | None]", [*found])  # values of sequences become texts below
        for at in self._lists:
            values[at] = text_of_value(found[at])
        # The header has it as a UID, whatever VR the file gives it.
        values[self._uid_at] = uid
        if unpadded(values[self._modality_at]) in rt.MODALITIES:
            extras = rt.extras(dict(zip(rt.PATHS, self._rt_of(found), strict=True)))
        if self._referenced_at is not None:
            values[self._referenced_at] = extras.ReferencedSeriesUID or values[self._referenced_at]
            values[self._frame_at] = values[self._frame_at] or extras.UniqueFOR_UID
        rows, full = zip(*[level.row(values) for level in self._levels], strict=True)
        points_at = tuple(references.references(*self._references_of(found)))
        pointers = references.packed(header.pointers) if header.pointers else ()
        slice_ = geometry.slice_of(*self._slice_of(found))
        burned_in = unpadded(values[self._burned_in_at]) or None
        syntax, content, notes = header.TransferSyntaxUID, header.content, header.notes
        return Record(uid, syntax, rows, full, points_at, pointers, slice_, extras, content, notes, burned_in)


@lru_cache(4)
def records(schema: Schema) -> Records:
    """Return the Records of this process for a schema."""
    return Records(schema)


class _Level:
    """Makes the row of one level."""

    def __init__(self, schema: Schema, level: Level, paths: Sequence[TagPath]) -> None:
        """`paths` are the paths of the values from which rows are made, in their order."""
        self.fields = schema.level(level)
        self.places = [paths.index(field.tag) for field in self.fields]
        self._texts_of = itemgetter(*self.places) if len(self.places) > 1 else self._only_text
        self._columns = [_Stored(field) for field in self.fields]
        self._last: tuple[Row, tuple[Row, Full]] = ((), ((), ()))

    def row(self, values: Sequence[str | None]) -> tuple[Row, Full]:
        """Return the row, and the full texts of its cut values. A row equal to the last one is the same object."""
        texts = self._texts_of(values)
        before, made = self._last
        if texts != before:
            row = tuple([column[text] for column, text in zip(self._columns, texts, strict=True)])
            made = row, self._full(texts, row) if row != texts else ()
            self._last = texts, made
        return made

    def _only_text(self, values: Sequence[str | None]) -> Row:
        return (values[self.places[0]],)

    def _full(self, texts: Row, row: Row) -> Full:
        return tuple(
            (field.name, unpadded(text))
            for field, text, value in zip(self.fields, texts, row, strict=True)
            if text and is_changed(field, text, value)
        )


class _Stored(dict[str | None, str | None]):
    """A cache of the stored value for each text, since most texts are repeated."""

    def __init__(self, field: Field) -> None:
        self._field = field

    def __missing__(self, text: str | None) -> str | None:
        if len(self) > MOST_TEXTS:
            self.clear()
        kept = stored_in(self._field, text)
        if text is None or len(text) <= LONGEST_TEXT:
            self[text] = kept
        return kept


def text_of_value(value: Value) -> str | None:
    """Return a value as text. The values of the items of a sequence are joined by backslashes."""
    return "\\".join(text or "" for text in value) if isinstance(value, tuple) else value


def stored_in(field: Field, text: str | None) -> str | None:
    """Return a value as a column of a Conquest table stores it."""
    if field.tag in IDENTIFIERS:
        return unpadded(text)
    if field.tag in KEPT_WHOLE:
        return text and unpadded(text)
    return stored(text, field.dicom_type, field.sql_type, field.length)


def is_changed(field: Field, text: str, kept: str | None) -> bool:
    """Return whether a column stores a value cut or changed, so that its full text must be kept too."""
    return text != kept and field.tag not in KEPT_WHOLE


def stored(text: str | None, dicom_type: str, sql_type: str, length: int) -> str | None:
    """Return a value as the server stores it; None stays None.

    `dicom_type`, `sql_type` and `length` are those of the column's row in dicom.sql. Of several numbers, the first is stored.
    The text is cut to `length` bytes of UTF-8, never within a character. Then a date loses the `.` and `/` of ACR-NEMA:
    `1997.04.30` in eight bytes becomes `199704`.
    """
    if text is None:
        return None
    if dicom_type in {"DT_UINT16", "DT_UINT32", "DT_FL", "DT_FD"}:
        text = text.partition("\\")[0]
    text = text.encode()[:length].decode(errors="ignore").rstrip(" ")
    return text.translate({ord("."): None, ord("/"): None}) if sql_type == "SQL_C_DATE" else text
