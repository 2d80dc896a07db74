"""The inbox refuses what decisions.txt forgets."""

import pytest

from pyconquest_rules.network.statuses import Status
from tests.conftest import Workplace
from tests.intake.inboxes import put, receiving
from tests.network.raw import data_set

FORGOTTEN = "its patient, study, series or the instance itself is forgotten (decisions.txt)"


@pytest.mark.parametrize(
    ("line", "patient", "series", "out"),
    [
        ("forget patient P1", "P1", "1.2.3.1", True),
        ("forget patient P1", " P1", "1.2.3.1", True),
        ("forget patient P1", "P11", "1.2.3.1", False),
        ("forget study 1.2.3", "P2", "1.2.3.1", True),
        ("forget series 1.2.3.1", "P2", "1.2.3.1", True),
        ("forget series 1.2.3.1", "P2", "1.2.3.2", False),
        ("forget image 1.2.9", "P2", "1.2.3.2", True),
        ("forget image 1.2.9.1", "P2", "1.2.3.2", False),
    ],
)
@pytest.mark.parametrize("when", ["before", "meanwhile"])
def test_refuses_forgotten_instances(archive: Workplace, line: str, patient: str, series: str, out: bool, when: str) -> None:
    archive.run("index")
    file = archive.folder / ".pyconquest-rules/decisions.txt"
    text = file.read_text()
    if when == "before":
        file.write_text(f"{text}{line}\n")
    with receiving(archive) as inbox:
        file.write_text(f"{text}{line}\n")
        status, reason, _ = put(inbox, "1.2.9", data_set("1.2.9", patient=patient, series=series))
        assert (status, reason) == ((Status.NOT_AUTHORIZED, FORGOTTEN) if out else (Status.SUCCESS, ""))
        assert len(archive.files("archive")) == (not out)
        file.write_text(text)
        assert put(inbox, "1.2.9", data_set("1.2.9", patient=patient, series=series))[0] == Status.SUCCESS
    assert len(archive.files("archive")) == 1


def test_stores_nothing_while_the_decisions_cannot_be_read(archive: Workplace) -> None:
    archive.run("index")
    file = archive.folder / ".pyconquest-rules/decisions.txt"
    text = file.read_text()
    with receiving(archive) as inbox:
        file.write_text("forget nobody\n")
        with pytest.raises(OSError, match="decisions"):
            put(inbox, "1.2.9", data_set("1.2.9"))
        assert archive.files("archive") == {}
        file.write_text(text)
        assert put(inbox, "1.2.9", data_set("1.2.9"))[0] == Status.SUCCESS
