"""Read the headers of all files below a folder, in one process, with one library.

    python -m bench.readers wanted > WANTED                the elements that the index reads from every file
    python -m bench.readers time READER WANTED FOLDER      {"files": …, "cpu": …, "wall": …} of the reading alone
    python -m bench.readers texts READER WANTED FOLDER     a digest of the texts of each file, or null if it is refused

The readers of pydicom and GDCM import nothing of ours. They run with the Python of the peers.
"""

import json
import sys
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydicom import Dataset
    from pydicom.dataelem import DataElement

ALL = -1
BINARY = frozenset({"SQ", "OB", "OD", "OF", "OL", "OV", "OW"})

# The path of an element: for each sequence its tag and the number of the item, or ALL; then the tag of the element.
Steps = Sequence[tuple[int, int]]
Elements = Sequence[tuple[Steps, int]]

# For each element a text or None, or a tuple of these for an element of all items. None for a refused file.
Text = str | tuple[str | None, ...] | None
Read = Callable[[Sequence[str]], Iterable[Sequence[Text] | None]]


def ours(elements: Elements) -> Read:
    """Return the header reader of the index."""
    from pyconquest_rules.dicom import TagPath
    from pyconquest_rules.headers.header import Reader, Wanted
    from pyconquest_rules.headers.opening import Rejected

    reader = Reader(Wanted(tuple(TagPath(tuple((tag, item) for tag, item in steps), tag) for steps, tag in elements)))

    def texts(file: str) -> Sequence[Text] | None:
        try:
            return reader.read(file).values
        except Rejected:
            return None

    return lambda files: map(texts, files)


def pydicom(elements: Elements, *, values: bool = True) -> Read:
    """Return a reader that uses `dcmread` for only these elements, and the text of each; without `values`, no value is read."""
    from pydicom import dcmread

    warnings.simplefilter("ignore")
    tags = sorted({steps[0][0] if steps else tag for steps, tag in elements})

    def texts(file: str) -> Sequence[Text] | None:
        try:
            dataset = dcmread(file, stop_before_pixels=True, specific_tags=tags)
            return [text_at(dataset, steps, tag) for steps, tag in elements] if values else ()
        except Exception:  # noqa: BLE001 - pydicom raises almost any exception for an invalid file
            return None

    return lambda files: map(texts, files)


def text_at(dataset: "Dataset", steps: Steps, tag: int) -> Text:
    """Return the text of an element from pydicom, in the form of our header reader."""
    if not steps:
        return text(dataset.get(tag))
    found = [text(level.get(tag)) for level in levels(dataset, steps)]
    if any(item == ALL for _, item in steps):
        return tuple(found) or None
    return found[0] if found else None


def levels(dataset: "Dataset", steps: Steps) -> Iterator["Dataset"]:
    """Yield the items at the end of the steps."""
    if not steps:
        yield dataset
        return
    tag, number = steps[0]
    sequence = dataset.get(tag)
    items = sequence.value if sequence is not None and sequence.VR == "SQ" else []
    for item in items if number == ALL else items[number : number + 1]:
        yield from levels(item, steps[1:])


def text(element: "DataElement | None") -> str | None:
    """Return the value of an element as a text."""
    if element is None or element.is_empty or element.VR in BINARY:
        return None
    several = element.value if element.VM > 1 else [element.value]
    match element.VR:
        case "FL" | "FD":
            return "\\".join(f"{value:.16g}" for value in several)
        case "IS" | "DS":
            return "\\".join(getattr(value, "original_string", None) or str(value) for value in several)
        case "UN":
            found = bytes(element.value).rstrip(b" \0").decode("latin-1")
            return found if found.isascii() and found.isprintable() else None
        case _:
            return "\\".join(map(str, several))


def gdcm(elements: Elements) -> Read:
    """Return a reader that uses `gdcm.Scanner`. For elements of items it reads their sequence. Its results stay in its memory."""
    import gdcm as library

    library.Trace.WarningOff()
    library.Trace.ErrorOff()

    def scan(files: Sequence[str]) -> Iterable[Sequence[Text] | None]:
        scanner = library.Scanner()
        for tag in sorted({steps[0][0] if steps else tag for steps, tag in elements}):
            scanner.AddTag(library.Tag(tag >> 16, tag & 0xFFFF))
        scanner.Scan(files)
        return ()

    return scan


READERS: dict[str, Callable[[Elements], Read]] = {
    "ours": ours,
    "pydicom": pydicom,
    "pydicom-untouched": lambda elements: pydicom(elements, values=False),
    "gdcm": gdcm,
}


def standard() -> Elements:
    """Return the elements that the index reads if the rules add no column."""
    from pyconquest_rules.index.conquest.dicom_sql import parse, standard_text
    from pyconquest_rules.index.store.records import records
    from pyconquest_rules.index.store.schema import schema

    return [(path.path, path.tag) for path in records(schema(parse(standard_text()))).wanted.paths]


def digest(texts: Sequence[Text]) -> str:
    """Return a digest of the texts of a file, without the differences that pydicom cannot show: spaces around values."""
    return sha256(
        json.dumps([[*map(bare, text)] if isinstance(text, tuple) else bare(text) for text in texts]).encode()
    ).hexdigest()


def bare(text: str | None) -> str | None:
    """Return a text without spaces around its values, and without empty component groups at the end of a name."""
    return "\\".join(part.strip(" \0\ufffd").rstrip("=") for part in text.split("\\")) or None if text else None


def main(what: str, *arguments: str) -> object:
    """Run the command line, and return the result to print as JSON."""
    if what == "wanted":
        return standard()
    reader, wanted, folder = arguments
    read = READERS[reader](json.loads(Path(wanted).read_text()))
    files = sorted(str(path) for path in Path(folder).rglob("*") if path.is_file())
    if what == "texts":
        return [None if texts is None else digest(texts) for texts in read(files)]
    cpu, wall = time.process_time(), time.perf_counter()
    deque(read(files), maxlen=0)
    return {"files": len(files), "cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}


if __name__ == "__main__":
    json.dump(main(*sys.argv[1:]), sys.stdout)
