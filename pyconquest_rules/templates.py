"""The only Jinja environment.

Jinja2 only parses. This module compiles every allowed node of the tree to a function; any other node is a Mistake. So a
template can reach only the values that it gets.
"""

import operator
import posixpath
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from hashlib import sha256
from itertools import takewhile

from jinja2 import TemplateSyntaxError, nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

from pyconquest_rules.errors import Mistake, did_you_mean
from pyconquest_rules.paths import ESCAPE, MARK, SPECIAL, Destination, UnsafePath, destination, remembered

LONGEST_TEMPLATE, LONGEST_VALUE, LONGEST_PRINTED = 20_000, 65536, 524_288
FEW = 16  # pieces that are joined at once; each may have that length
MOST_BITS = 1024  # of an integer
SAMPLE = MARK + "x"

DATE = re.compile(r"([1-9][0-9]{3})(\.?)([0-9]{2})\2([0-9]{2})")
# Descriptions of values that do not match DATE, without the value.
NO_DATES = (
    (re.compile(r"[0-9]{4}"), "is a year without a month and a day"),
    (re.compile(r"[0-9]{4}[-./]?[0-9]{2}"), "is a year and a month without a day"),
    (re.compile(r"0[0-9]{7}|0[0-9]{3}\.[0-9]{2}\.[0-9]{2}"), "is a date of an impossible year"),
    (re.compile(r"[0-9]{8}|[0-9]{4}\.[0-9]{2}\.[0-9]{2}"), "is a date that is not in the calendar"),
    (re.compile(r"[0-9]{8}[T ]?[0-9]{2}.*"), "is a date with a time"),
    (re.compile(r"[0-9]{8}-([0-9]{8})?|-[0-9]{8}"), "is a range of dates"),
    (re.compile(r"[0-9]{1,4}[-./][0-9]{1,2}[-./][0-9]{1,4}"), "is a date in another form"),
)
DATE_FORMAT = re.compile(r"(?:[^%]|%[YmdybBjaA%])+")
FILTERS = {
    "default": "default('text')",
    "lower": "lower",
    "upper": "upper",
    "replace": "replace('old', 'new'), the new text of at most 255 characters",
    "truncate": "truncate(n), n from 1 to 255",
    "pad": "pad(n), n from 1 to 64",
    "date": "date('%Y-%m-%d'), of %Y %m %d %y %b %B %j %a %A %%",
    "short_uid": "short_uid or short_uid(n), n from 4 to 32",
    "slug": "slug",
}
COMPARISONS: Mapping[str, Callable[..., bool]] = {
    "eq": operator.eq,
    "ne": operator.ne,
    "lt": operator.lt,
    "lteq": operator.le,
    "gt": operator.gt,
    "gteq": operator.ge,
    "in": lambda item, items: item in items,
    "notin": lambda item, items: item not in items,
}

# The values of the names that a template uses, in its own order: str, int, float or None.
Values = Sequence[object]
Evaluate = Callable[[Values], object]
Print = Callable[[Values], str]


class RenderError(Exception):
    """A value of an instance does not fit the template. `name` is its keyword or column; the text never has the value."""

    def __init__(self, name: str, what: str) -> None:
        super().__init__(f"{name} {what}")
        self.name = name


class MissingValue(RenderError):
    """A value is missing, None or empty, and the template has no default."""

    def __init__(self, name: str) -> None:
        super().__init__(name, "has no value")


class BadValue(RenderError):
    """A filter or a comparison cannot use the value of a name."""


