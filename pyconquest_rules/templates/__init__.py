"""Templates of the rules file: a small, safe part of Jinja2.

`parsing` reads the syntax, `expressions` compiles what computes values, with `filters`, and `printing` compiles what prints a
path. `template` has the result.
"""

from pyconquest_rules.templates.template import Template, with_vars
from pyconquest_rules.templates.values import BadValue, MissingValue, RenderError

__all__ = ["BadValue", "MissingValue", "RenderError", "Template", "with_vars"]
