"""`ro-crate-metadata.json`: a Process Run Crate (RO-Crate 1.1): the release as the result of one run of this program."""

import json
import re
from importlib.metadata import version
from typing import Any, NamedTuple

CONTEXT = "https://w3id.org/ro/crate/1.1/context"
SPECIFICATION = "https://w3id.org/ro/crate/1.1"
PROFILES = ("https://w3id.org/ro/wfrun/process/0.5",)
PROGRAM = "https://pypi.org/project/pyconquest-rules/"
SPDX = "https://spdx.org/licenses/"
MEDIA_TYPES = {".csv": "text/csv", ".parquet": "application/vnd.apache.parquet", ".json": "application/json", "": "text/plain"}


class Described(NamedTuple):
    """What a crate says of a release. `rules` and `lock` are digests; `date` is ISO 8601; `listed` are the files in the root."""

    name: str
    title: str
    licence: str
    date: str
    files: int
    bytes: int
    rules: str
    lock: str
    listed: tuple[str, ...]


def crate(release: Described) -> str:
    """Return the text of the metadata file. The files of the release are in the manifest, not each an entity of its own."""
    entities = [
        _descriptor(),
        _root(release),
        *_listed(release),
        _run(release),
        _program(),
        *_objects(release),
        *_licence(release),
    ]
    entities += [{"@id": profile, "@type": "CreativeWork", "name": "Process Run Crate", "version": "0.5"} for profile in PROFILES]
    return json.dumps({"@context": CONTEXT, "@graph": entities}, indent=2, ensure_ascii=False) + "\n"


def _descriptor() -> dict[str, Any]:
    return {
        "@id": "ro-crate-metadata.json",
        "@type": "CreativeWork",
        "conformsTo": {"@id": SPECIFICATION},
        "about": {"@id": "./"},
    }


def _root(release: Described) -> dict[str, Any]:
    root = {
        "@id": "./",
        "@type": "Dataset",
        "name": release.title or release.name,
        "description": f"{release.files} files, {release.bytes} bytes. manifest.csv lists them, SHA256SUMS has their digests.",
        "identifier": release.name,
        "datePublished": release.date,
        "conformsTo": [{"@id": profile} for profile in PROFILES],
        "hasPart": [{"@id": name} for name in release.listed],
        "mentions": {"@id": "#run"},
    }
    return root | ({"license": {"@id": _licence_id(release)}} if release.licence else {})


def _listed(release: Described) -> list[dict[str, Any]]:
    return [
        {
            "@id": name,
            "@type": "File",
            "name": name,
            "encodingFormat": MEDIA_TYPES[name[name.rfind(".") :] if "." in name else ""],
        }
        for name in release.listed
    ]


def _run(release: Described) -> dict[str, Any]:
    return {
        "@id": "#run",
        "@type": "CreateAction",
        "name": f"Export of the release {release.name}",
        "instrument": {"@id": PROGRAM},
        "object": [{"@id": "#rules"}, {"@id": "#lock"}],
        "result": {"@id": "./"},
        "endTime": release.date,
    }


def _program() -> dict[str, Any]:
    return {
        "@id": PROGRAM,
        "@type": "SoftwareApplication",
        "name": "pyconquest_rules",
        "softwareVersion": version("pyconquest-rules"),
        "url": PROGRAM,
    }


def _objects(release: Described) -> list[dict[str, Any]]:
    return [
        {"@id": "#rules", "@type": "CreativeWork", "name": "The rules file, whose text is in run.json", "sha256": release.rules},
        {"@id": "#lock", "@type": "CreativeWork", "name": "The lock of the release", "sha256": release.lock},
    ]


def _licence_id(release: Described) -> str:
    """Return a URI: the licence itself, that of a name of SPDX, or one within the crate for a licence in words."""
    if "://" in release.licence:
        return release.licence
    return SPDX + release.licence if re.fullmatch("[A-Za-z0-9.+-]+", release.licence) else "#licence"


def _licence(release: Described) -> list[dict[str, Any]]:
    if not release.licence:
        return []
    return [{"@id": _licence_id(release), "@type": "CreativeWork", "name": release.licence}]