class Template:
    """A template of the rules file, compiled once and rendered for each instance.

    `names` are the keywords and columns that it uses; `columns` are the same in the order of the values for `render`.
    `prefix` is the leading folders without values of an instance, or "".
    """

    __slots__ = ("_last", "_many", "_shared", "columns", "names", "prefix")

    def __init__(self, text: str, vars: Mapping[str, object]) -> None:
        """Compile `text`. Raises Mistake if it is not valid Jinja2, has a forbidden node, or can never render a path."""
        try:
            children = [
                child for node in _parsed(text).body for child in (node.nodes if isinstance(node, nodes.Output) else [node])
            ]
            used = [_names(child) for child in children]
            # The text before the last slash is often the same for a whole series, so it is cached by its values.
            slashes = [isinstance(child, nodes.TemplateData) and "/" in child.data for child in children]
            above = max((n for n, slash in enumerate(slashes, 1) if slash), default=0)
            shared = sorted(set[str]().union(*used[:above]))
            self.names = frozenset[str]().union(*used)
            self.columns = (*shared, *sorted(self.names.difference(shared)))
            compiler = _Compiler(vars, {name: position for position, name in enumerate(self.columns)})
            pieces = [compiler.printed(child) for child in children]
        except RecursionError:
            raise Mistake("the template is nested too deeply") from None
        try:
            sample = [SAMPLE if names else piece(()) for piece, names in zip(pieces, used, strict=True)]
            destination("".join(sample))
        except (RenderError, UnsafePath) as error:
            raise Mistake(f"the template does not render a path: {error}") from None
        fixed = "".join(text for text, _ in takewhile(lambda piece: not piece[1], zip(sample, used, strict=True)))
        self.prefix = posixpath.dirname(destination(fixed[: fixed.rfind("/") + 1] + SAMPLE).path)
        self._shared, self._last, first = len(shared), _together(pieces[above:]), _together(pieces[:above])
        self._many = remembered(lambda *values: first(values))

    def path(self, values: Mapping[str, object]) -> Destination:
        """Render the template with values by name."""
        return self.render([values.get(name) for name in self.columns])

    def render(self, values: Values) -> Destination:
        """Return the destination for these values of `columns`. Raises MissingValue, BadValue or UnsafePath."""
        return destination(self._many(*values[: self._shared]) + self._last(values))


def with_vars(text: str, vars: Mapping[str, object]) -> str:
    """Render a text that may have `{{ vars.NAME }}`, with filters, and that is not a path.

    Raises Mistake for anything else that a template may have, because no instance is known here.
    """
    if "{{" not in text and "{%" not in text and "{#" not in text:
        return text
    compiler, printed = _Compiler(vars, {}), ""
    for node in _parsed(text).body:
        for child in node.nodes if isinstance(node, nodes.Output) else [node]:
            if isinstance(child, nodes.If):
                raise Mistake("{% if %} does not work here", fragment="if", hint="write {{ vars.NAME }}")
            if unknown := min(_names(child), default=None):
                hint = f"write vars.{unknown}" if unknown in vars else "write {{ vars.NAME }}"
                raise Mistake(f'"{unknown}" has no value here: no instance is known yet', fragment=unknown, hint=hint)
            try:
                printed += child.data if isinstance(child, nodes.TemplateData) else _text(compiler.expression(child)(()))
            except RenderError as error:
                raise Mistake(f"the template does not render a text: {error}") from None
    return printed


def _parsed(text: str) -> nodes.Template:
    if len(text) > LONGEST_TEMPLATE:
        raise Mistake(f"the template is longer than {LONGEST_TEMPLATE} characters")
    try:
        tree = ImmutableSandboxedEnvironment().parse(text)
    except TemplateSyntaxError as error:
        raise Mistake(f"the template cannot be read: {error.message}") from None
    except ValueError:
        raise Mistake("the template cannot be read: a number has thousands of digits") from None
    for node in tree.find_all(nodes.Stmt):
        if not isinstance(node, nodes.Output | nodes.If):
            raise _unknown_tag(text)
    for constant in tree.find_all(nodes.Const):
        if isinstance(constant.value, int) and constant.value.bit_length() > MOST_BITS:
            raise Mistake("the template cannot be read: a number has hundreds of digits")
    return tree


def _names(node: nodes.Node) -> set[str]:
    found = [node] if isinstance(node, nodes.Name) else node.find_all(nodes.Name)
    return {name.name for name in found} - {"vars"}


