"""Send files to a node."""

import logging
import os

from pyconquest_rules.compat.errors import NotSent
from pyconquest_rules.compat.nodes import step_of
from pyconquest_rules.content import Stamp, Verbatim
from pyconquest_rules.kinds.send.do import Sending, transferred
from pyconquest_rules.network.node import Node
from pyconquest_rules.steps import SendInstance

log = logging.getLogger("pyconquest")


def send(node: Node, files: dict[str, bytes], invalid: int = 0) -> None:
    """Send the files of instances, by SOPInstanceUID. `invalid` is the number of files that the caller could not read.

    Raises NotSent if a file was invalid or the node did not store an instance.
    """
    steps = (
        step_of(number, uid, SendInstance(Verbatim(path, _stamp(path)), node.identity, sent=False))
        for number, (uid, path) in enumerate(files.items())
    )
    failed = invalid
    for answers in transferred(steps, Sending(node), lambda: False):
        for step, sent in answers:
            if sent.stored:
                log.info("%s was sent: 0x%04X", step.SOPInstanceUID, sent.status or 0)
            else:
                log.error("%s was not sent: %s", step.SOPInstanceUID, sent.message)
                failed += 1
    if failed:
        raise NotSent(failed, len(files) + invalid)


def _stamp(path: bytes) -> Stamp:
    try:
        status = os.stat(path)
    except OSError:
        return Stamp(0, 0)  # opening the file reports the error
    return Stamp.of(status)
