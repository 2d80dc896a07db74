"""A move that is killed: what it moved away did not vanish."""

from tests.conftest import Instance, Workplace
from tests.execute.processes import kill

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
    workplace.rules(RULES)
    kill(workplace, "copying.take_away", 26)
    assert 0 < len(workplace.files("data")) < 40
    assert workplace.run("apply", "--json").code == 0
    assert len(workplace.files("export")) == 40
    assert workplace.files("data") == {}
    assert workplace.run("apply", "--json").summary["done"] == 0
