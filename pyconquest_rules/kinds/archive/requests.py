"""What an archive requests: its instances as members, by the paths of their archives."""

import json
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from hashlib import sha256

from pyconquest_rules.content import Applied
from pyconquest_rules.engine.parts import Group, Member, grouped
from pyconquest_rules.engine.requested import reason_of
from pyconquest_rules.kinds.archive.packing import Packing
from pyconquest_rules.kinds.archive.rule import ENDINGS, Archive
from pyconquest_rules.kinds.kind import Planning
from pyconquest_rules.paths import UnsafePath, safe_part
from pyconquest_rules.steps import Reason, Request
from pyconquest_rules.templates import RenderError, Template
from pyconquest_rules.templates.values import Values

FILE_ID = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
LONGEST_COMPONENT = 8
"""The number of characters of a component of a file ID (PS3.10 8.2)."""
OF_FILE_ID = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
DOUBLED = "two of its members have one name, names that some file systems cannot tell apart, or one needs a folder of that name"


def requests(name: str, archive: Archive, planning: Planning) -> Iterator[Request]:
    """Yield a request for each archive, and one for each instance that has none."""
    packing = Packing(name, archive.dicomdir)
    for group in grouped(planning.plan, planning.in_time(_members(name, archive, planning))):
        yield _request(group, packing)


def _request(group: Group, packing: Packing) -> Request:
    """Return the request of an archive, or of an instance without one."""
    uid, reason, message = group.trouble or ("", None, None)
    match json.loads(group.key):
        case [folder, file, written]:
            applied = Applied(packing, next(ending for ending in ENDINGS if file.endswith(ending)))
            if reason is not None:
                message = f"{uid}: {message}"
            elif group.doubled is not None:
                reason, message = Reason.COLLISION, DOUBLED
            return Request("", b"", *group.stamp, folder, file, written, reason, message, applied=applied, parts=group.number)
        case _:
            return Request(uid, b"", *group.stamp, "", "", "", reason, message)


def _members(name: str, archive: Archive, planning: Planning) -> Iterator[Member]:
    """Yield the instances of the set as members. The key of a member is its archive; for an instance without one, its UID."""
    to, outputs = planning.rules.templates[name], planning.rules.outputs
    of_member, named = _naming(archive, planning)
    columns = tuple(dict.fromkeys((*to.columns, *of_member)))
    places, parts = [columns.index(column) for column in to.columns], [columns.index(column) for column in of_member]
    for uid, source, size, mtime_ns, *values in planning.sets.instances(archive.select, columns):
        key: tuple[str, ...] = (uid,)
        try:
            path = to.render([values[place] for place in places])
            key = outputs.within(path.folder.path, path.name), path.name, path.folder.written
            member = named([values[part] for part in parts])
        except (RenderError, UnsafePath) as error:
            yield Member(json.dumps(key), "", uid, source, size, mtime_ns, None, reason_of(error), str(error))
        else:
            yield Member(json.dumps(key), member, uid, source, size, mtime_ns)


def _naming(archive: Archive, planning: Planning) -> tuple[Sequence[str], Callable[[Values], str]]:
    """Return the columns that the name of a member comes from, and the function that makes it of their values."""
    if archive.member is None:
        return OF_FILE_ID, file_id_of
    template = Template(archive.member, planning.rules.params)
    return template.columns, partial(member_of, template)


def member_of(template: Template, values: Values) -> str:
    """Return the name of a member. Raises RenderError, or UnsafePath if a part of it is not safe."""
    name = template.render(values).path
    if any(safe_part(part) != part for part in name.split("/")):
        raise UnsafePath("the name of the member has an unsafe part")
    return name


def file_id_of(uids: Values) -> str:
    """Return the file ID of an instance in a file-set (PS3.10 8.2): a component for its study, its series and itself.

    Each comes from the UIDs alone, so other instances never change it.
    """
    texts = [str(uid or "") for uid in uids]
    return "/".join(_component("/".join(texts[:number])) for number in range(1, len(texts) + 1))


def _component(uids: str) -> str:
    number, characters = int.from_bytes(sha256(uids.encode()).digest(), "big"), ""
    while len(characters) < LONGEST_COMPONENT:
        number, rest = divmod(number, len(FILE_ID))
        characters += FILE_ID[rest]
    return characters
