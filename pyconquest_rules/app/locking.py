"""Freeze the selection of releases in their locks, and compare plans and other locks with them."""

import json
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from hashlib import sha256
from itertools import islice
from pathlib import Path

from pyconquest_rules.app.naming import named
from pyconquest_rules.app.opening import opened
from pyconquest_rules.app.planning import planned, without_nodes
from pyconquest_rules.app.writing import written
from pyconquest_rules.content import Stamp
from pyconquest_rules.disk.named_files import is_inside
from pyconquest_rules.disk.sources import Changed, digest_of
from pyconquest_rules.engine.ledger import Ledger
from pyconquest_rules.engine.plan import Plan
from pyconquest_rules.errors import LockDiffers, OutputError, SourceError, UsageError
from pyconquest_rules.events import Emit, silent
from pyconquest_rules.index.query.clock import TODAY
from pyconquest_rules.kinds.all import kind_of
from pyconquest_rules.kinds.release.lock import (
    DATE,
    Differences,
    Locked,
    head,
    is_lock,
    keep_date,
    levels_of,
    patient_key,
    read,
    today,
    write,
)
from pyconquest_rules.kinds.release.rule import Release, root_of
from pyconquest_rules.paths import UnsafePath
from pyconquest_rules.rules.rules import Rules
from pyconquest_rules.steps import Status

TOGETHER, THREADS = 256, 4

FILES = """
WITH file AS (
    SELECT folder.path || request.name AS destination, request.*
    FROM step JOIN request USING (number) JOIN folder ON folder.number = request.folder JOIN action ON action.number = step.action
    WHERE action.name IN (SELECT value FROM json_each(?)) AND folder.number > 0)
SELECT destination, '', SOPInstanceUID, source, size, mtime_ns FROM file WHERE parts = 0
UNION ALL SELECT destination, part.name, part.SOPInstanceUID, part.source, part.size, part.mtime_ns
FROM file JOIN part USING (parts)
"""


def releases(rules: Rules, names: Iterable[str] = ()) -> dict[str, Release]:
    """Return the releases with these names, or all. Raises UsageError for an unknown name, and if there is no release."""
    found: dict[str, Release] = dict(rules.of_kind["release"])
    wanted = [name.removeprefix("release.") for name in names] or [*found]
    chosen = {name: named("release", name, found) for name in wanted}
    if not chosen:
        raise UsageError("the rules have no release; add a table [release.NAME]")
    return chosen


def lock(rules: Rules, name: str, emit: Emit = silent) -> tuple[Path, int]:
    """Write the lock of a release from the index as it is. Return the file and its number of lines.

    Raises OutputError if steps of its actions are blocked, because their files would be missing in the lock.
    """
    [(name, release)] = releases(rules, [name]).items()
    file = _file(rules, release)
    with planned(rules, without_nodes(rules, rules.chosen(release.actions)), emit=emit) as made:
        counts = made.counts()
        if blocked := sum(counts[action][Status.BLOCKED] for action in release.actions):
            raise OutputError(f"{blocked:,} steps of the release are blocked; nothing was locked; `plan` shows the reasons")
        texts = (
            (DATE, today()),
            ("release", name),
            ("title", release.title),
            ("licence", release.licence),
        )
        keys = [*((key, text) for key, text in texts if text), ("rules", fingerprint(rules, release))]
        again = is_lock(file)
        with written(rules, file, force=again, make=True) as stream, selection(rules, release, made) as files:
            number = write(stream, keys, files)
            if again:
                keep_date(stream, file)
            return file, number


def check_locked(rules: Rules, targets: tuple[str, ...]) -> None:
    """Raise UsageError if no release has all its actions among the targets, or if a lock was never written."""
    chosen = set(rules.chosen(targets))
    found = [(name, release) for name, release in releases(rules).items() if chosen.issuperset(release.actions)]
    if not found:
        raise UsageError("--locked: the targets have all actions of no release; name them, or leave the targets out")
    for name, release in found:
        if not _file(rules, release).exists():
            raise UsageError(f"the release {name} has no lock {release.lock}; write it with: pyconquest-rules lock {name}")


