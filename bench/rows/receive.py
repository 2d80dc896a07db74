"""Receive CT and MR files from DCMTK's storescu, by the time that it takes: from one, and from four at once.

Ours answers after each file is synced, at its path and in the index. storescp leaves its bytes in the page cache.
"""

import os
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from bench.contest import AtLeast, By, Contest, Line, Side
from bench.measure import Failed, Sample
from bench.nodes import Load, listener, loads, missing, storescp, storescu
from bench.workplace import Workplace

RULES = """rules_version = 1
[sources.archive]
path = "archive"
layout = "{{ PatientID }}/{{ SeriesInstanceUID }}/{{ SOPInstanceUID }}.dcm"
[listen.inbox]
ae_title = "RULES"
port = 0
into = "archive"
"""
OURS, PEER = "ours", "storescp"


def contests(place: Workplace) -> Iterator[Contest]:
    """Yield the contests. Both sides have the same sender. Its work is part of the figures."""
    whole = place.folder / "receive"
    shutil.rmtree(whole, ignore_errors=True)
    for load in loads(place):
        for senders in (1, 4):
            sides = {
                name: Side(partial(receive, whole, load, senders), load.files, missing(), load.bytes)
                for name, receive in ((OURS, received), (PEER, received_by_storescp))
            }
            name = f"receive {load.kind}" + f", {senders} senders" * (senders > 1)
            yield Contest(sides, [Line(name, OURS, PEER, By.WALL, (AtLeast(0.5),) if senders == 1 else ())])
    shutil.rmtree(whole, ignore_errors=True)


def received(whole: Path, load: Load, senders: int) -> Sample:
    """Measure one run of ours."""
    folder = made_ready(whole)
    (folder / "rules.toml").write_text(RULES, encoding="utf-8")
    with listener(folder, received=load.files, duplicates=0, refused=0) as port:
        sample = storescu(load, port, senders)
    return checked(sample, folder, load)


def received_by_storescp(whole: Path, load: Load, senders: int) -> Sample:
    """Measure one run of the peer."""
    folder = made_ready(whole)
    with storescp("--output-directory", folder / "archive", cwd=folder) as port:
        sample = storescu(load, port, senders)
    return checked(sample, folder, load)


def made_ready(whole: Path) -> Path:
    """Return an empty folder, after the disk is idle.

    Files of earlier runs are truncated instead of deleted: ext4 searches for another inode if a file was deleted in the last
    five minutes, so that creating a file would take longer than receiving it.
    """
    for path in whole.rglob("*"):
        if path.is_file():
            os.truncate(path, 0)
    folder = whole / str(len([*whole.glob("*")]))
    (folder / "archive").mkdir(parents=True)
    os.sync()
    return folder


def checked(sample: Sample, folder: Path, load: Load) -> Sample:
    """Return a run in which all files arrived. Raises Failed if the number differs."""
    if (found := sum(path.is_file() for path in (folder / "archive").rglob("*"))) != load.files:
        raise Failed(f"found {found} of {load.files} files")
    return sample
