"""Elements in sequences: of one item, of all items, and private ones by their creator."""

from pathlib import Path

import pydicom
import pytest
from pydicom.sequence import Sequence

from pyconquest_rules.dicom import ALL, TagPath, tag_path
from pyconquest_rules.errors import Mistake
from pyconquest_rules.headers.header import Wanted, read
from tests.conftest import Instance, Workplace
from tests.headers.nested import item


def values(file: Path, *paths: str) -> list[object]:
    return list(read(file, Wanted(tuple(map(tag_path, paths)))).values)


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("BeamDose", TagPath((), 0x300A0084)),
        ("300a,0084", TagPath((), 0x300A0084)),
        ("BeamSequence[2].BeamName", TagPath(((0x300A00B0, 2),), 0x300A00C2)),
        ("300a,00b0[*].BeamName", TagPath(((0x300A00B0, ALL),), 0x300A00C2)),
        ('0011,"ACME SITE 1.0",20', TagPath((), 0x00110020, "ACME SITE 1.0")),
        ('BeamSequence[0].0011,"A.B[0]",2A', TagPath(((0x300A00B0, 0),), 0x0011002A, "A.B[0]")),
    ],
)
def test_the_ways_to_write_a_tag(text: str, path: TagPath) -> None:
    assert tag_path(text) == path
    assert tag_path(str(path)) == path


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("BeamSequence", "is a sequence"),
        ("BeamSequence.BeamName", "needs the number of an item"),
        ("PatientID[0].BeamName", "is not a sequence"),
        ("BeamSequence[0]", "names an item"),
        ("PatinetID", "unknown DICOM keyword"),
        ('0010,"ACME",20', "odd groups"),
        ('0011,"ACME",2', "neither a DICOM keyword nor a tag"),
        ("", "neither a DICOM keyword nor a tag"),
        ("BeamSequence[0].", "neither a DICOM keyword nor a tag"),
    ],
)
def test_an_invalid_tag_is_an_error(text: str, message: str) -> None:
    with pytest.raises(Mistake, match=message):
        tag_path(text)


def test_all_items_of_a_sequence_keep_their_places(instance: Instance) -> None:
    beams = [item(BeamNumber=1, BeamName="AP"), item(BeamNumber=2), item(BeamNumber=3, BeamName="PA")]
    file = instance("1.dcm", BeamSequence=Sequence(beams))
    assert values(file, "BeamSequence[*].BeamName", "BeamSequence[*].BeamNumber") == [("AP", None, "PA"), ("1", "2", "3")]
    assert values(file, "BeamSequence[2].BeamName", "BeamSequence[3].BeamName") == ["PA", None]
    assert values(file, "FractionGroupSequence[*].BeamDose") == [None]


def test_all_items_within_all_items(instance: Instance) -> None:
    groups = [
        item(ReferencedBeamSequence=Sequence([item(BeamDose="1"), item(BeamDose="2")])),
        item(ReferencedBeamSequence=Sequence([item(BeamDose="3")])),
    ]
    file = instance("1.dcm", FractionGroupSequence=Sequence(groups))
    assert values(file, "FractionGroupSequence[*].ReferencedBeamSequence[*].BeamDose") == [("1", "2", "3")]
    assert values(file, "FractionGroupSequence[*].ReferencedBeamSequence[0].BeamDose") == [("1", "3")]


def test_private_elements_are_found_in_the_block_of_their_creator(instance: Instance, tmp_path: Path) -> None:
    file = instance("1.dcm")
    dataset = pydicom.dcmread(file)
    dataset.private_block(0x0011, "OTHER", create=True).add_new(0x20, "LO", "wrong")
    dataset.private_block(0x0011, "ACME SITE 1", create=True).add_new(0x20, "LO", "S-17")
    dataset.save_as(file)
    assert values(file, '0011,"ACME SITE 1",20', '0011,"ACME SITE 1",21', '0011,"NOBODY",20') == ["S-17", None, None]


def test_columns_of_the_rules_have_joined_and_private_values(workplace: Workplace, instance: Instance) -> None:
    file = instance("data/1.dcm", BeamSequence=Sequence([item(BeamName="AP"), item(BeamName="PA")]))
    dataset = pydicom.dcmread(file)
    dataset.private_block(0x0011, "ACME SITE 1", create=True).add_new(0x20, "LO", "S-17")
    dataset.save_as(file)
    workplace.rules("""
        [sources.archive]
        path = "data"
        [[schema.image]]
        column = "BeamNames"
        tag = "BeamSequence[*].BeamName"
        [[schema.series]]
        column = "SiteScanId"
        tag = '0011,"ACME SITE 1",20'
    """)
    assert workplace.run("index").code == 0
    rows = workplace.run("query", "select BeamNames, SiteScanId from images", "--json").lines
    assert rows[0]["values"] == {"BeamNames": "AP\\PA", "SiteScanId": "S-17"}
