"""A move that is killed: what it moved away did not vanish."""

import os
import signal
import subprocess
import sys

from tests.conftest import Instance, Workplace

RULES = """
[sources.archive]
path = "data"

[select.all_images]
level = "image"
where = "1"

[copy.away]
select = "all_images"
to = "export/{{ SOPInstanceUID }}.dcm"
mode = "move"
"""


def test_the_run_after_a_killed_move_does_the_rest(workplace: Workplace, instance: Instance) -> None:
    for number in range(40):
        instance(f"data/{number}.dcm", pixels=b"\1\2" * 50_000)
    workplace.rules(RULES).run("index")
    run = subprocess.Popen([sys.executable, "-m", "pyconquest_rules", "apply", "--no-index"], cwd=workplace.folder)
    while run.poll() is None and len(os.listdir(workplace.folder / "data")) > 15:
        pass
    os.kill(run.pid, signal.SIGKILL) if run.poll() is None else None
    run.wait()
    assert workplace.run("apply", "--json").code == 0
    assert len(workplace.files("export")) == 40
    assert workplace.files("data") == {}
    assert workplace.run("apply", "--json").summary["done"] == 0
