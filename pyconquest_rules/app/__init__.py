"""The use cases: what each command does, without its options and its output. Only here do rules, index, engine and kinds meet.

Each module is imported when one of its names is first used. No command needs all of them, and importing all takes as long as
indexing a small folder.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyconquest_rules.app.applying import apply, running
    from pyconquest_rules.app.forgetting import forget, to_forget, undo_forget
    from pyconquest_rules.app.indexing import index
    from pyconquest_rules.app.listening import listen
    from pyconquest_rules.app.loading import Rules, check
    from pyconquest_rules.app.locking import check_locked, compare, lock, releases
    from pyconquest_rules.app.looking_back import explain, status, unmended, verify
    from pyconquest_rules.app.nodes import echo, find
    from pyconquest_rules.app.opening import opened
    from pyconquest_rules.app.planning import load_plan, plan, plan_offline, run_commands, stages
    from pyconquest_rules.app.querying import conquest_config, export, query, summary
    from pyconquest_rules.app.refusing import refusals
    from pyconquest_rules.app.remembering import remembered
    from pyconquest_rules.app.writing import check_outside, is_stdout, written
    from pyconquest_rules.engine.saved import save

__all__ = [
    "Rules",
    "apply",
    "check",
    "check_locked",
    "check_outside",
    "compare",
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
    "lock",
    "opened",
    "plan",
    "plan_offline",
    "query",
    "refusals",
    "releases",
    "remembered",
    "run_commands",
    "running",
    "save",
    "stages",
    "status",
    "summary",
    "to_forget",
    "undo_forget",
    "unmended",
    "verify",
    "written",
]

_NAMES = {
    "pyconquest_rules.app.applying": "apply running",
    "pyconquest_rules.app.querying": "conquest_config export query summary",
    "pyconquest_rules.app.forgetting": "forget to_forget undo_forget",
    "pyconquest_rules.app.indexing": "index",
    "pyconquest_rules.app.listening": "listen",
    "pyconquest_rules.app.loading": "Rules check",
    "pyconquest_rules.app.locking": "check_locked compare lock releases",
    "pyconquest_rules.app.looking_back": "explain status unmended verify",
    "pyconquest_rules.app.nodes": "echo find",
    "pyconquest_rules.app.opening": "opened",
    "pyconquest_rules.app.planning": "load_plan plan plan_offline run_commands stages",
    "pyconquest_rules.app.refusing": "refusals",
    "pyconquest_rules.app.remembering": "remembered",
    "pyconquest_rules.app.writing": "check_outside is_stdout written",
    "pyconquest_rules.engine.saved": "save",
}
_MODULE_OF = {name: module for module, names in _NAMES.items() for name in names.split()}


def __getattr__(name: str) -> object:
    """Import and return a name of `__all__`. Raises AttributeError for any other name."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULE_OF[name]), name)
