"""The rules file as pydantic validates it: its own tables, and those of the kinds. Its JSON Schema is `rules.schema.json`."""

from collections.abc import Iterable, Mapping
from types import GenericAlias
from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    StringConstraints,
    ValidationInfo,
    WithJsonSchema,
    create_model,
)
from pydantic_core import PydanticCustomError

from pyconquest_rules.dicom import Level
from pyconquest_rules.errors import did_you_mean
from pyconquest_rules.index.store.csv_tables import Type
from pyconquest_rules.index.store.order import OnConflict
from pyconquest_rules.rules.fields import AETitle, Form, NamedFile, Seconds, SourceTemplate, Sql, Table
from pyconquest_rules.rules.kinds import TableKind

NAME = r"^[a-z][a-z0-9_]{0,63}$"
COLUMN = r"^[A-Za-z][A-Za-z0-9_]{0,63}$"

# Names are checked with the rest of what they mean: a set with a bad name is still a set that other tables may refer to.
Name = Annotated[str, WithJsonSchema({"type": "string", "pattern": NAME})]

VARIABLE = {"env": "The variable of the environment whose value this is.", "default": "The value where it is not set, or empty."}


def _from_environment(value: object, info: ValidationInfo) -> object:
    """Text as it is; for `{ env = "X", default = "y" }` what the environment, which is the context, has."""
    if not isinstance(value, dict):
        return value
    for key, inside in value.items():
        if key not in VARIABLE:
            raise _bad_variable(f'unknown key "{key}"', key, did_you_mean(key, VARIABLE) or "known are: env, default")
        if not isinstance(inside, str):
            raise _bad_variable("must be text", key)
    if "env" not in value:
        raise _bad_variable('"env" is missing', hint='write { env = "NAME" }, or the text itself')
    name, default = value["env"], value.get("default")
    text = (info.context or {}).get(name) or default
    if text is None:
        hint = f'set it, or give a default: {{ env = "{name}", default = "…" }}'
        raise _bad_variable(f"the variable {name} of the environment is not set, or empty", hint=hint)
    return text


def _bad_variable(message: str, key: str | None = None, hint: str | None = None) -> PydanticCustomError:
    return PydanticCustomError("variable", "{message}", {"message": message, "key": key, "hint": hint})


TEXT: dict[str, Any] = {
    "description": "Text, or a variable of the environment.",
    "anyOf": [
        {"type": "string"},
        {
            "type": "object",
            "properties": {key: {"type": "string", "description": text} for key, text in VARIABLE.items()},
            "required": ["env"],
            "additionalProperties": False,
        },
    ],
}

Text = Annotated[str, BeforeValidator(_from_environment), WithJsonSchema(TEXT)]
"""Text, or a variable of the environment."""

TextOfFile = Annotated[Text, NamedFile()]
"""The same, for the path of a file."""

Secret = Annotated[SecretStr, BeforeValidator(_from_environment), WithJsonSchema(TEXT)]
"""The same, but never shown."""

Refusal = Literal[
    "conflict",
    "dicomdir",
    "invalid-SOPInstanceUID",
    "malformed",
    "no-SOPInstanceUID",
    "not-a-file",
    "reader-killed",
    "too-large",
    "truncated",
    "unreadable",
]
"""Why a file may be refused that is DICOM, or was to be."""


class IndexTable(Table):
    """`[index]`: where the index is and which columns it has."""

    database: Annotated[
        Text, Field(description="The SQLite index, in Conquest's own table layout. It is a cache: deleting it loses nothing.")
    ] = "conquest.db"
    dicom_sql: Annotated[
        Text | None,
        Field(description="A dicom.sql of Conquest that names the columns; the packaged standard layout if left out."),
    ] = None
    hash: Annotated[
        bool,
        Field(
            strict=True,
            description="Whether the column `hash` gets a digest of contours, beams and dose; it reads RT files whole.",
        ),
    ] = False
    on_conflict: Annotated[
        OnConflict,
        Field(
            description=(
                "Which of several files with one SOPInstanceUID and other bytes counts. "
                '"error": the first by the order of sources and by path; the others are rejected. '
                '"first-source": the same one, and the others are no trouble. "newest": the file that changed last.'
            )
        ),
    ] = OnConflict.ERROR
    accept: Annotated[
        tuple[Refusal, ...],
        Field(description="Reasons for which files may be left out of the index: they no longer make the exit code 1."),
    ] = ()


