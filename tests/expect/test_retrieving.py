"""Expectations of an `apply` that retrieves: each is evaluated once, on what the retrievals brought, and shown once."""

from collections.abc import Iterator
from typing import Any

import pytest

from pyconquest_rules.answers import Asserted
from pyconquest_rules.engine.assertions import evaluate
from tests.conftest import Instance, Workplace
from tests.execute.test_retrieve import EXPORTED, RULES
from tests.peers.archives import dcmqrscp, stored

COUNT = "select count(*) as n from images having n {}"
SOON = f'\n[expect.enough]\nquery = "{COUNT.format("< 3")}"\n'


@pytest.fixture
def retrieving(workplace: Workplace, instance: Instance) -> Iterator[Workplace]:
    """A workplace whose node has three images."""
    (workplace.folder / "archive").mkdir()
    files = [instance(f"sent/{n}.dcm", SeriesInstanceUID="1.2.3", StudyInstanceUID="1.2.4", pixels=b"12") for n in range(3)]
    with dcmqrscp() as node:
        stored(node, files)
        workplace.rules(RULES.format(ae_title=node.ae_title, port=node.port) + EXPORTED)
        yield workplace


@pytest.fixture
def evaluated(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """The evaluated expectations, with their numbers of rows."""
    found = list[tuple[str, int]]()

    def noted(*given: Any) -> Asserted:
        result = evaluate(*given)
        found.append((result.name, result.rows))
        return result

    monkeypatch.setattr("pyconquest_rules.app.asserting.evaluate", noted)
    return found


def add(workplace: Workplace, text: str) -> Workplace:
    """Add tables to the rules."""
    written = (workplace.folder / "rules.toml").read_text().removeprefix("rules_version = 1\n")
    return workplace.rules(written + text)


@pytest.mark.parametrize("blocks", ["", "blocks = []", 'blocks = ["copy.export"]'])
@pytest.mark.parametrize(("wanted", "code", "done"), [("< 3", 0, 6), ("= 3", 4, None)])
def test_is_evaluated_once_on_the_new_index(
    retrieving: Workplace, evaluated: list[tuple[str, int]], wanted: str, code: int, done: int | None, blocks: str
) -> None:
    add(retrieving, f'\n[expect.enough]\nquery = "{COUNT.format(wanted)}"\n{blocks}\n')
    applied = retrieving.run("apply", "--json")
    assert evaluated == [("expect.enough", 1 if code else 0)]
    assert (applied.code, applied.summary["done"]) == (code, done or (6 if blocks == "blocks = []" else 3))
    assert [line["rows"] for line in applied.lines if line["event"] == "expectation"] == [1 if code else 0]


def test_is_evaluated_after_a_retrieval_alone(retrieving: Workplace, evaluated: list[tuple[str, int]]) -> None:
    add(retrieving, f"{SOON}blocks = []\n")
    applied = retrieving.run("apply", "retrieve", "--json")
    assert (applied.code, applied.summary["done"], evaluated) == (0, 3, [("expect.enough", 0)])


def test_one_that_names_a_retrieval_holds_it_back(retrieving: Workplace, evaluated: list[tuple[str, int]]) -> None:
    add(retrieving, f'{SOON}blocks = ["retrieve.scans", "copy.export"]\n')
    applied = retrieving.run("apply", "--json")
    assert (applied.code, applied.summary["done"], applied.summary["blocked"]) == (4, 0, 3)
    assert evaluated == [("expect.enough", 1)] * 2, "before the retrieval and after it"
    assert len([line for line in applied.lines if line["event"] == "expectation"]) == 1
    shown = retrieving.run("apply")
    assert shown.out.count("expect.enough has 1 row") == 1


def test_a_failure_that_held_back_a_retrieval_is_shown(retrieving: Workplace, instance: Instance) -> None:
    """Another retrieval brought what was missing, after the expectation had failed."""
    other = '\n[retrieve.first]\nnode = "clinic"\nlevel = "series"\nmatch = { Modality = "CT" }\ninto = "archive"\n'
    add(retrieving, f'{other}{SOON}blocks = ["retrieve.scans"]\n')
    instance("archive/mr.dcm", Modality="MR", SOPInstanceUID="1.2.9", SeriesInstanceUID="1.2.9.1")
    applied = retrieving.run("apply", "--json")
    assert (applied.code, applied.summary["expectations"]["expect.enough"]["failed"]) == (4, True)
    assert retrieving.run("apply").code == 0
