"""docs/performance.md: the table with its date and its machine, and how to read each row."""

import os
import platform
import shutil
import subprocess
from collections.abc import Sequence
from datetime import date
from pathlib import Path

from bench.contest import Compared
from bench.corpus import has_corpus
from bench.dcmtk import dcmtk
from bench.table import as_markdown
from bench.workplace import Workplace

PAGE = """\
# Performance

Written by `make bench`, which measures everything on this page anew, in a quarter of an hour or so. Some rows alone:
`python -m bench header copy`, from the repository; they are printed, and this page stays.

{day}, on {machine}. Peers: {peers}. {files}

{table}{left_out}
## How to read it

Each row is ours beside a peer that does the same task. The sides of a row take turns in one run, each {runs} times (plans 3
times), so that whatever else the machine does hits all of them; of each side the run in the middle counts. Where a cell has
two figures, the first is ours, the second the peer's. `by` says which time counts in files/s and in the ratio: that of the
clock, or that of the processors (user and system, of all processes of the command). MB/s is of whole files, in 10^6 bytes.
The peak of memory is that of the largest process; some 10 MB is the least that can be measured. Page cache and bytecode are
warm. Every run is checked: it counts only if its summary, or what it left on the disk, is what it should be.

Ratios differ from machine to machine: where memory is slow, copies and large instances on the wire show it first.
A ratio says how many times *as fast* ours is, or how many times *as long* it takes. A target that is not met says NO. A peer
that is not on the machine is named in its row.

| row | what is compared |
| --- | --- |
| header | Reading the headers of all files of a folder in one process, without start-up and imports. Ours gives the texts of the {elements} elements that the index asks every file for. *pydicom, every value*: `dcmread` with `specific_tags` and `stop_before_pixels`, and the same text of each element; before the run the texts of both are compared file by file, and must be the same. *pydicom, no value*: the same call, and nothing it found is looked at. *GDCM Scanner*: `gdcm.Scanner` with the same tags, of sequences the sequence alone; what it found stays in its memory. |
| header ct, header mr | {ct:,} CT and {mr:,} MR slices. Copies of a few real files that differ in their UIDs and PatientIDs, and have them in the same places. |
| header …, varied | Half as many, in which what changes from slice to slice does change, with other lengths: SOPInstanceUID, InstanceNumber, ImagePositionPatient, SliceLocation and times. Closer to a real archive than the rows above. |
| header corpus | The real files themselves, from many devices and programs, damaged ones and others that are no DICOM among them. Where the developers' corpus is not there, those that pydicom ships. |
| index, one process | `index` of the tree of CT and MR slices into a new database, the whole command, kept on one processor; beside `rebuild_database_from_dicom` of pyconquest, the whole script, and beside our own header reader on the same files, of which the rest of the index must leave so much. |
| index, as called | The same on all processors, by the clock, on which pyconquest also waits for the disk after each row; the header reader stays in one process. Start-up is in it: on a larger tree it is less of the whole. |
| index, unchanged | `index` again, of {unchanged:,} files of which none changed. It opens none of them. Beside `find TREE -printf '%s %T@\\n'`, which asks the system as much. |
| plan | `plan --no-index` of an index that `bench/fill_index.py` filled. *new*: nothing is done. *done*: the ledger says that all is done, and sparse files of the right size stand at the destinations. The ratio to fewer instances shows that time grows with their number and no faster. |
| copy | `apply` of {ct:,} CT slices to a new place on the same disk, planning included: every file hashed, synced and in the ledger. The peers do none of this; *then sync*: followed by a sync of each file and folder that they wrote. Before each run the copies of the last one are removed and the disk is at rest. |
| send | `apply` of {half_ct:,} CT and {half_mr:,} MR slices of series that differ to DCMTK's `storescp --ignore`, with the ledger, without start-up and plan (about a second), beside `storescu` with the same files: over one association, and four of ours beside four storescu at once. DCMTK's tools have `TCP_NODELAY=1` in their environment here and below, without which they wait for each other. |
| receive | The same files from `storescu` (by its time) into `listen`, with a layout of three levels, beside `storescp` as it comes. Ours answers once a file is synced, at its place, this synced too, and in the index; storescp does none of this, and what it wrote is still in memory when it has answered. CPU and peak are those of the sender. |
| --version, --help, check | Whole commands beside a Python that does nothing. The check is that of examples/quickstart. |
"""  # noqa: E501 - a row of a table is one line


def page(place: Workplace, lines: Sequence[Compared], runs: int, elements: int, left_out: Sequence[str]) -> str:
    """The whole page; `left_out` are the rows that were not asked for."""
    sizes = place.sizes
    where = "the developers' corpus" if has_corpus() else "what pydicom ships"
    return PAGE.format(
        day=date.today().isoformat(),
        machine=machine(),
        peers=", ".join(peers(place)),
        files=f"Trees are made by `bench/trees.py` from real files: {where}.",
        table=as_markdown(lines),
        runs=runs,
        elements=elements,
        left_out=f"\nNot measured this time: {', '.join(left_out)}.\n" if left_out else "",
        ct=sizes.ct,
        mr=sizes.mr,
        half_ct=sizes.ct // 2,
        half_mr=sizes.mr // 2,
        unchanged=sizes.unchanged,
    )


def machine() -> str:
    """What the figures were measured on."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    system = f"{platform.system()} {platform.release()}"
    python = f"{platform.python_implementation()} {platform.python_version()}"
    return f"{os.cpu_count()} processors ({processor()}), {memory:.0f} GiB of memory, {system}, {python}"


def processor() -> str:
    """The name of the processor, as far as the system tells it."""
    try:
        names = [
            line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line
        ]
    except OSError:
        names = []
    return next(iter(names), platform.processor() or platform.machine())


def peers(place: Workplace) -> list[str]:
    """The peers that are there, with their versions."""
    code = "from importlib.metadata import version; print(version({!r}))"
    modules = {name: [str(place.peers), "-c", code.format(name)] for name in ("pydicom", "python-gdcm", "pyconquest")}
    programs = {name: [name, "--version"] for name in ("rsync", "cp", "find")}
    programs["storescu"] = [dcmtk("storescu") or "storescu", "--version"]
    said = {name: _first_line(command) for name, command in {**modules, **programs}.items()}
    return [text if name in text else f"{name} {text}" for name, text in said.items() if text]


def _first_line(command: Sequence[str]) -> str:
    if not shutil.which(command[0]):
        return ""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return " ".join(done.stdout.partition("\n")[0].strip("$").split())