class Source(Table):
    """`[sources.NAME]`: a tree of files, indexed in place."""

    path: Annotated[Text, Field(description="The folder. It is only read, but for a copy with the mode `move`.")]
    exclude: Annotated[
        tuple[str, ...],
        Field(description='Patterns of what is left out, on paths from the folder: "**/.*", "scratch/**", "*.txt".'),
    ] = ()
    layout: Annotated[
        SourceTemplate | None,
        Field(description="Where a file lies below the folder: a template. Only with it may files be put in or deleted here."),
    ] = None


class SchemaColumn(Table):
    """`[[schema.LEVEL]]`: one more column of a level."""

    column: Annotated[
        str,
        StringConstraints(pattern=COLUMN),
        Field(description="The name of the column in the views; the Conquest table cuts it to 10 letters."),
    ]
    tag: Annotated[
        str,
        Field(
            description='The element: a keyword, "gggg,eeee", or a path: "BeamSequence[0].ControlPointSequence[0].GantryAngle".'
        ),
    ]


class SchemaTable(Table):
    """`[[schema.LEVEL]]`: more columns, by level."""

    patient: Annotated[tuple[SchemaColumn, ...], Field(description="More columns of `patients`.")] = ()
    study: Annotated[tuple[SchemaColumn, ...], Field(description="More columns of `studies`.")] = ()
    series: Annotated[tuple[SchemaColumn, ...], Field(description="More columns of `series`.")] = ()
    image: Annotated[tuple[SchemaColumn, ...], Field(description="More columns of `images`.")] = ()


class CsvFile(Table):
    """`[tables.NAME]`: a CSV file as a table in SQL."""

    csv: Annotated[Text, Field(description="The file: UTF-8, names of columns in its first line.")]
    delimiter: Annotated[str, StringConstraints(min_length=1, max_length=1), Field(description="What stands between values.")] = (
        ","
    )
    columns: Annotated[
        dict[str, Annotated[str, StringConstraints(pattern=COLUMN)]],
        Field(default_factory=dict, description="Other names for columns: from the file's to the table's."),
    ]
    types: Annotated[dict[str, Type], Field(default_factory=dict, description="The types of columns that are not text.")]
    key: Annotated[tuple[str, ...], Field(description="Columns that name a row: checked to be unique and not empty.")] = ()


class Select(Table):
    """`[select.NAME]`: a named set of patients, studies, series or images; also a view in SQL. Either query or where."""

    model_config = ConfigDict(json_schema_extra={"oneOf": [{"required": ["query"]}, {"required": ["where"]}]})

    level: Annotated[Level, Field(description="What a row of the set is: a patient, study, series or image.")]
    query: Annotated[
        Sql | None, Field(description="One SELECT that gives the key of the level, and any columns that templates may use.")
    ] = None
    where: Annotated[Sql | None, Field(description="The short form: a condition on the view of the level.")] = None
    params: Annotated[
        dict[Name, str | int | float | bool],
        Field(default_factory=dict, description="Values for :name in the query; vars can be used too."),
    ]


class NodeTLS(Table):
    """`tls` of a node: how the connection is secured."""

    ca: Annotated[
        TextOfFile, Field(description="Those who may have signed the certificate of the node: a file of PEM certificates.")
    ]
    certificate: Annotated[TextOfFile | None, Field(description="Our certificate, for a node that asks for one: a PEM file.")] = (
        None
    )
    key: Annotated[TextOfFile | None, Field(description="The key of our certificate: a PEM file.")] = None
    key_password: Annotated[
        Secret | None, Field(description='The password of that key, where it is encrypted: best { env = "NAME" }.')
    ] = None
    key_password_file: Annotated[TextOfFile | None, Field(description="A file that holds the password of that key.")] = None
    host_name: Annotated[Text | None, Field(description="Whose certificate the node must have; the host if left out.")] = None
    check_host_name: Annotated[bool, Field(strict=True, description="Whether the certificate must be that of the host.")] = True


