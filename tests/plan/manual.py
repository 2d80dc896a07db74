"""The rules that these tests run, and how they read a plan."""

from typing import Any

from tests.conftest import Done, Workplace

BY_NUMBER = "export/{{ PatientID }}/{{ InstanceNumber }}.dcm"


def copies(to: str = BY_NUMBER, **options: object) -> str:
    """Rules with one action, `copy.export`, of everything below data/."""
    return f"{SOURCE}{action('export', to, **options)}"


def action(name: str, to: str, **options: object) -> str:
    """The table of one action of everything; an option that is a list is one of TOML too."""
    lines = [f"{key} = {value!r}" for key, value in {"select": "everything", "to": to, **options}.items()]
    return "\n".join([f"[copy.{name}]", *lines, ""])


SOURCE = """
[sources.archive]
path = "data"

[select.everything]
level = "image"
where = "1"

"""


def planned(workplace: Workplace, *arguments: str) -> dict[str, tuple[str, str]]:
    """Status and reason of each destination that is not unchanged; of a step without one, of its SOPInstanceUID."""
    steps = listed(workplace.run("plan", "--list", "--json", *arguments))
    return {step["destination"] or step["SOPInstanceUID"]: (step["status"], step["reason"]) for step in steps}


def listed(done: Done) -> list[dict[str, Any]]:
    """The steps that `plan --list --json` tells."""
    return [line for line in done.lines if line["event"] == "step"]