def compare(rules: Rules, made: Plan, *, listed: bool = False) -> None:
    """Compare a plan with the lock of each release whose actions it has. Raises LockDiffers with the differences.

    The message has counts, and if `listed` a line for every SOPInstanceUID.
    """
    actions, texts, made.differs = set(made.actions()), list[str](), False
    for name, release in releases(rules).items():
        if not actions.issuperset(release.actions):
            continue
        file = _file(rules, release)
        with selection(rules, release, made) as files, Differences(read(file), files) as found:
            if not found.counts:
                continue
            texts.append(f"the plan differs from the lock {release.lock} of the release {name}:")
            texts += _lines(found, listed=listed)
            if head(file).get("rules") != fingerprint(rules, release):
                texts.append("  the rules of the release changed too")
            texts.append(f"  = if this is intended, lock again: pyconquest-rules lock {name}")
    if texts:
        made.differs = True
        raise LockDiffers("\n".join(texts))


def fingerprint(rules: Rules, release: Release) -> str:
    """Return a digest of the rules that determine a release: its actions, and all sets. Values of variables do not count."""
    actions = {name: rules.actions[name] for name in release.actions}
    about = {
        "actions": {name: [kind_of(name).selects(action), action.fingerprint] for name, action in actions.items()},
        "templates": {name: getattr(action, "to", "") for name, action in actions.items()},
        "sets": {name: [each.level, each.text, _params(rules, each.params)] for name, each in rules.selections.items()},
    }
    return sha256(json.dumps(about, sort_keys=True, default=str).encode()).hexdigest()


def _params(rules: Rules, params: object) -> dict[str, object]:
    return {key: value for key, value in dict(params).items() if key != TODAY and key not in rules.params}  # type: ignore[call-overload]


@contextmanager
def selection(rules: Rules, release: Release, made: Plan) -> Iterator[Iterator[Locked]]:
    """Yield an iterator over the files of a release, as a plan has them. Sources that the ledger does not know are read.

    The iterator raises UsageError for a file outside the root, and SourceError for a source that cannot be read.
    """
    try:
        root = root_of(release, rules.outputs)
    except UnsafePath as error:
        raise UsageError(f"the root of the release cannot be used: {error}") from None
    with opened(rules) as sets, Ledger(rules.base) as ledger, ThreadPoolExecutor(THREADS) as pool:
        rows = made.connection.execute(FILES, (json.dumps(release.actions),))

        def files() -> Iterator[Locked]:
            while some := [*islice(rows, TOGETHER)]:
                known = [ledger.source_digest(path, member, source, Stamp(*stamp)) for path, member, _, source, *stamp in some]
                digests = pool.map(lambda row, digest: digest or _digest(row[2], row[3]), some, known)
                levels = levels_of(sets, {row[2] for row in some})
                for (destination, member, uid, *_), digest in zip(some, digests, strict=True):
                    if not destination.startswith(root):
                        raise UsageError(f"the file of the instance {uid} lies outside the root of the release")
                    patient, study, series = levels[uid]
                    below = os.fsencode(destination.removeprefix(root) + (f"/{member}" if member else ""))
                    yield Locked(below, uid, digest, patient_key(patient), study, series)

        yield files()


def _digest(uid: str, source: bytes) -> str:
    try:
        return digest_of(source)
    except Changed as error:
        raise SourceError(f"cannot read the source of the instance {uid}: {error}") from None
    except OSError as error:
        raise SourceError(f"cannot read the source of the instance {uid}: {os.strerror(error.errno or 0)}") from None


def _file(rules: Rules, release: Release) -> Path:
    file = rules.base / release.lock
    if not is_inside(file, rules.base):
        raise UsageError(f"the lock {release.lock} must be below the folder of the rules file")
    return file


def _lines(found: Differences, *, listed: bool) -> Iterator[str]:
    for each in found.counts:
        levels = f"series: {each.series:,}, studies: {each.studies:,}, patients: {each.patients:,}"
        yield f"  {each.what:<7}  instances: {each.instances:,}, {levels}"
    if listed:
        yield from (f"    {what} {uid}" for what, uid in found.instances())
