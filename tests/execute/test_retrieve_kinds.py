"""`[retrieve.NAME]` from unusual archives: without role negotiation, with unrequested instances, with odd answers."""

import tracemalloc
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyconquest_rules.kinds.retrieve import do as retrievals
from pyconquest_rules.network import statuses
from pyconquest_rules.network.identifier import answer
from pyconquest_rules.network.statuses import FIND, RETRIEVE, STORE, Kind, is_stored, is_transient
from tests.conftest import Done, Workplace
from tests.peers.pdus import CT, EXPLICIT, IMPLICIT, KEYWORDS, Archive, data_set, element, item, role

RULES = """
[sources.archive]
path = "archive"
layout = "{{{{ PatientID }}}}/{{{{ SOPInstanceUID }}}}.dcm"

[nodes.clinic]
ae_title = "PEER"
host = "127.0.0.1"
port = {port}

[retrieve.scans]
node = "clinic"
level = "{level}"
match = {{ {match} }}
into = "archive"
"""


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retry without waiting."""
    monkeypatch.setattr(retrievals, "DELAYS", (0.0,))


def instance(number: int, **changed: str) -> dict[str, str]:
    """Return the values of an instance."""
    uids = {"SOPInstanceUID": f"1.2.3.{number}", "SeriesInstanceUID": "1.2.30", "StudyInstanceUID": "1.2.300"}
    return {"SOPClassUID": CT, "Modality": "CT", "PatientID": "G1", **uids, **changed}


Run = Callable[..., Done]


@pytest.fixture
def apply(workplace: Workplace) -> Run:
    """Return a function that retrieves from an archive."""

    def run(archive: Archive, *command: str, level: str = "study", match: str = 'PatientID = "G1"') -> Done:
        (workplace.folder / "archive").mkdir(exist_ok=True)
        with archive.listening() as node:
            workplace.rules(RULES.format(port=node.port, level=level, match=match))
            return workplace.run(*(command or ("apply",)), "--json")

    return run


ROLES = {
    "none": b"",
    "accepted": role(CT, 0, 1),
    "both accepted": role(CT, 1, 1),
    "refused": role(CT, 0, 0),
    "of another class": role("1.2.840.10008.5.1.4.1.1.4", 0, 1),
    "cut short": item(0x54, b"\0\x40x"),
    "padded": role(CT + "\0", 0, 1),
}


@pytest.mark.parametrize("user", ROLES.values(), ids=[*ROLES])
@pytest.mark.parametrize("level", ["study", "series", "image"])
def test_retrieves_whatever_the_node_answers_to_our_role(user: bytes, level: str, apply: Run, workplace: Workplace) -> None:
    has = [instance(number) for number in range(3)]
    archive = Archive(has, has, user=user)
    done = apply(archive, level=level)
    assert (done.code, done.summary["done"], done.summary["failed"]) == (0, 3, 0), done.out
    assert archive.answered == [0, 0, 0]
    assert sorted(workplace.files("archive")) == [f"G1/1.2.3.{number}.dcm" for number in range(3)]


OTHERS: dict[str, tuple[Mapping[str, str], str]] = {
    "patient": ({"PatientID": "G2"}, "another patient"),
    "patient with a zero before it": ({"PatientID": "0G1"}, "another patient"),
    "study": ({"StudyInstanceUID": "1.2.999"}, "another study"),
    "series": ({"SeriesInstanceUID": "1.2.99"}, "another series"),
    "study and series": ({"StudyInstanceUID": "1.2.9", "SeriesInstanceUID": "1.2.99"}, "another study and series"),
    "all": (
        {"PatientID": "X", "StudyInstanceUID": "1.2.9", "SeriesInstanceUID": "1.2.99"},
        "another patient and study and series",
    ),
}


@pytest.mark.parametrize(("changed", "words"), OTHERS.values(), ids=[*OTHERS])
@pytest.mark.parametrize("level", ["study", "image"])
def test_an_instance_of_another_patient_study_or_series_has_failed(
    changed: Mapping[str, str], words: str, level: str, apply: Run, workplace: Workplace
) -> None:
    has = [instance(number) for number in range(3)]
    done = apply(Archive(has, [has[0], {**has[1], **changed}, has[2]]), level=level)
    assert (done.code, done.summary["done"], done.summary["failed"]) == (1, 2, 1), done.out
    (failed,) = (line for line in done.lines if line["event"] == "failed")
    assert failed["SOPInstanceUID"] == "1.2.3.1"
    assert f"it has {words} than in C-FIND" in failed["message"]
    assert len(workplace.files("archive")) == 3
    assert "G2" not in failed["message"]


@pytest.mark.parametrize("padded", [" G1", "G1 ", "G1  ", "  G1 ", "G1"])
def test_padding_does_not_make_another_patient(padded: str, apply: Run) -> None:
    has = [instance(number) for number in range(3)]
    done = apply(Archive(has, [{**values, "PatientID": padded} for values in has]))
    assert (done.code, done.summary["done"]) == (0, 3), done.out


UNASKED = [
    [instance(9)],
    [instance(9, PatientID="G2")],
    [instance(8), instance(9, StudyInstanceUID="1.2.9")],
    [instance(7), instance(8), instance(9)],
    [instance(9, SeriesInstanceUID="1.2.9", StudyInstanceUID="1.2.9", PatientID="")],
]


@pytest.mark.parametrize("more", UNASKED)
def test_an_unrequested_instance_is_refused_and_reported(more: list[dict[str, str]], apply: Run, workplace: Workplace) -> None:
    has = [instance(number) for number in range(3)]
    archive = Archive(has, [*more, *has])
    done = apply(archive)
    assert (done.code, done.summary["done"]) == (0, 3), done.out
    assert archive.answered == [*[0x0124] * len(more), 0, 0, 0]
    (warning,) = (line for line in done.lines if line["event"] == "warning")
    what = f"{len(more)} instances that were" if len(more) != 1 else "an instance that was"
    assert f"sent {what} not requested; refused here" in warning["message"]
    assert len(workplace.files("archive")) == 3


@pytest.mark.parametrize("uid", ["1.2.", "", "ABC", "1.2.3.x", "1." + "2" * 64, ".1.2", "1..2"])
def test_a_refusal_here_is_not_reported_as_one_of_the_node(uid: str, apply: Run) -> None:
    has = [instance(0)]
    archive = Archive(has, has, sop_instance=lambda _: uid)
    done = apply(archive)
    assert (done.code, done.summary["done"], done.summary["failed"]) == (1, 0, 1)
    assert set(archive.answered) == {statuses.Status.INVALID_SOP_INSTANCE}
    assert any("refused here" in line.get("message", "") for line in done.lines)


IN_TAG_ORDER = sorted((*KEYWORDS[keyword], value) for keyword, value in instance(0).items())
IN_IMPLICIT_VR = b"".join(element(*each, explicit=False) for each in IN_TAG_ORDER)
META = element(0x00020003, "UI", "1.2.3.0")


@pytest.mark.parametrize(
    ("change", "note"),
    [
        (lambda _: IN_IMPLICIT_VR, f"stored as {IMPLICIT}, its real encoding; {EXPLICIT} was negotiated"),
        (lambda data: META + data, "the file meta information in its data set was left out"),
        (lambda data: data + b"\r\n", "indexed with a note: trailing-bytes"),
        (lambda data: data + b"\xff" * 6, "indexed with a note: trailing-bytes"),
        (lambda data: data + element(0x00321030, "??", "abcd"), "indexed with a note: unknown-vr"),
    ],
)
def test_notes_on_retrieved_instances_are_reported(change: Callable[[bytes], bytes], note: str, apply: Run) -> None:
    has = [instance(0)]
    done = apply(Archive(has, has, sent_as=change))
    assert (done.code, done.summary["done"]) == (0, 1), done.out
    (warning,) = (line for line in done.lines if line["event"] == "warning")
    assert warning["message"].endswith(f": 1.2.3.0: {note}")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda data: data[:-5], "the data set cannot be read: truncated (C000)"),
        (lambda data: data[:8], "the data set cannot be read: "),
        (lambda _: b"G1" * 99, "the data set cannot be read: "),
        (lambda data: data.replace(b"1.2.3.0", b"1.2.3.1"), "the data set has another SOPInstanceUID than the request (C000)"),
        (lambda data: data.replace(CT.encode(), CT[:-1].encode() + b"4"), "another SOP class than the request (A900)"),
        (lambda data: data.replace(b"G1", b"  "), "its values give no valid path: PatientID has no value (0110)"),
    ],
)
def test_the_reason_of_a_refusal_is_reported(change: Callable[[bytes], bytes], why: str, apply: Run) -> None:
    has = [instance(0)]
    done = apply(Archive(has, has, sent_as=change))
    (failed,) = (line for line in done.lines if line["event"] == "failed")
    assert failed["message"].startswith("it was received and refused here: ")
    assert why in failed["message"]
    assert "G1" not in failed["message"]


ODD_ANSWERS: dict[str, Callable[[str, Mapping[str, str]], list[bytes]]] = {
    "no UID": lambda _, told: [data_set({k: v for k, v in told.items() if not k.endswith("InstanceUID")})],
    "an empty UID": lambda level, told: [data_set({**told, _key(level): ""})],
    "a wild card": lambda level, told: [data_set({**told, _key(level): "*"})],
    "two UIDs": lambda level, told: [data_set({**told, _key(level): "1.2\\1.3"})],
    "bytes of nothing": lambda _, __: [b"\x08\x00\x52\x00XX\xff\xff"],
    "cut short": lambda _, told: [data_set(told)[:30]],
    "only text": lambda _, __: [element(0x00081030, "LO", "nothing else")],
}


def _key(level: str) -> str:
    return {"IMAGE": "SOPInstanceUID", "SERIES": "SeriesInstanceUID", "STUDY": "StudyInstanceUID"}[level]


@pytest.mark.parametrize("odd", ODD_ANSWERS.values(), ids=[*ODD_ANSWERS])
@pytest.mark.parametrize("where", ["STUDY", "SERIES", "IMAGE"])
def test_one_odd_match_does_not_hide_the_others(
    odd: Callable[[str, Mapping[str, str]], list[bytes]], where: str, apply: Run
) -> None:
    def answers(level: str, told: Mapping[str, str]) -> list[bytes]:
        return [data_set(told)] if level != where else [*odd(level, told), data_set(told)]

    has = [instance(0)]
    found = apply(Archive(has, find_answers=answers), "find", "clinic", "--level", where.lower(), "PatientID=G1")
    assert (found.code, found.summary["rows"]) == (0, 1), found.out
    assert "1 match was skipped" in next(line for line in found.lines if line["event"] == "warning")["message"]
    done = apply(Archive(has, has, find_answers=answers))
    assert (done.code, done.summary["done"]) == (0, 1), done.out
    assert "1 match was skipped" in next(line for line in done.lines if line["event"] == "warning")["message"]


@pytest.mark.filterwarnings("ignore")
@given(st.binary(max_size=300), st.sampled_from([0, 20, 60]), st.sampled_from([EXPLICIT, IMPLICIT]))
def test_any_match_is_read_or_skipped(data: bytes, kept: int, syntax: str) -> None:
    keys = ["SOPInstanceUID", "PatientName"]
    found = answer(data_set(instance(0))[:kept] + data, syntax, keys)
    assert found is None or [*found] == keys


def test_a_large_instance_is_never_in_memory(apply: Run, workplace: Workplace) -> None:
    size, has = 48 << 20, [instance(0)]
    assert apply(Archive([instance(1)], [instance(1)])).code == 0  # import memory before the measurement
    tracemalloc.start()
    done = apply(Archive(has, has, pixels=size))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (done.code, done.summary["done"]) == (0, 1), done.out
    assert (workplace.folder / "archive" / "G1" / "1.2.3.0.dcm").stat().st_size > size
    assert most < size / 3


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        *((status, Kind.WARNING) for status in (0x0001, 0x0107, 0x0116, 0xB000, 0xB006, 0xB007, 0xBFFF)),
        *((status, Kind.FAILURE) for status in (0x0105, 0x0110, 0x0111, 0x0117, 0x0122, 0x0124, 0x0213, 0xA700, 0xA9FF, 0xC000)),
        *((status, Kind.PENDING) for status in (0xFF00, 0xFF01)),
        (0x0000, Kind.SUCCESS),
        (0xFE00, Kind.CANCEL),
    ],
)
def test_the_kinds_of_status(status: int, kind: Kind) -> None:
    assert statuses.kind(status) is kind
    assert is_stored(status) == (kind in (Kind.SUCCESS, Kind.WARNING))
    assert is_transient(status) == (status in (0x0213, 0xA700))
    assert all(statuses.words(status, service).isprintable() for service in (STORE, FIND, RETRIEVE))


def test_the_folder_of_partial_files_is_deleted(apply: Run, workplace: Workplace) -> None:
    has = [instance(0)]
    apply(Archive(has, has))
    assert [path.name for path in Path(workplace.folder / "archive").iterdir()] == ["G1"]
