"""The rules file as pydantic validates it: its own tables, and those of the kinds.

The descriptions of the fields are in the JSON Schema, where editors show them. They are also the hints for missing keys.
"""

from collections.abc import Iterable, Mapping
from types import GenericAlias
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, create_model

from pyconquest_rules.index.store.csv_tables import Type
from pyconquest_rules.index.store.order import OnConflict
from pyconquest_rules.rules.environment import Secret, Text, TextOfFile, UnreadText
from pyconquest_rules.rules.fields import AETitle, Form, Name, Seconds, SourceTemplate, Table
from pyconquest_rules.rules.kinds import TableKind
from pyconquest_rules.rules.refusals import Refusal
from pyconquest_rules.rules.select import Select

COLUMN = r"^[A-Za-z][A-Za-z0-9_]{0,63}$"


class IndexTable(Table):
    """`[index]`: the location of the index, its columns, and which files it may leave out."""

    database: Annotated[
        Text,
        Field(description="The SQLite file of the index, in Conquest's table layout. It is a cache: deleting it loses nothing."),
    ] = "conquest.db"
    dicom_sql: Annotated[
        Text | None,
        Field(description="A dicom.sql file of Conquest that defines the columns. Default: the standard layout."),
    ] = None
    hash: Annotated[
        bool,
        Field(
            strict=True,
            description="Whether to fill the column `hash` with a digest of contours, beams and dose. It reads RT files in full.",
        ),
    ] = False
    on_conflict: Annotated[
        OnConflict,
        Field(
            description=(
                "Which file counts if several files have the same SOPInstanceUID but different content. "
                '"error": the first one, by the order of the sources and by path; the others are rejected. '
                '"first-source": the first one; the others are ignored. "newest": the file that changed last.'
            )
        ),
    ] = OnConflict.ERROR
    accept: Annotated[
        tuple[Refusal, ...],
        Field(description="Reasons for which files may be missing from the index without causing exit code 1."),
    ] = ()


class Source(Table):
    """`[sources.NAME]`: a folder of files that are indexed in place."""

    path: Annotated[Text, Field(description='The folder. Its files are only read, except by a copy with `mode = "move"`.')]
    exclude: Annotated[
        tuple[str, ...],
        Field(description='Patterns of paths below the folder to ignore: "**/.*", "scratch/**", "*.txt".'),
    ] = ()
    layout: Annotated[
        SourceTemplate | None,
        Field(
            description="A template for the path of a file below the folder. Listeners and retrievals can store files here, and "
            "`forget --files` can delete them, only if the source has a layout."
        ),
    ] = None


class SchemaColumn(Table):
    """`[[schema.LEVEL]]`: an additional column of a level."""

    column: Annotated[
        str,
        StringConstraints(pattern=COLUMN),
        Field(description="The name of the column in the views. The Conquest table keeps its first 10 characters."),
    ]
    tag: Annotated[
        str,
        Field(
            description=(
                'The element: a keyword, "gggg,eeee", or a path such as "BeamSequence[0].ControlPointSequence[0].GantryAngle".'
            )
        ),
    ]


class SchemaTable(Table):
    """`[[schema.LEVEL]]`: additional columns, by level."""

    patient: Annotated[tuple[SchemaColumn, ...], Field(description="Additional columns of the view `patients`.")] = ()
    study: Annotated[tuple[SchemaColumn, ...], Field(description="Additional columns of the view `studies`.")] = ()
    series: Annotated[tuple[SchemaColumn, ...], Field(description="Additional columns of the view `series`.")] = ()
    image: Annotated[tuple[SchemaColumn, ...], Field(description="Additional columns of the view `images`.")] = ()


class CsvFile(Table):
    """`[tables.NAME]`: a CSV file that queries can use as a table."""

    csv: Annotated[Text, Field(description="The CSV file, in UTF-8. Its first line has the names of the columns.")]
    delimiter: Annotated[
        str, StringConstraints(min_length=1, max_length=1), Field(description="The character between two values of a line.")
    ] = ","
    columns: Annotated[
        dict[str, Annotated[str, StringConstraints(pattern=COLUMN)]],
        Field(default_factory=dict, description='New names for columns: "name in the file" = "name_in_the_table".'),
    ]
    types: Annotated[
        dict[str, Type],
        Field(default_factory=dict, description="The types of the columns that are not text, by the name in the table."),
    ]
    key: Annotated[
        tuple[str, ...],
        Field(description="The columns that identify a row. `index` checks that they are unique and not empty."),
    ] = ()


class NodeTLS(Table):
    """`tls` of a node: how the connection is secured."""

    ca: Annotated[TextOfFile, Field(description="A PEM file with the certificates of the authorities that may sign the node's.")]
    certificate: Annotated[TextOfFile | None, Field(description="A PEM file with our certificate, if the node requires one.")] = (
        None
    )
    key: Annotated[TextOfFile | None, Field(description="A PEM file with the private key of our certificate.")] = None
    key_password: Annotated[
        Secret | None,
        Field(
            description='The password of the private key, if it is encrypted. Write { env = "NAME" }, not the password itself.'
        ),
    ] = None
    key_password_file: Annotated[
        TextOfFile | None, Field(description="A file that contains the password of the private key.")
    ] = None
    host_name: Annotated[
        Text | None, Field(description="The host name that the node's certificate must have. Default: `host` of the node.")
    ] = None
    check_host_name: Annotated[
        bool, Field(strict=True, description="Whether to check the host name of the node's certificate.")
    ] = True


