"""Collections that several tests of the index share."""

import pytest

from tests.conftest import Instance, Workplace
from tests.index.indexing import RULES, TWO


@pytest.fixture
def archive(workplace: Workplace, instance: Instance) -> Workplace:
    """Two studies: one with a CT of two images and an MR of one, one with a CT of one image."""
    instance("data/ct/1.dcm", SOPInstanceUID="1.1")
    instance("data/ct/2.dcm", SOPInstanceUID="1.2")
    instance("data/mr/3.dcm", SOPInstanceUID="1.3", SeriesInstanceUID="1.2.3.2", Modality="MR")
    other = {"PatientID": "P2", "StudyInstanceUID": "1.2.2.2", "SeriesInstanceUID": "1.2.3.3"}
    instance("data/other/4.dcm", SOPInstanceUID="1.4", **other)
    return workplace.rules(RULES)


@pytest.fixture
def two(workplace: Workplace, instance: Instance) -> Workplace:
    """Two sources, with one instance each."""
    instance("a/1.dcm", SOPInstanceUID="1.1")
    instance("b/2.dcm", SOPInstanceUID="1.2")
    return workplace.rules(TWO)
