"""Expressions of templates, compiled to functions that compute a value.

Each allowed node of the syntax tree has its case here; any other node is a Mistake. So a template can reach only the values
that it gets.
"""

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from jinja2 import nodes

from pyconquest_rules.errors import Mistake, did_you_mean
from pyconquest_rules.templates.filters import FILTERS, no_date, text_filter
from pyconquest_rules.templates.parsing import name_of, not_allowed
from pyconquest_rules.templates.values import LONGEST_VALUE, BadValue, Evaluate, Values, attempt, clean, look_up, text_of

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


@dataclass(frozen=True, slots=True)
class Expressions:
    """Compiles expressions. `vars` are the variables of the rules; `positions` are those of names in the values.

    Every method raises Mistake for a node that is not allowed.
    """

    vars: Mapping[str, object]
    positions: Mapping[str, int]

    def compiled(self, node: nodes.Node) -> Evaluate:
        """Return the function that computes a node; it may raise RenderError."""
        match node:
            case nodes.Name(name=name) if name != "vars":
                return look_up(name, self.positions[name])
            case nodes.Concat(nodes=children):
                return self._concatenated([self.compiled(child) for child in children], name_of(node))
            case nodes.And(left=left, right=right):
                first, second = self.compiled(left), self.compiled(right)
                return lambda values: first(values) and second(values)
            case nodes.Or(left=left, right=right):
                first, second = self.compiled(left), self.compiled(right)
                return lambda values: first(values) or second(values)
            case nodes.Not(node=inner):
                denied = self.compiled(inner)
                return lambda values: not denied(values)
            case nodes.CondExpr():
                test, yes, no = (self.compiled(part) for part in (node.test, node.expr1, node.expr2 or nodes.Const("")))
                return lambda values: yes(values) if test(values) else no(values)
            case nodes.Test(name="defined", node=inner):
                value = attempt(self.compiled(inner))
                return lambda values: value(values) != ""
            case nodes.Compare():
                return self._comparison(node)
            case nodes.Filter(node=nodes.Expr() as inner):
                return self._filtered(node, inner)
        constant = self._constant(node)
        return lambda values: constant

    def variable(self, node: nodes.Getattr) -> object:
        """Return the value of `vars.NAME`."""
        if not isinstance(node.node, nodes.Name) or node.node.name != "vars":
            raise Mistake("templates cannot read attributes of values", fragment="." + node.attr)
        if node.attr not in self.vars:
            name = f"vars.{node.attr}"
            hint = did_you_mean(node.attr, self.vars) or f"variables are: {', '.join(self.vars) or 'none'}"
            raise Mistake(f'unknown variable "{name}"', fragment=name, hint=hint)
        return self.vars[node.attr]

    def _constant(self, node: nodes.Node) -> object:
        match node:
            case nodes.Const(value=value):
                return value
            case nodes.Neg(node=nodes.Const(value=int() | float() as number)):
                return -number
            case nodes.Getattr():
                return self.variable(node)
        raise not_allowed(node)

    def _concatenated(self, parts: Sequence[Evaluate], name: str) -> Evaluate:
        def concatenate(values: Values) -> str:
            text = ""
            for part in parts:
                text += text_of(part(values))
                if len(text) > LONGEST_VALUE:
                    raise BadValue(name, "makes the joined text too long")
            return text

        return concatenate

    def _comparison(self, node: nodes.Compare) -> Evaluate:
        first, name = self.compiled(node.expr), name_of(node)
        others = [(COMPARISONS[operand.op], self._operand(operand)) for operand in node.ops]

        def compare(values: Values) -> bool:
            left = first(values)
            try:
                return all(holds(left, left := side(values)) for holds, side in others)
            except TypeError:
                raise BadValue(name, "cannot be compared: one side is a number, the other a text") from None

        return compare

    def _operand(self, node: nodes.Operand) -> Evaluate:
        if node.op not in {"in", "notin"}:
            return self.compiled(node.expr)
        if not isinstance(node.expr, nodes.List | nodes.Tuple):
            raise Mistake("`in` needs a list of constants", fragment="in", hint="write Modality in ['CT', 'MR']")
        items = [self._constant(item) for item in node.expr.items]
        return lambda values: items

    def _filtered(self, node: nodes.Filter, inner: nodes.Expr) -> Evaluate:
        evaluate, arguments, name = self.compiled(inner), self._arguments(node), name_of(node)
        if node.name == "default" and len(arguments) == 1:
            given = attempt(evaluate)
            return lambda values: arguments[0] if (value := given(values)) == "" else value
        change = text_filter(node.name, arguments)
        if change is None:
            raise _misused(node)

        def apply(values: Values) -> str:
            text = text_of(evaluate(values))
            result = clean(change(text)) if text else ""
            if text and not result and node.name == "date":
                raise BadValue(name, f'{no_date(text)}; the filter "date" needs a date as YYYYMMDD')
            if (text and not result) or len(result) > LONGEST_VALUE:
                raise BadValue(name, f'becomes {"too long" if result else "empty"} with the filter "{node.name}"')
            return result

        return apply

    def _arguments(self, node: nodes.Filter) -> tuple[object, ...]:
        if node.name not in FILTERS:
            hint = did_you_mean(node.name, FILTERS) or f"filters are: {', '.join(FILTERS)}"
            raise Mistake(f'unknown filter "{node.name}"', fragment=node.name, hint=hint)
        arguments = tuple(self._constant(argument) for argument in node.args)
        if node.kwargs or node.dyn_args or node.dyn_kwargs or any(type(each) not in {str, int, float} for each in arguments):
            raise _misused(node)
        return arguments


def _misused(node: nodes.Filter) -> Mistake:
    return Mistake(f'the filter "{node.name}" has invalid arguments', fragment=node.name, hint=f"write {FILTERS[node.name]}")
