"""Templates, compiled to functions that print a path in the form that `paths.destination` reads."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from jinja2 import nodes

from pyconquest_rules.errors import Mistake
from pyconquest_rules.paths import ESCAPE, MARK, SPECIAL, UnsafePath
from pyconquest_rules.templates.expressions import Expressions
from pyconquest_rules.templates.values import Evaluate, Values, text_of

LONGEST_PRINTED = 524_288
FEW = 16  # pieces that are joined at once; each may have that length

Print = Callable[[Values], str]


@dataclass(frozen=True, slots=True)
class Printer:
    """Compiles the parts of a template. Raises Mistake for a node that is not allowed."""

    expressions: Expressions

    def printed(self, node: nodes.Node) -> Print:
        """Return the function that prints a node."""
        match node:
            case nodes.TemplateData(data=text):
                return _own(text)
            case nodes.Const(value=value):
                return _own(text_of(value))
            case nodes.Getattr():
                text = text_of(self.expressions.variable(node))
                return _own(text if text.strip() else "")
            case nodes.Output(nodes=children) | nodes.Concat(nodes=children):
                return self._joined(children)
            case nodes.If():
                return self._choice([(branch.test, branch.body) for branch in (node, *node.elif_)], node.else_)
            case nodes.CondExpr():
                return self._choice([(node.test, [node.expr1])], [node.expr2 or nodes.Const("")])
        return _value(self.expressions.compiled(node))

    def _joined(self, children: Iterable[nodes.Node]) -> Print:
        return joined([self.printed(child) for child in children])

    def _choice(self, branches: Iterable[tuple[nodes.Node, Sequence[nodes.Node]]], otherwise: Sequence[nodes.Node]) -> Print:
        tests = [(self.expressions.compiled(test), self._joined(body)) for test, body in branches]
        fallback = self._joined(otherwise)
        # The mark prevents "{% if a %}b{% endif %}/c" from becoming "/c".
        return lambda values: next((body for test, body in tests if test(values)), fallback)(values) or MARK


def joined(pieces: Sequence[Print]) -> Print:
    """Join what pieces print. Raises UnsafePath if the text is much too long, before it fills the memory."""
    while len(pieces) > FEW:
        pieces = [joined(pieces[start : start + FEW]) for start in range(0, len(pieces), FEW)]

    def together(values: Values) -> str:
        text = "".join([piece(values) for piece in pieces])
        if len(text) > LONGEST_PRINTED:
            raise UnsafePath(f"it is longer than {LONGEST_PRINTED} characters")
        return text

    return together


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
        text = text_of(evaluate(values))
        if "/" in text or not text.isprintable():
            text = SPECIAL.sub(lambda match: f"{ESCAPE}{ord(match[0]):x}{ESCAPE}", text)
        return MARK + text

    return value