class NodeTable(Table):
    """`[nodes.NAME]`: a DICOM application entity that is called."""

    ae_title: Annotated[AETitle, Field(description="Its AE title: the called AE title.")]
    host: Annotated[Text, Field(description="Its name or address.")]
    port: Annotated[int, Field(strict=True, ge=1, le=65535, description="Its port.")]
    calling_ae_title: Annotated[AETitle, Field(description="The AE title by which we call.")] = "PYCONQUEST"
    connect_timeout: Annotated[Seconds, Field(description="Seconds until a connection must be there.")] = 10.0
    acse_timeout: Annotated[Seconds, Field(description="Seconds that the node may take to accept or reject an association.")] = (
        30.0
    )
    dimse_timeout: Annotated[Seconds, Field(description="Seconds that the node may take to answer.")] = 60.0
    max_pdu: Annotated[
        int, Field(strict=True, ge=0, le=1 << 24, description="The longest PDU that we receive, in bytes; 0 for any length.")
    ] = 131072
    tls: Annotated[NodeTLS | None, Field(description="How the connection is secured; not at all if left out.")] = None
    commitment_port: Annotated[
        int | None,
        Field(
            strict=True,
            ge=1,
            le=65535,
            description="The port that the node calls to report what it commits to; none if it reports where it was asked.",
        ),
    ] = None
    commitment_host: Annotated[
        Text, Field(description='The address to listen on for that; "0.0.0.0" for all of this machine.')
    ] = "127.0.0.1"
    commitment_timeout: Annotated[Seconds, Field(description="Seconds that the node may take to report what it commits to.")] = (
        60.0
    )


class RulesFile(Table):
    """What a rules file may hold beside the tables of the kinds."""

    rules_version: Annotated[Literal[1], Field(description="The version of this format.")]
    outputs: Annotated[
        tuple[Text, ...],
        Field(
            description="Folders below which may be written; nothing is written elsewhere. Default: the folder of the rules file."
        ),
    ] = (".",)
    index: Annotated[IndexTable, Field(description="Where the index is and which columns it has.")] = IndexTable()
    vars: Annotated[
        dict[Name, Text],
        Field(default_factory=dict, description="Values for templates, as {{ vars.NAME }}, and for SQL, as :NAME."),
    ]
    sources: Annotated[dict[Name, Source], Field(default_factory=dict, description="Trees of files, indexed in place.")]
    # "schema" is a method of BaseModel
    schema_: Annotated[SchemaTable, Field(alias="schema", description="More columns of the index.")] = SchemaTable()
    tables: Annotated[dict[Name, CsvFile], Field(default_factory=dict, description="CSV files as tables in SQL.")]
    select: Annotated[dict[Name, Select], Field(default_factory=dict, description="Named sets.")]
    nodes: Annotated[
        dict[Name, NodeTable], Field(default_factory=dict, description="DICOM application entities that are called.")
    ]


def form(kinds: Iterable[TableKind[Any]]) -> Form:
    """Return what a rules file may hold: what `RulesFile` names, and a table of tables for each kind."""
    tables: dict[str, Any] = {
        f"{kind.name}_": (
            GenericAlias(dict, (Name, kind.model)),
            Field(default_factory=dict, alias=kind.name, description=kind.summary),
        )
        for kind in kinds
    }
    return Form(create_model("RulesFile", __base__=RulesFile, **tables))


def tables_of(rules_file: RulesFile, kinds: Iterable[TableKind[Any]]) -> dict[str, Mapping[str, Any]]:
    """Return the tables of a rules file by kind and name."""
    values = dict(rules_file)
    return {kind.name: values[f"{kind.name}_"] for kind in kinds}


def json_schema(kinds: Iterable[TableKind[Any]]) -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a rules file."""
    made = _for_editors({**form(kinds).model.model_json_schema(), "description": "What a rules file may hold."})
    made["$defs"]["Text"] = TEXT
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Rules of pyconquest-rules", **made}


def _for_editors(at: Any) -> Any:
    """A JSON Schema without pydantic's titles, without null, which TOML does not have, and with names held to their pattern."""
    if isinstance(at, list):
        return [_for_editors(element) for element in at if element != {"type": "null"}]
    if not isinstance(at, dict):
        return at
    made = {key: _for_editors(value) for key, value in at.items() if key not in ("properties", "$defs", "title")}
    # Here the keys are names of ours, not words of JSON Schema.
    for key in [key for key in ("properties", "$defs") if key in at]:
        made[key] = {name: _for_editors(schema) for name, schema in at[key].items()}
    if isinstance(made.get("default", ""), dict | None):
        del made["default"]
    if "patternProperties" in made:
        made["additionalProperties"] = False
    match made:
        case {"anyOf": [only], **rest}:
            return {**only, **rest}
        case {"anyOf": branches, **rest} if branches == TEXT["anyOf"]:
            return {"$ref": "#/$defs/Text", **rest}
    return made
