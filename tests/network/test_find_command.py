"""`find` as a user types it, against DCMTK's archive."""

import json
from collections.abc import Iterator

import pytest

from tests.conftest import Instance, Workplace
from tests.peers.archives import dcmqrscp

RULES = """
[sources.archive]
path = "data"

[select.all_images]
level = "image"
where = "Modality = 'CT'"

[nodes.archive]
ae_title = "{ae_title}"
host = "127.0.0.1"
port = {port}

[send.fill]
select = "all_images"
node = "archive"
"""


@pytest.fixture
def asked(workplace: Workplace, instance: Instance) -> Iterator[Workplace]:
    for number in range(3):
        instance(f"data/{number}.dcm", InstanceNumber=number, Modality="CT", PatientID="P1")
    with dcmqrscp() as node:
        workplace.rules(RULES.format(ae_title=node.ae_title, port=node.port))
        assert workplace.run("apply").code == 0
        yield workplace


def test_queries_a_node(asked: Workplace) -> None:
    done = asked.run("find", "archive", "--level", "image", "PatientID=P*", "InstanceNumber=", "--json")
    assert done.code == 0
    assert done.summary["rows"] == 3
    assert asked.run("find", "archive", "PatientID=P1", "--format", "csv").out.splitlines()[0] == "PatientID,StudyInstanceUID"
    assert asked.run("find", "archive", "PatientID=X", "--json").summary["rows"] == 0


def test_invalid_keys_are_reported_before_the_query(asked: Workplace) -> None:
    unknown = asked.run("find", "archive", "PatinetID=P1")
    assert (unknown.code, "PatientID" in unknown.err) == (2, True)
    assert asked.run("find", "archive", "PatientID").code == 2
    assert asked.run("find", "archiv").code == 2


def test_prints_json_lines(asked: Workplace) -> None:
    for line in asked.run("find", "archive", "--level", "series", "Modality=", "--json").out.splitlines():
        json.loads(line)
