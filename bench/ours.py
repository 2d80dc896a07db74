"""Runs the program, and believes a run only if its summary says that it did what it should have done."""

import json
import sys
from pathlib import Path

from bench.measure import Failed, Sample, measured

PROGRAM = Path(sys.executable).with_name("pyconquest-rules")


def run(*arguments: str | Path, cwd: Path, one_cpu: bool = False, **counts: int) -> Sample:
    """One measured run of a command with `--json`. Raises Failed where its summary has other counts."""
    sample = measured([PROGRAM, *arguments, "--json"], cwd=cwd, one_cpu=one_cpu)
    summary = json.loads(sample.output.splitlines()[-1])
    found = {name: summary.get(name) for name in counts}
    if found != counts:
        raise Failed(f"{' '.join(map(str, arguments))}: the summary should say {counts}, and says {found}")
    return sample
