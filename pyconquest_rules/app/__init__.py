"""The use cases, joined here and only here: what a command does, without how it is asked or shown."""

from pyconquest_rules.app.applying import apply, running
from pyconquest_rules.app.asking import conquest_config, export, query, summary
from pyconquest_rules.app.forgetting import forget, to_forget, undo_forget
from pyconquest_rules.app.indexing import index
from pyconquest_rules.app.listening import listen
from pyconquest_rules.app.looking_back import explain, status, unmended, verify
from pyconquest_rules.app.nodes import echo, find
from pyconquest_rules.app.opening import opened
from pyconquest_rules.app.planning import load_plan, plan, plan_offline, stages
from pyconquest_rules.app.refusing import refusals
from pyconquest_rules.app.remembering import remembered
from pyconquest_rules.execute.written import check_outside, is_stdout, written
from pyconquest_rules.rules.rules import Rules

__all__ = [
    "Rules",
    "apply",
    "check_outside",
    "conquest_config",
    "echo",
    "explain",
    "export",
    "find",
    "forget",
    "index",
    "is_stdout",
    "listen",
    "load_plan",
    "opened",
    "plan",
    "plan_offline",
    "query",
    "refusals",
    "remembered",
    "running",
    "stages",
    "status",
    "summary",
    "to_forget",
    "undo_forget",
    "unmended",
    "verify",
    "written",
]
