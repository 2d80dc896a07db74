"""Run the program. A run counts only if its summary has the expected counts."""

import json
import sys
from pathlib import Path

from bench.measure import Failed, Sample, measured

PROGRAM = Path(sys.executable).with_name("pyconquest-rules")


def run(*arguments: str | Path, cwd: Path, one_cpu: bool = False, **counts: int) -> Sample:
    """Measure one run of a command with `--json`. Raises Failed if its summary has other counts."""
    sample = measured([PROGRAM, *arguments, "--json"], cwd=cwd, one_cpu=one_cpu)
    summary = json.loads(sample.output.splitlines()[-1])
    found = {name: summary.get(name) for name in counts}
    if found != counts:
        raise Failed(f"{' '.join(map(str, arguments))}: expected {counts} in the summary, found {found}")
    return sample
