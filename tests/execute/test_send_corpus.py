"""The whole good corpus by `[send.*]` to real peers: it arrives as it is in the files, and goes once."""

import os
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pydicom
import pytest

from tests.conftest import Done, Workplace
from tests.data_sets import data_set, even, received, values
from tests.peers.processes import orthanc, storescp

RULES = """
[sources.corpus]
path = "{corpus}"
exclude = ["bad/**"]

[select.all]
level = "image"
where = "SOPInstanceUID is not null"

[nodes.peer]
ae_title = "PEER"
host = "127.0.0.1"
port = {port}

[send.out]
select = "all"
node = "peer"
associations = 2
"""

REFUSED = "the node refuses the SOP class in this transfer syntax"
ODD = "the data set has an odd number of bytes, which cannot be sent"
MISLABELLED = "the data set is not encoded in its declared transfer syntax: it has no explicit VRs"
NO_UID = "the file has no valid SOP Instance UID"

ITS_OWN = ("(A700)", "(C000)")
"""What Orthanc cannot read it answers so."""


@pytest.fixture(autouse=True)
def _without_delays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pyconquest_rules.kinds.send.do.DELAYS", ())


def sent(workplace: Workplace, shared: Path, port: int) -> tuple[dict[str, Path], Counter[str]]:
    """Applies twice: the files by SOPInstanceUID of what was sent, and why others were not."""
    corpus = shared / "corpus"
    workplace.rules(RULES.format(corpus=corpus, port=port))
    first = workplace.run("apply", "--json")
    again = workplace.run("apply", "--no-index", "--json")
    why = failures(first)
    assert (first.summary["failed"], first.code) == (len(why), int(bool(why)))
    assert (again.summary["done"], again.summary["unchanged"]) == (0, first.summary["done"])
    assert failures(again) == why
    *rows, _ = workplace.run("query", "select SOPInstanceUID, ObjectFile from images", "--json").lines
    files = {row["values"]["SOPInstanceUID"]: corpus / row["values"]["ObjectFile"] for row in rows}
    assert first.summary["done"] + len(why) == len(files)
    return {uid: file for uid, file in files.items() if uid not in why}, Counter(why.values())


def failures(done: Done) -> dict[str, str]:
    return {line["SOPInstanceUID"]: line["message"] for line in done.lines if line["event"] == "failed"}


def test_storescp_gets_the_bytes_of_the_files(workplace: Workplace, shared: Path, tmp_path: Path) -> None:
    with storescp(tmp_path, "+B", "+xa", "-pm") as port:
        files, why = sent(workplace, shared, port)
        arrived = received(tmp_path)
    assert {uid: data == even(os.fsencode(files[uid])) for uid, data in arrived.items()} == dict.fromkeys(files, True)
    assert why == {REFUSED: 12, ODD: 1, NO_UID: 1, MISLABELLED: 1}


def test_orthanc_gets_the_values_of_the_files(workplace: Workplace, shared: Path, tmp_path: Path) -> None:
    with orthanc(tmp_path) as peer:
        files, why = sent(workplace, shared, peer.port)
    kept = dict[str, Path]()
    for file in (tmp_path / "orthanc").rglob("*-*-*"):
        with suppress(pydicom.errors.InvalidDicomError):
            kept[pydicom.filereader.read_file_meta_info(file).MediaStorageSOPInstanceUID] = file
    assert kept.keys() == files.keys()
    # Orthanc writes some data sets anew: their values are the same, the lengths of sequences and groups may not be.
    anew = [uid for uid in files if data_set(kept[uid]) != even(os.fsencode(files[uid]))]
    assert [uid for uid in anew if values(kept[uid]) != values(files[uid])] == []
    ours = Counter({reason: number for reason, number in why.items() if not reason.endswith(ITS_OWN)})
    assert ours == {REFUSED: 12, ODD: 1, NO_UID: 1, MISLABELLED: 1}