def _text(value: object) -> str:
    """Return a value as text: 1.0 as "1", -0.0 as "0", None as ""."""
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        return repr(value + 0.0).removesuffix(".0")
    return "" if value is None else str(value)


def _clean(text: str) -> str:
    return unicodedata.normalize("NFC", text).strip()


def _own(text: str) -> Print:
    """Print text of the template or of `vars` as it is. Raises Mistake for characters that no path should have."""
    strange = next((character for character in text if not character.isprintable()), None)
    if strange is not None:
        hint = "remove line breaks with {%- -%}" if strange == "\n" else None
        raise Mistake(f"the template would print the character U+{ord(strange):04X}", hint=hint)
    # The mark prevents "{{ vars.out }}/x" from becoming "/x" if the variable is empty.
    return lambda values: text or MARK


def _value(evaluate: Evaluate) -> Print:
    """Print a value as a part of one name, whatever its characters are."""

    def value(values: Values) -> str:
        text = _text(evaluate(values))
        if "/" in text or not text.isprintable():
            text = SPECIAL.sub(lambda match: f"{ESCAPE}{ord(match[0]):x}{ESCAPE}", text)
        return MARK + text

    return value


def _together(pieces: Sequence[Print]) -> Print:
    """Join what pieces print. Raises UnsafePath if the text is much too long, before it fills the memory."""
    while len(pieces) > FEW:
        pieces = [_together(pieces[start : start + FEW]) for start in range(0, len(pieces), FEW)]

    def together(values: Values) -> str:
        text = "".join([piece(values) for piece in pieces])
        if len(text) > LONGEST_PRINTED:
            raise UnsafePath(f"it is longer than {LONGEST_PRINTED} characters")
        return text

    return together


def _look_up(name: str, position: int) -> Evaluate:
    def look_up(values: Values) -> object:
        value = values[position]
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return value
        text = _clean(_text(value))
        if not text:
            raise MissingValue(name)
        return text

    return look_up


