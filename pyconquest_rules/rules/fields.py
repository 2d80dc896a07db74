"""The types of the fields of a rules file. A type says what a text means; `marked` finds all such texts of a table.

A model writes `select: SetName` or `to: Destination`. The checks get these values, with their paths, from `marked`.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Final, NamedTuple, TypeGuard, Union, get_args, get_origin

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, WithJsonSchema
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError

from pyconquest_rules.rules.positions import Path


class Table(BaseModel):
    """A table of the rules file. Keys that its class does not have are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True, slots=True)
class Reference:
    """The name of a table of the kind `kind`; `what` is the word for it in messages.

    `filled`: new instances are stored there, so the source needs a layout.
    """

    what: str
    kind: str
    filled: bool = False


@dataclass(frozen=True, slots=True)
class ReferenceToAction:
    """The name of an action, as "copy.NAME"."""


@dataclass(frozen=True, slots=True)
class PathTemplate:
    """A template of a path. `below_outputs`: it is the destination of a set's instances, which must lie below an output."""

    below_outputs: bool


@dataclass(frozen=True, slots=True)
class TextTemplate:
    """A template of a text that is not a path. `own` are names that it can use beside those of a destination."""

    own: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class MemberTemplate:
    """A template of the name of an archive's member, rendered for each instance of a set."""


@dataclass(frozen=True, slots=True)
class VariablesOnly:
    """A text in which only `{{ vars.NAME }}` works, and no other part of a template."""


@dataclass(frozen=True, slots=True)
class Statement:
    """SQL, in which variables are bound as `:NAME`."""


@dataclass(frozen=True, slots=True)
class NamedFile:
    """The path of a file that is read. No command replaces it."""


Marker = Reference | ReferenceToAction | PathTemplate | MemberTemplate | TextTemplate | VariablesOnly | Statement | NamedFile

TEMPLATES = (PathTemplate, MemberTemplate, TextTemplate, VariablesOnly)
"""The markers of texts in which templates work."""

NAME = r"^[a-z][a-z0-9_]{0,63}$"
# `references.name_problems` checks names, not the model: other tables may refer to a set even if its name is invalid.
Name = Annotated[str, WithJsonSchema({"type": "string", "pattern": NAME})]
SetName = Annotated[str, Reference("set", "select")]
NodeName = Annotated[str, Reference("node", "nodes")]
SourceName = Annotated[str, Reference("source", "sources", filled=True)]
ActionName = Annotated[str, ReferenceToAction()]
Destination = Annotated[str, PathTemplate(below_outputs=True)]
MemberName = Annotated[str, MemberTemplate()]
SourceTemplate = Annotated[str, PathTemplate(below_outputs=False)]
Sql = Annotated[str, StringConstraints(min_length=1), Statement()]
FileName = Annotated[str, NamedFile()]
Seconds = Annotated[float, Field(gt=0, le=86400)]


OWN_ERROR: Final = "rule"
"""The type of errors that `wrong` makes, among those of pydantic."""


def wrong(message: str, key: str | None = None, hint: str | None = None) -> PydanticCustomError:
    """Return an error for a validator to raise, about its value or about one key of it. The message is shown unchanged."""
    return PydanticCustomError(OWN_ERROR, "{message}", {"message": message, "key": key, "hint": hint})