class NodeTable(Table):
    """`[nodes.NAME]`: a DICOM application entity to which this program connects."""

    ae_title: Annotated[AETitle, Field(description="The AE title of the node: the called AE title.")]
    host: Annotated[Text, Field(description="The host name or the IP address of the node.")]
    port: Annotated[int, Field(strict=True, ge=1, le=65535, description="The TCP port of the node.")]
    calling_ae_title: Annotated[
        AETitle, Field(description="The AE title that this program sends as its own: the calling AE title.")
    ] = "PYCONQUEST"
    connect_timeout: Annotated[Seconds, Field(description="Seconds to wait for the TCP connection and the TLS handshake.")] = 10.0
    acse_timeout: Annotated[Seconds, Field(description="Seconds to wait until the node accepts or rejects an association.")] = (
        30.0
    )
    dimse_timeout: Annotated[Seconds, Field(description="Seconds to wait for each response of the node.")] = 60.0
    max_pdu: Annotated[
        int,
        Field(strict=True, ge=0, le=1 << 24, description="The largest PDU that this program accepts, in bytes. 0: any length."),
    ] = 131072
    tls: Annotated[NodeTLS | None, Field(description="How to secure the connection with TLS. Default: no TLS.")] = None
    commitment_port: Annotated[
        int | None,
        Field(
            strict=True,
            ge=1,
            le=65535,
            description=(
                "The port for storage commitment reports, if the node opens an association to send them. "
                "Default: none, if the node reports on the association of the request."
            ),
        ),
    ] = None
    commitment_host: Annotated[
        Text,
        Field(description='The local address of `commitment_port`. "0.0.0.0" listens on all addresses of this machine.'),
    ] = "127.0.0.1"
    commitment_timeout: Annotated[
        Seconds, Field(description="Seconds to wait for the storage commitment report of the node.")
    ] = 60.0


class Profile(Table):
    """`[profile.NAME]`: other values of variables, and actions that are left out. `--profile NAME` chooses it."""

    # The values of the chosen profile are read as those of [vars].
    vars: Annotated[
        dict[Name, UnreadText],
        Field(default_factory=dict, description="Values that replace those of [vars]. Other variables keep theirs."),
    ]
    disable: Annotated[
        tuple[str, ...],
        Field(
            description='The actions to leave out: "copy.export", all of a kind ("send"), or those with a tag ("tag:nightly").'
        ),
    ] = ()


class RulesFile(Table):
    """The tables of a rules file that are not those of a kind."""

    rules_version: Annotated[Literal[1], Field(description="The version of the format of this file.")]
    include: Annotated[
        tuple[str, ...],
        Field(description="Other rules files, whose tables belong to this one. They lie below the folder of this file."),
    ] = ()
    outputs: Annotated[
        tuple[Text, ...],
        Field(description="The folders that copies may write to, with everything below. Default: the folder of the rules file."),
    ] = (".",)
    index: Annotated[
        IndexTable, Field(description="The location of the index, its columns, and which files it may leave out.")
    ] = IndexTable()
    vars: Annotated[
        dict[Name, Text],
        Field(default_factory=dict, description="Variables, for templates as {{ vars.NAME }} and for SQL as :NAME."),
    ]
    sources: Annotated[dict[Name, Source], Field(default_factory=dict, description="Folders of files that are indexed in place.")]
    # "schema" is a method of BaseModel
    schema_: Annotated[SchemaTable, Field(alias="schema", description="Additional columns of the index.")] = SchemaTable()
    tables: Annotated[dict[Name, CsvFile], Field(default_factory=dict, description="CSV files that queries can use as tables.")]
    select: Annotated[
        dict[Name, Select], Field(default_factory=dict, description="Named sets of patients, studies, series or images.")
    ]
    nodes: Annotated[
        dict[Name, NodeTable],
        Field(default_factory=dict, description="DICOM application entities to which this program connects."),
    ]
    profile: Annotated[
        dict[Name, Profile],
        Field(default_factory=dict, description="Other values of variables, and actions left out, for: --profile NAME"),
    ]


def form(kinds: Iterable[TableKind[Any]]) -> Form:
    """Return the form of a rules file: the tables of `RulesFile`, and those of each kind."""
    tables: dict[str, Any] = {
        f"{kind.name}_": (
            GenericAlias(dict, (Name, kind.model)),
            Field(default_factory=dict, alias=kind.name, description=kind.summary),
        )
        for kind in kinds
    }
    return Form(create_model("RulesFile", __base__=RulesFile, **tables))


def tables_of(rules_file: RulesFile, kinds: Iterable[TableKind[Any]]) -> dict[str, Mapping[str, Any]]:
    """Return the tables of a rules file, by kind and name."""
    values = dict(rules_file)
    return {kind.name: values[f"{kind.name}_"] for kind in kinds}