@dataclass(frozen=True, slots=True)
class _Compiler:
    """Compiles the nodes of a template to functions. Raises Mistake for a node that is not allowed."""

    vars: Mapping[str, object]
    positions: Mapping[str, int]

    def printed(self, node: nodes.Node) -> Print:
        """Return the function that prints a node, in the form that `destination` reads."""
        match node:
            case nodes.TemplateData(data=text):
                return _own(text)
            case nodes.Const(value=value):
                return _own(_text(value))
            case nodes.Getattr():
                text = _text(self.variable(node))
                return _own(text if text.strip() else "")
            case nodes.Output(nodes=children) | nodes.Concat(nodes=children):
                return self.joined(children)
            case nodes.If():
                return self.choice([(branch.test, branch.body) for branch in (node, *node.elif_)], node.else_)
            case nodes.CondExpr():
                return self.choice([(node.test, [node.expr1])], [node.expr2 or nodes.Const("")])
        return _value(self.expression(node))

    def joined(self, children: Iterable[nodes.Node]) -> Print:
        return _together([self.printed(child) for child in children])

    def choice(self, branches: Iterable[tuple[nodes.Node, Sequence[nodes.Node]]], otherwise: Sequence[nodes.Node]) -> Print:
        tests = [(self.expression(test), self.joined(body)) for test, body in branches]
        fallback = self.joined(otherwise)
        # The mark prevents "{% if a %}b{% endif %}/c" from becoming "/c".
        return lambda values: next((body for test, body in tests if test(values)), fallback)(values) or MARK

    def variable(self, node: nodes.Getattr) -> object:
        if not isinstance(node.node, nodes.Name) or node.node.name != "vars":
            raise Mistake("templates cannot read attributes of values", fragment="." + node.attr)
        if node.attr not in self.vars:
            name = f"vars.{node.attr}"
            hint = did_you_mean(node.attr, self.vars) or f"variables are: {', '.join(self.vars) or 'none'}"
            raise Mistake(f'unknown variable "{name}"', fragment=name, hint=hint)
        return self.vars[node.attr]

    def expression(self, node: nodes.Node) -> Evaluate:
        """Return the function that computes a node; it may raise RenderError."""
        match node:
            case nodes.Name(name=name) if name != "vars":
                return _look_up(name, self.positions[name])
            case nodes.Concat(nodes=children):
                return self.concatenated([self.expression(child) for child in children], _name_of(node))
            case nodes.And(left=left, right=right):
                first, second = self.expression(left), self.expression(right)
                return lambda values: first(values) and second(values)
            case nodes.Or(left=left, right=right):
                first, second = self.expression(left), self.expression(right)
                return lambda values: first(values) or second(values)
            case nodes.Not(node=inner):
                denied = self.expression(inner)
                return lambda values: not denied(values)
            case nodes.CondExpr():
                test, yes, no = (self.expression(part) for part in (node.test, node.expr1, node.expr2 or nodes.Const("")))
                return lambda values: yes(values) if test(values) else no(values)
            case nodes.Test(name="defined", node=inner):
                attempt = _attempt(self.expression(inner))
                return lambda values: attempt(values) != ""
            case nodes.Compare():
                return self.comparison(node)
            case nodes.Filter(node=nodes.Expr() as inner):
                return self.filtered(node, inner)
        constant = self.constant(node)
        return lambda values: constant

    def constant(self, node: nodes.Node) -> object:
        match node:
            case nodes.Const(value=value):
                return value
            case nodes.Neg(node=nodes.Const(value=int() | float() as number)):
                return -number
            case nodes.Getattr():
                return self.variable(node)
        raise _not_allowed(node)

    def concatenated(self, parts: Sequence[Evaluate], name: str) -> Evaluate:
        def concatenate(values: Values) -> str:
            text = ""
            for part in parts:
                text += _text(part(values))
                if len(text) > LONGEST_VALUE:
                    raise BadValue(name, "makes the joined text too long")
            return text

        return concatenate

    def comparison(self, node: nodes.Compare) -> Evaluate:
        first, name = self.expression(node.expr), _name_of(node)
        others = [(COMPARISONS[operand.op], self.operand(operand)) for operand in node.ops]

        def compare(values: Values) -> bool:
            left = first(values)
            try:
                return all(holds(left, left := side(values)) for holds, side in others)
            except TypeError:
                raise BadValue(name, "cannot be compared: one side is a number, the other a text") from None

        return compare

    def operand(self, node: nodes.Operand) -> Evaluate:
        if node.op not in {"in", "notin"}:
            return self.expression(node.expr)
        if not isinstance(node.expr, nodes.List | nodes.Tuple):
            raise Mistake("`in` needs a list of constants", fragment="in", hint="write Modality in ['CT', 'MR']")
        items = [self.constant(item) for item in node.expr.items]
        return lambda values: items

    def filtered(self, node: nodes.Filter, inner: nodes.Expr) -> Evaluate:
        evaluate, arguments, name = self.expression(inner), self.arguments(node), _name_of(node)
        if node.name == "default" and len(arguments) == 1:
            attempt = _attempt(evaluate)
            return lambda values: arguments[0] if (value := attempt(values)) == "" else value
        change = _change(node.name, arguments)
        if change is None:
            raise _misused(node)

        def apply(values: Values) -> str:
            text = _text(evaluate(values))
            result = _clean(change(text)) if text else ""
            if text and not result and node.name == "date":
                raise BadValue(name, f'{_no_date(text)}; the filter "date" needs a date as YYYYMMDD')
            if (text and not result) or len(result) > LONGEST_VALUE:
                raise BadValue(name, f'becomes {"too long" if result else "empty"} with the filter "{node.name}"')
            return result

        return apply

    def arguments(self, node: nodes.Filter) -> tuple[object, ...]:
        if node.name not in FILTERS:
            hint = did_you_mean(node.name, FILTERS) or f"filters are: {', '.join(FILTERS)}"
            raise Mistake(f'unknown filter "{node.name}"', fragment=node.name, hint=hint)
        arguments = tuple(self.constant(argument) for argument in node.args)
        if node.kwargs or node.dyn_args or node.dyn_kwargs or any(type(each) not in {str, int, float} for each in arguments):
            raise _misused(node)
        return arguments


