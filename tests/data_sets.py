"""Read data sets of DICOM files with pydicom."""

import os
from pathlib import Path

import pydicom
from pydicom.tag import BaseTag


def data_set(path: bytes | Path) -> bytes:
    """Return the data set after the file meta information."""
    with Path(os.fsdecode(path)).open("rb") as opened:
        if opened.read(132)[128:] != b"DICM":
            opened.seek(0)
        pydicom.filereader.read_dataset(opened, False, True, stop_when=lambda tag, *_: BaseTag(tag).group != 2)
        return opened.read()


def received(folder: Path) -> dict[str, bytes]:
    """Return the data sets that storescp wrote, by SOPInstanceUID."""
    found = (folder / "received").iterdir()
    return {pydicom.filereader.read_file_meta_info(file).MediaStorageSOPInstanceUID: data_set(file) for file in found}


def even(path: bytes) -> bytes:
    """Return the data set. A deflated one of odd length is padded (PS3.5 A.5)."""
    data = data_set(path)
    return data + b"\0" * (len(data) % 2)


def values(file: Path) -> dict[int, object]:
    """Return the elements of a data set by tag, without group lengths and padding (PS3.5 7.2, PS3.3 C.12)."""
    dataset = pydicom.dcmread(file, force=True)
    return {element.tag: element.value for element in dataset if element.tag.element and element.tag != 0xFFFCFFFC}
