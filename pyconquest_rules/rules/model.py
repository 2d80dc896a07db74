"""The rules file as pydantic validates it: one class for each kind of table. Its JSON Schema is `rules.schema.json`."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, WithJsonSchema

from pyconquest_rules.actions.copy import Copy
from pyconquest_rules.dicom import Level

Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,63}$")]

# Text, or a variable of the environment: the loader puts the variable's value in before this model sees it.
Text = Annotated[
    str,
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string"},
                {
                    "type": "object",
                    "properties": {
                        "env": {"type": "string", "description": "The variable of the environment whose value this is."},
                        "default": {"type": "string", "description": "The value where the variable is not set."},
                    },
                    "required": ["env"],
                    "additionalProperties": False,
                },
            ]
        }
    ),
]


class Table(BaseModel):
    """A table of the rules file: no keys but those named here."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class IndexTable(Table):
    """`[index]`: where the index is and which columns it has."""

    database: Annotated[
        Text, Field(description="The SQLite index, in Conquest's own table layout. It is a cache: deleting it loses nothing.")
    ] = "conquest.db"
    dicom_sql: Annotated[
        Text | None,
        Field(description="A dicom.sql of Conquest that names the columns; the packaged standard layout if left out."),
    ] = None


class Source(Table):
    """`[sources.NAME]`: a tree of files, indexed in place."""

    path: Annotated[Text, Field(description="The folder. It is only ever read.")]
    exclude: Annotated[
        tuple[str, ...],
        Field(description='Patterns of what is left out, on paths from the folder: "**/.*", "scratch/**", "*.txt".'),
    ] = ()


class SchemaColumn(Table):
    """`[[schema.LEVEL]]`: one more column of a level."""

    column: Annotated[
        str,
        StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_]{0,63}$"),
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

    patient: tuple[SchemaColumn, ...] = ()
    study: tuple[SchemaColumn, ...] = ()
    series: tuple[SchemaColumn, ...] = ()
    image: tuple[SchemaColumn, ...] = ()


class Select(Table):
    """`[select.NAME]`: a named set of patients, studies, series or images; also a view in SQL. Either query or where."""

    level: Annotated[Level, Field(description="What a row of the set is.")]
    query: Annotated[
        str | None, Field(description="One SELECT that gives the key of the level, and any columns that templates may use.")
    ] = None
    where: Annotated[str | None, Field(description="The short form: a condition on the view of the level.")] = None
    params: Annotated[
        dict[Name, str | int | float | bool], Field(description="Values for :name in the query; vars can be used too.")
    ] = {}


class RulesFile(Table):
    """What a rules file may hold."""

    model_config = ConfigDict(title="Rules of pyconquest-rules")

    rules_version: Annotated[Literal[1], Field(description="The version of this format.")]
    outputs: Annotated[
        tuple[Text, ...],
        Field(
            description="Folders below which may be written; nothing is written elsewhere. Default: the folder of the rules file."
        ),
    ] = (".",)
    index: Annotated[IndexTable, Field(description="Where the index is and which columns it has.")] = IndexTable()
    vars: Annotated[dict[Name, Text], Field(description="Values for templates, as {{ vars.NAME }}, and for SQL, as :NAME.")] = {}
    sources: Annotated[dict[Name, Source], Field(description="Trees of files, indexed in place.")] = {}
    # "schema" is a method of BaseModel
    schema_: Annotated[SchemaTable, Field(alias="schema", description="More columns of the index.")] = SchemaTable()
    select: Annotated[dict[Name, Select], Field(description="Named sets.")] = {}
    copy_: Annotated[dict[Name, Copy], Field(alias="copy", description="Copies of the files of a set.")] = {}


def json_schema() -> dict[str, object]:
    """The JSON Schema (draft 2020-12) of a rules file."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **RulesFile.model_json_schema()}