def _attempt(evaluate: Evaluate) -> Evaluate:
    """Return the same function, but with "" for values that are missing, empty or unusable."""

    def attempt(values: Values) -> object:
        try:
            value = evaluate(values)
        except RenderError:
            return ""
        return value if _text(value).strip() else ""

    return attempt


def _change(name: str, arguments: tuple[object, ...]) -> Callable[[str], str] | None:
    """Return the function of a filter, which returns "" for an unusable text; None if its arguments do not match FILTERS."""
    match (name, *arguments):
        case ("lower",):
            return str.lower
        case ("upper",):
            return str.upper
        case ("slug",):
            return _slug
        case ("replace", str(old), str(new)) if old and len(new) <= 255:
            return lambda text: text.replace(old, new) if len(text) <= LONGEST_VALUE else text
        case ("truncate", int(length)) if 1 <= length <= 255:
            return lambda text: text[:length]
        case ("pad", int(length)) if 1 <= length <= 64:
            return lambda text: text.rjust(length, "0")
        case ("date", str(form)) if DATE_FORMAT.fullmatch(form):
            return lambda text: _date(text, form)
        case ("short_uid",):
            return _change(name, (8,))
        case ("short_uid", int(length)) if 4 <= length <= 32:
            return lambda text: sha256(text.encode(errors="surrogatepass")).hexdigest()[:length]
    return None


def _slug(text: str) -> str:
    letters = unicodedata.normalize("NFKD", text.casefold()).encode("ascii", "ignore").decode()
    return re.sub("[^a-z0-9]+", "-", letters).strip("-")


def _date(text: str, form: str) -> str:
    """Format a DA (PS3.5 6.2), also with the points of ACR-NEMA; "" if it is not a date."""
    found = DATE.fullmatch(text)
    try:
        return date(int(found[1]), int(found[3]), int(found[4])).strftime(form) if found else ""
    except ValueError:
        return ""


def _no_date(text: str) -> str:
    """Describe a value that is not a date, without the value."""
    return next((kind for form, kind in NO_DATES if form.fullmatch(text)), "is not a date")


def _name_of(node: nodes.Node) -> str:
    """Return the name to report if this node cannot be computed."""
    return min(_names(node), default="a constant")


def _misused(node: nodes.Filter) -> Mistake:
    return Mistake(f'the filter "{node.name}" has invalid arguments', fragment=node.name, hint=f"write {FILTERS[node.name]}")


def _unknown_tag(text: str) -> Mistake:
    known = {"if", "elif", "else", "endif", "raw", "endraw"}
    tag = next((word for word in re.findall(r"{%[-+]?\s*(\w+)", text) if word not in known), "such tags")
    what = "loop ({% for %})" if tag == "for" else f"use {{% {tag} %}}"
    return Mistake(f"templates cannot {what}", fragment=tag, hint="the only tag is {% if %}")


def _not_allowed(node: nodes.Node) -> Mistake:
    """Return the Mistake for an expression that is not allowed."""
    match node:
        case nodes.Name(name="vars"):
            return Mistake('"vars" alone is not a value', fragment="vars", hint="write vars.x")
        case nodes.Test(name=name):
            return Mistake(f'templates cannot test "is {name}"', fragment=name, hint='the only test is "is defined"')
        case nodes.Call():
            return Mistake("templates cannot call functions", fragment="(")
        case nodes.Getitem():
            return Mistake("templates cannot index values with [ ]", fragment="[")
        case nodes.List() | nodes.Tuple() | nodes.Dict():
            return Mistake("templates cannot have lists, except constants after `in`")
        case nodes.BinExpr(operator=sign) | nodes.UnaryExpr(operator=sign) if sign not in {"and", "or", "not"}:
            return Mistake(f"templates cannot calculate ({sign})", fragment=sign, hint="compute it in the query")
    return Mistake("only a constant is allowed here", fragment=node.name if isinstance(node, nodes.Name) else None)
