"""Compiled templates of paths and texts, and texts with variables only."""

import posixpath
from collections.abc import Mapping
from itertools import takewhile

from jinja2 import nodes

from pyconquest_rules.errors import Mistake
from pyconquest_rules.paths import ESCAPED, MARK, Destination, UnsafePath, destination, remembered
from pyconquest_rules.templates.expressions import Expressions
from pyconquest_rules.templates.parsing import names, parts
from pyconquest_rules.templates.printing import Printer, joined
from pyconquest_rules.templates.values import BadValue, RenderError, Values, text_of

SAMPLE = MARK + "x"


class Template:
    """A template of the rules file, compiled once and rendered for each instance.

    `names` are the keywords and columns that it uses; `columns` are the same in the order of the values for `render`.
    `prefix` is the leading folders without values of an instance, or "".
    """

    __slots__ = ("_last", "_many", "_shared", "columns", "names", "prefix")

    def __init__(self, text: str, vars: Mapping[str, object]) -> None:
        """Compile `text`. Raises Mistake if it is not valid Jinja2, has a forbidden node, or can never render a path."""
        try:
            children = [*parts(text)]
            used = [names(child) for child in children]
            # The text before the last slash is often the same for a whole series, so it is cached by its values.
            slashes = [isinstance(child, nodes.TemplateData) and "/" in child.data for child in children]
            above = max((n for n, slash in enumerate(slashes, 1) if slash), default=0)
            shared = sorted(set[str]().union(*used[:above]))
            self.names = frozenset[str]().union(*used)
            self.columns = (*shared, *sorted(self.names.difference(shared)))
            printer = Printer(Expressions(vars, {name: position for position, name in enumerate(self.columns)}))
            pieces = [printer.printed(child) for child in children]
        except RecursionError:
            raise Mistake("the template is nested too deeply") from None
        try:
            sample = [SAMPLE if has_names else piece(()) for piece, has_names in zip(pieces, used, strict=True)]
            destination("".join(sample))
        except (RenderError, UnsafePath) as error:
            raise Mistake(f"the template does not render a path: {error}") from None
        fixed = "".join(text for text, _ in takewhile(lambda piece: not piece[1], zip(sample, used, strict=True)))
        self.prefix = posixpath.dirname(destination(fixed[: fixed.rfind("/") + 1] + SAMPLE).path)
        self._shared, self._last, first = len(shared), joined(pieces[above:]), joined(pieces[:above])
        self._many = remembered(lambda *values: first(values))

    def path(self, values: Mapping[str, object]) -> Destination:
        """Render the template with values by name."""
        return self.render([values.get(name) for name in self.columns])

    def render(self, values: Values) -> Destination:
        """Return the destination for these values of `columns`. Raises MissingValue, BadValue or UnsafePath."""
        return destination(self._many(*values[: self._shared]) + self._last(values))


class Text:
    """A template of a text that is not a path, compiled once and rendered for each instance.

    `columns` are the keywords and columns that it uses, in the order of the values for `render`.
    """

    __slots__ = ("_printed", "columns")

    def __init__(self, text: str, vars: Mapping[str, object]) -> None:
        """Compile `text`. Raises Mistake if it is not valid Jinja2, or has a forbidden node."""
        try:
            children = [*parts(text)]
            self.columns = tuple(sorted(set[str]().union(*map(names, children))))
            printer = Printer(Expressions(vars, {name: position for position, name in enumerate(self.columns)}))
            self._printed = joined([printer.printed(child) for child in children])
        except RecursionError:
            raise Mistake("the template is nested too deeply") from None

    def render(self, values: Values, not_first: str = "") -> str:
        """Return the text for these values of `columns`.

        Raises MissingValue, BadValue, also for a character that cannot be printed, or if a value begins the text with a
        character of `not_first`; and UnsafePath if the text is much too long.
        """
        raw = self._printed(values)
        text = ESCAPED.sub(lambda match: chr(int(match[1], 16)), raw.replace(MARK, ""))
        if not text.isprintable():
            raise BadValue(" or ".join(self.columns), "has a character that cannot be printed")
        if raw.startswith(MARK) and text.startswith((*not_first,)):
            raise BadValue(self.columns[0] if len(self.columns) == 1 else "a value", f"begins with one of {' '.join(not_first)}")
        return text


def with_vars(text: str, vars: Mapping[str, object]) -> str:
    """Render a text that may have `{{ vars.NAME }}`, with filters, and that is not a path.

    Raises Mistake for anything else that a template may have, because no instance is known here.
    """
    if "{{" not in text and "{%" not in text and "{#" not in text:
        return text
    expressions, printed = Expressions(vars, {}), ""
    for part in parts(text):
        if isinstance(part, nodes.If):
            raise Mistake("{% if %} does not work here", fragment="if", hint="write {{ vars.NAME }}")
        if unknown := min(names(part), default=None):
            hint = f"write vars.{unknown}" if unknown in vars else "write {{ vars.NAME }}"
            raise Mistake(f'"{unknown}" has no value here: no instance is known yet', fragment=unknown, hint=hint)
        try:
            printed += part.data if isinstance(part, nodes.TemplateData) else text_of(expressions.compiled(part)(()))
        except RenderError as error:
            raise Mistake(f"the template does not render a text: {error}") from None
    return printed
