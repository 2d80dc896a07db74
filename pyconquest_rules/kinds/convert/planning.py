"""What an action requests: its groups, with its program as it is now."""

import json
from collections.abc import Iterator
from hashlib import sha256

from pyconquest_rules.engine.commands import NOT_ALLOWED
from pyconquest_rules.engine.parts import grouped
from pyconquest_rules.engine.requested import Files
from pyconquest_rules.kinds.convert.do import Converter
from pyconquest_rules.kinds.convert.groups import ByDigest, Groups, program
from pyconquest_rules.kinds.convert.rule import Convert
from pyconquest_rules.kinds.kind import Planning
from pyconquest_rules.steps import Mode, Request
from pyconquest_rules.templates.template import Text


def requests(name: str, convert: Convert, planning: Planning) -> Iterator[Request]:
    """Add an action to the plan; return an iterator over its requests: one for each output of each group.

    Nothing is run. The fingerprint has the SHA-256 of the program, so that another version of it makes the outputs again.
    """
    rules, plan = planning.rules, planning.plan
    texts, word = ByDigest(), Text(convert.command[0], rules.params).render(())
    groups, found = Groups(convert, planning.sets, rules.params, rules.outputs, texts), program(word, rules.base)
    decides = [convert.fingerprint, groups.constant, found.sha256 if found else ""]
    pruned = planning.allow_prune if convert.prune else None
    files = Files(Mode.COPY, convert.on_conflict, convert.on_changed, pruned)
    plan.add_action(name, files, sha256(json.dumps(decides).encode()).hexdigest())
    if found is None:
        plan.held[name] = f'the program "{word}" is not installed, or cannot be executed'
    elif not planning.allow_commands:
        plan.held[name] = NOT_ALLOWED
    converter = Converter(name, convert, found, texts)
    return (
        request for group in grouped(plan, planning.in_time(groups.members())) for request in groups.requests(group, converter)
    )
