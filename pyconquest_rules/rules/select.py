"""`[select.NAME]`: its model, which keys go together, and the modalities in `expand`."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from pyconquest_rules.dicom import Level
from pyconquest_rules.errors import Problem, did_you_mean
from pyconquest_rules.rules.fields import Name, Sql, Table
from pyconquest_rules.rules.places import Places

MODALITIES = frozenset(
    """
    ANN AR ASMT AU BDUS BI BMD CFM CR CT CTPROTOCOL DMS DG DOC DX ECG EEG EMG EOG EPS ES FID GM HC HD IO IOL IVOCT IVUS KER KO
    LEN LS MG MR M3D NM OAM OCT OP OPM OPT OPTBSV OPTENF OPV OSS OT PA PLAN POS PR PT PX REG RESP RF RG RTDOSE RTIMAGE RTINTENT
    RTPLAN RTRAD RTRECORD RTSEGANN RTSTRUCT RWV SEG SM SMR SR SRF STAIN TEXTUREMAP TG US VA XA XAPROTOCOL XC
    """.split()  # noqa: SIM905 - a list of quoted words is harder to read
)
"""The defined terms of Modality (PS3.3 C.7.3.1.1.1)."""


class Select(Table):
    """`[select.NAME]`: a named set of patients, studies, series or images. It has one of `query`, `where` and `from`.

    Queries can use a set by its name, as a view.
    """

    model_config = ConfigDict(
        json_schema_extra={
            "oneOf": [{"required": ["level", "query"]}, {"required": ["level", "where"]}, {"required": ["from", "expand"]}]
        }
    )

    level: Annotated[
        Level | None,
        Field(
            description=(
                "What a row of the set stands for: a patient, study, series or image. A set with `from` has series or images; "
                "default: images if the other set has images, else series."
            )
        ),
    ] = None
    query: Annotated[
        Sql | None,
        Field(description="A SELECT that returns the key of the level, and any further columns that templates need."),
    ] = None
    where: Annotated[Sql | None, Field(description="A condition on the view of the level, as a short form of `query`.")] = None
    from_: Annotated[
        str | None, Field(alias="from", description="The set to expand along references. `expand` lists what is added.")
    ] = None
    expand: Annotated[
        tuple[str, ...],
        Field(
            max_length=50,
            description="The modalities of the series to add: those that name a series of the set, or that one of them names.",
        ),
    ] = ()
    incomplete: Annotated[
        Literal["error", "warn", "skip"] | None,
        Field(
            description=(
                "What to do if a series of the set names a series or an instance that the index lacks. "
                '"error" (default): block the actions that select the set. "warn": print a warning. '
                '"skip": leave out that series and those that name it.'
            )
        ),
    ] = None
    params: Annotated[
        dict[Name, str | int | float | bool],
        Field(default_factory=dict, description="Values for `:NAME` in the SQL. [vars] need not be repeated here."),
    ]


def level_of(name: str, selects: Mapping[str, Select]) -> Level:
    """Return the level of a set. An expanded set has images if the set that it begins with has them, else series."""
    seen = set[str]()
    while (select := selects.get(name)) and name not in seen:
        if select.level is not None:
            return Level.IMAGE if seen and select.level is Level.IMAGE else Level.SERIES if seen else select.level
        seen.add(name)
        name = select.from_ or name
    return Level.SERIES


def form_problems(name: str, selects: Mapping[str, Select], places: Places) -> Iterator[Problem]:
    """Yield a problem for each key that a set lacks or must not have, and for unknown modalities."""
    select, place = selects[name], ("select", name)
    given = [
        key for key, value in (("query", select.query), ("where", select.where), ("from", select.from_)) if value is not None
    ]
    if len(given) != 1:
        message = f'the set "{name}" {"has " + " and ".join(given) if given else "needs query, where or from"}'
        hint = "keep one of them" if given else "for example: where = \"Modality = 'CT'\""
        yield places.at_key(place, message, hint)
    elif select.from_ is not None:
        yield from _expanded(name, selects, places)
    else:
        if select.level is None:
            yield places.at_key(place, '"level" is missing', 'for example: level = "series"')
        for key, value in (("expand", select.expand), ("incomplete", select.incomplete)):
            if value:
                yield places.at_key((*place, key), f"{key} needs from", f"remove it, or write from instead of {given[0]}")


def _expanded(name: str, selects: Mapping[str, Select], places: Places) -> Iterator[Problem]:
    select, place = selects[name], ("select", name)
    if select.level not in (None, Level.SERIES, Level.IMAGE):
        yield places.at_value((*place, "level"), f"a set with from has no level {select.level}", "levels are: series, image")
    if select.params:
        yield places.at_key((*place, "params"), "params needs query or where", "remove it")
    if not select.expand:
        yield places.at_key(place, '"expand" is missing', 'for example: expand = ["RTSTRUCT", "RTPLAN", "RTDOSE"]')
    for number, modality in enumerate(select.expand):
        if modality not in MODALITIES:
            hint = did_you_mean(modality, MODALITIES) or 'for example: "RTSTRUCT", "SEG", "CT"'
            yield places.at_value((*place, "expand", number), f'unknown modality "{modality}"', hint)
