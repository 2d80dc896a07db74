"""The syntax of templates. Jinja2 only parses; its environment is never asked to render."""

import re
from collections.abc import Iterator

from jinja2 import TemplateSyntaxError, nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

from pyconquest_rules.errors import Mistake

LONGEST_TEMPLATE = 20_000
MOST_BITS = 1024  # of an integer


def parts(text: str) -> Iterator[nodes.Node]:
    """Yield the parts of a template in order: text, expressions, and `{% if %}` statements.

    Raises Mistake if the text is not valid Jinja2, is too long, or has another statement.
    """
    for node in _parsed(text).body:
        yield from node.nodes if isinstance(node, nodes.Output) else [node]


def names(node: nodes.Node) -> set[str]:
    """Return the keywords and columns that a node uses."""
    found = [node] if isinstance(node, nodes.Name) else node.find_all(nodes.Name)
    return {name.name for name in found} - {"vars"}


def name_of(node: nodes.Node) -> str:
    """Return the name to report if this node cannot be computed."""
    return min(names(node), default="a constant")


def not_allowed(node: nodes.Node) -> Mistake:
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


def _unknown_tag(text: str) -> Mistake:
    known = {"if", "elif", "else", "endif", "raw", "endraw"}
    tag = next((word for word in re.findall(r"{%[-+]?\s*(\w+)", text) if word not in known), "such tags")
    what = "loop ({% for %})" if tag == "for" else f"use {{% {tag} %}}"
    return Mistake(f"templates cannot {what}", fragment=tag, hint="the only tag is {% if %}")
