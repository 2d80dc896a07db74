"""The SQL of derived data, with the column names of a schema: references between instances, and contradictions."""

from collections.abc import Iterator

from pyconquest_rules.dicom import Level
from pyconquest_rules.index.derived import contradictions, references
from pyconquest_rules.index.store.schema import MODALITY, REFERENCED, Schema, quoted


def reference_views(schema: Schema) -> Iterator[str]:
    """Yield the views of references; `referenced` only if the table layout has the columns that it needs."""
    series = {field.tag: quoted(field.column) for field in schema.level(Level.SERIES)}
    keys = {"image": quoted(schema.key(Level.IMAGE)), "series": quoted(schema.key(Level.SERIES))}
    keys["series_link"] = quoted(schema.level(Level.IMAGE)[-1].column)
    own = {field.tag: quoted(field.column) for field in schema.level(Level.IMAGE)}
    modalities = [f"trim({at}.{fields[MODALITY]})" for at, fields in (("i", own), ("s", series)) if MODALITY in fields]
    yield references.INSTANCES_VIEW.format(**keys, modality=(modalities or ["NULL"])[0], referenced=references.NAMED)
    if MODALITY in series and references.FRAME in series:
        names = {"modality": series[MODALITY], "frame": series[references.FRAME]}
        yield references.VIEW.format(**names, **keys, derived=", ".join(f"'{modality}'" for modality in references.DERIVED))
        yield f"CREATE INDEX rules_frame ON DICOMSeries ({series[references.FRAME]})"


def fill_referenced(schema: Schema) -> tuple[str, str] | None:
    """Return a query for outdated values of the column Referenced, and the SQL that updates them.

    None if the table layout does not have this column.
    """
    series = {field.tag: quoted(field.column) for field in schema.level(Level.SERIES)}
    if REFERENCED not in series or MODALITY not in series:
        return None
    keys = {"image": quoted(schema.key(Level.IMAGE)), "series": quoted(schema.key(Level.SERIES))}
    link = quoted(schema.level(Level.IMAGE)[-1].column)
    names = {"referenced": series[REFERENCED], "modality": series[MODALITY], "series_link": link}
    return references.FIND_OUTDATED.format(**keys, **names), references.FILL_REFERENCED.format(**keys, **names)


def contradiction_views(schema: Schema) -> Iterator[str]:
    """Yield the views of contradictions. If the table layout has no PatientID of images, they show no patients of images."""
    names = {"image": Level.IMAGE, "series": Level.SERIES, "study": Level.STUDY}
    links = {"series_link": Level.IMAGE, "study_link": Level.SERIES, "patient": Level.STUDY}
    columns = {name: quoted(schema.key(level)) for name, level in names.items()}
    columns |= {name: quoted(schema.level(level)[-1].column) for name, level in links.items()}
    of_image, of_series = (schema.patient_id(level) for level in (Level.IMAGE, Level.SERIES))
    columns["image_patient"] = f"i.{of_image}" if of_image else "NULL"
    columns["series_patient"] = f"s.{of_series}" if of_series else f"t.{columns['patient']}"
    for view in contradictions.VIEWS:
        yield view.format(**columns)
