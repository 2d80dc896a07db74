"""The page docs/performance.md: the table with its date and machine, and an explanation of each row."""

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

`make bench` measures everything on this page and writes it. That takes about a quarter of an hour. To print only some rows, run
`python -m bench header copy` in the repository; this page then stays as it is.

{day}, on {machine}. Peers: {peers}. {files}

{table}{left_out}
## How to read it

Each row compares our program with a peer that does the same task. Both take turns in one run, each {runs} times (plans 3
times), so that other load on the machine affects both. The median run of each counts. If a cell has
two figures, the first is ours and the second is the peer's. `by` names the time behind files/s and the ratio: the wall clock,
or the processors (user and system, of all processes of the command). MB/s counts complete files, in 10^6 bytes.
The peak of memory is that of the largest process; about 10 MB is the least that can be measured. Page cache and bytecode are
warm. A run counts only if its summary, or its files on the disk, are correct.

Ratios differ between machines: slow memory affects copies and large instances on the network first.
A ratio is how many times *as fast* ours is, or how many times *as long* it takes. NO means that a target is not met. If a peer
is not installed, its row names it.

| row | what is compared |
| --- | --- |
| header | Reading the headers of all files of a folder in one process, without start-up and imports. Ours returns the texts of the {elements} elements that the index reads from every file. *pydicom, every value*: `dcmread` with `specific_tags` and `stop_before_pixels`, and the same text of each element. Before the run, the texts of both are compared file by file and must be equal. *pydicom, no value*: the same call, without reading any value. *GDCM Scanner*: `gdcm.Scanner` with the same tags, for sequences the sequence alone; its results stay in its memory. |
| header ct, header mr | {ct:,} CT and {mr:,} MR slices. Copies of a few real files with different UIDs and PatientIDs, at the same positions in the file. |
| header …, varied | Half as many. The elements that change from slice to slice do change, with different lengths: SOPInstanceUID, InstanceNumber, ImagePositionPatient, SliceLocation and times. These rows are closer to a real archive than the rows above. |
| header corpus | The real files themselves, from many devices and programs. Some are damaged, and some are not DICOM. Without the developers' corpus, these are the files that pydicom ships. |
| index, one process | `index` of the tree of CT and MR slices into a new database: the whole command, on one processor. The peers are the whole script with `rebuild_database_from_dicom` of pyconquest, and our own header reader on the same files. |
| index, as called | The same on all processors, by the wall clock. pyconquest also waits for the disk after each row. The header reader stays in one process. Start-up is included; on a larger tree it matters less. |
| index, unchanged | `index` again, of {unchanged:,} unchanged files. It opens none of them. The peer `find TREE -printf '%s %T@\\n'` makes the same system calls. |
| plan | `plan --no-index` of an index that `bench/fill_index.py` filled. *new*: nothing is done. *done*: the ledger records everything as done, and the destinations are sparse files of the right size. The ratio to fewer instances shows that time grows linearly. |
| copy | `apply` of {ct:,} CT slices to a new folder on the same disk, planning included. Every file is hashed, synced and recorded in the ledger. The peers do none of this. *then sync*: followed by a sync of each file and folder that they wrote. Before each run the copies of the last run are deleted and the disk is idle. |
| send | `apply` of {half_ct:,} CT and {half_mr:,} MR slices of different series to DCMTK's `storescp --ignore`, with the ledger, without start-up and plan (about a second). The peer is `storescu` with the same files: over one association, or four storescu at once against our four associations. DCMTK's tools run with `TCP_NODELAY=1` here and below; otherwise they wait for each other. |
| receive | The same files from `storescu` (by its time) into `listen`, with a layout of three levels. The peer is `storescp` with its default options. Ours answers once the file and its folder are synced and the instance is in the index. storescp does none of this, and its files are still in memory when it answers. CPU and peak are those of the sender. |
| --version, --help, check | Whole commands, compared with a Python that does nothing. `check` reads the rules of examples/quickstart. |
"""  # noqa: E501 - a row of a table is one line


def page(place: Workplace, lines: Sequence[Compared], runs: int, elements: int, left_out: Sequence[str]) -> str:
    """Return the page; `left_out` are the rows that were not requested."""
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
    """Describe the machine."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    system = f"{platform.system()} {platform.release()}"
    python = f"{platform.python_implementation()} {platform.python_version()}"
    return f"{os.cpu_count()} processors ({processor()}), {memory:.0f} GiB of memory, {system}, {python}"


def processor() -> str:
    """Return the name of the processor, if the system reports it."""
    try:
        names = [
            line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line
        ]
    except OSError:
        names = []
    return next(iter(names), platform.processor() or platform.machine())


def peers(place: Workplace) -> list[str]:
    """Return the installed peers with their versions."""
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