def like(pattern: str, message: str, hint: str) -> Callable[[str], str]:
    """Return a validator for texts of a pattern. `message` and `hint` are the error for any other text."""

    def validate(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise wrong(message, hint=hint)
        return text

    return validate


AE_TITLE = r"^[!-\[\]-~](?:[ -\[\]-~]{0,14}[!-\[\]-~])?$"
"""1 to 16 ASCII characters without a backslash, and without a space at either end (PS3.5 6.2, AE)."""

AETitle = Annotated[
    str,
    AfterValidator(
        like(
            AE_TITLE,
            "is not a valid AE title",
            "an AE title has 1 to 16 ASCII characters, no backslash, and no space at either end",
        )
    ),
    WithJsonSchema({"type": "string", "pattern": AE_TITLE}),
]


class Marked(NamedTuple):
    """A value of a table with its meaning. `place` is its path in the file."""

    place: Path
    marker: Marker
    value: str


def marked(table: BaseModel, place: Path) -> Iterator[Marked]:
    """Yield the marked values of the table at a path, in the order of its fields."""
    values = dict(table)
    for name, field in type(table).model_fields.items():
        yield from _marked(field.annotation, field.metadata, values[name], (*place, field.alias or name))


def _marked(annotation: Any, metadata: Any, value: object, place: Path) -> Iterator[Marked]:
    if isinstance(value, str):
        yield from (Marked(place, marker, value) for marker in _markers(annotation, metadata))
    elif isinstance(value, BaseModel):
        yield from marked(value, place)
    elif isinstance(value, tuple | dict):
        inside = _inside(annotation)
        for key, each in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _marked(inside, (), each, (*place, key))


def _markers(annotation: Any, metadata: Any) -> Iterator[Marker]:
    """Yield the markers of a text, at whatever depth its annotation has them."""
    yield from (each for each in metadata if isinstance(each, Marker))
    if get_origin(annotation) in (Annotated, Union, UnionType):
        annotated = get_origin(annotation) is Annotated
        args = get_args(annotation)
        for each in args[:1] if annotated else args:
            yield from _markers(each, args[1:] if annotated else ())


def _inside(annotation: Any) -> Any:
    """Return the annotation of the values of a dict or tuple; None if it is neither."""
    annotation = _bare(annotation)
    if get_origin(annotation) in (dict, tuple):
        return get_args(annotation)[1 if get_origin(annotation) is dict else 0]
    return None


def _bare(annotation: Any) -> Any:
    """Return an annotation without `Annotated` and `| None`."""
    while get_origin(annotation) in (Annotated, Union, UnionType):
        annotation = next(each for each in get_args(annotation) if each is not NoneType)
    return annotation


@dataclass(frozen=True, slots=True)
class Form:
    """The keys that a rules file may have, by path, and what their texts mean. `model` is the class of the whole file."""

    model: type[BaseModel]

    def fields_at(self, path: Path) -> dict[str, FieldInfo]:
        """Return the keys that the table at a path may have; none if it is not a table, or may have any key."""
        at = self._at(path)[0]
        return _fields(at) if _is_model(at) else {}

    def markers_at(self, path: Path) -> tuple[Marker, ...]:
        """Return the markers of a text at a path."""
        return (*_markers(*self._at(path)),)

    def templates(self) -> Iterator[tuple[str, str]]:
        """Yield the kinds of tables with a key in which templates work, and the key."""
        for kind, field in _fields(self.model).items():
            table = _inside(field.annotation)
            for key in _fields(table) if _is_model(table) else ():
                markers = *self.markers_at((kind, "", key)), *self.markers_at((kind, "", key, ""))
                if any(isinstance(marker, TEMPLATES) for marker in markers):
                    yield kind, key

    def _at(self, path: Path) -> tuple[Any, Any]:
        """Return the annotation at a path and the metadata of its field.

        Only a text keeps its `Annotated` and `| None`, because they have its markers.
        """
        at, metadata = self.model, list[Any]()
        whole: Any = at
        for part in path:
            if _is_model(at):
                field = _fields(at).get(str(part))
                whole, metadata = (field.annotation, field.metadata) if field else (None, [])
            else:
                whole, metadata = _inside(at), []
            at = _bare(whole)
        return (at, metadata) if at is whole or _is_model(at) else (whole, metadata)


def _is_model(at: Any) -> TypeGuard[type[BaseModel]]:
    return isinstance(at, type) and issubclass(at, BaseModel)


def _fields(model: type[BaseModel]) -> dict[str, FieldInfo]:
    return {field.alias or name: field for name, field in model.model_fields.items()}
