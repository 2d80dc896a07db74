"""Walking a source: which files it yields, in which order, and which paths it skips and why."""

import json
import os
import socket
import tempfile
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyconquest_rules.content import LATEST
from pyconquest_rules.disk.file import File
from pyconquest_rules.index.scan.changes import compare
from pyconquest_rules.index.scan.walk import Skipped, walk
from tests.conftest import Instance, Workplace

# What the byte order of paths can go wrong with: "-" and "." sort before "/", "0" after it.
NAMES = st.binary(min_size=1, max_size=4).filter(lambda name: not set(name) & {0, ord("/")} and name not in (b".", b".."))
TRICKY = st.sampled_from([b"a", b"a-", b"a.", b"a0", b"ab", b"-", b"\xff", b"\n", b" "])
TREES = st.lists(st.lists(NAMES | TRICKY, min_size=1, max_size=4).map(b"/".join), max_size=12)


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


def seen(root: Path, *exclude: str, own: frozenset[bytes] = frozenset()) -> dict[str, str]:
    """Return the paths of a walk in order, each with "file" or the reason why it is skipped."""
    found = walk(os.fsencode(root), exclude, own)
    return {os.fsdecode(entry.path): entry.reason if isinstance(entry, Skipped) else "file" for entry in found}


def test_every_file_once_in_the_byte_order_of_its_path(tmp_path: Path) -> None:
    touch(tmp_path / "b" / "1", tmp_path / "a", tmp_path / "b-c" / "2", tmp_path / "b" / "sub" / "3", tmp_path / "b.x")
    assert list(seen(tmp_path)) == ["a", "b-c/2", "b.x", "b/1", "b/sub/3"]


def test_a_file_has_size_and_mtime(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12345")
    os.utime(tmp_path / "a", ns=(1, 1_700_000_000_123_456_789))
    assert list(walk(os.fsencode(tmp_path))) == [File(b"a", 5, (tmp_path / "a").stat().st_mtime_ns)]


@settings(max_examples=150, deadline=None)
@given(TREES)
def test_whatever_the_names_paths_are_sorted_and_none_is_missing(
    tmp_path_factory: pytest.TempPathFactory, tree: list[bytes]
) -> None:
    root, made = os.fsencode(tmp_path_factory.mktemp("tree")), set()
    for path in tree:
        with suppress(OSError):  # a file where another path needs a folder, or the other way round
            os.makedirs(os.path.dirname(os.path.join(root, path)), exist_ok=True)
            with open(os.path.join(root, path), "xb"):
                made.add(path)
    paths = [entry.path for entry in walk(root)]
    assert set(paths) == made
    assert all(before < after for before, after in pairwise(paths))


@given(st.sets(st.binary(max_size=3)), st.sets(st.binary(max_size=3)))
def test_two_sorted_streams_are_joined_by_their_paths(now: set[bytes], then: set[bytes]) -> None:
    walked = [File(path, 1, 1) for path in sorted(now)]
    known = [File(path, 1, 1) for path in sorted(then)]
    joined = [(a and a.path, b and b.path) for a, b in compare(walked, known)]
    expected = [(path if path in now else None, path if path in then else None) for path in sorted(now | then)]
    assert joined == expected


@pytest.mark.parametrize(
    ("pattern", "left_out", "stays"),
    [
        ("**/.*", [".hidden", "a/.b", "a/b/.c.dcm"], ["a/b.c", "a.", "x/y"]),
        ("scratch/**", ["scratch/1", "scratch/2"], ["a/scratch", "scratched/1"]),
        ("scratch", ["scratch"], ["scratch.dcm"]),
        ("scratch/", ["scratch"], ["scratch.dcm"]),
        ("*.txt", ["a.txt", ".txt"], ["b/a.txt", "a.txt.dcm", "atxt"]),
        ("**/*.txt", ["a.txt", "b/a.txt", "b/c/a.txt"], ["a.txtx"]),
        ("a/*.dcm", ["a/1.dcm", "a/.dcm"], ["1.dcm", "a/b/1.dcm", "b/a/1.dcm"]),
        ("[ab]?.dcm", ["a1.dcm", "bé.dcm"], ["c1.dcm", "a.dcm", "ab1.dcm"]),
        ("[!ab]", ["c", "-"], ["a", "b"]),
        ("a[!b]c", ["axc"], ["a/c", "abc"]),
        ("a/**/z", ["a/z", "a/b/z", "a/b/c/z"], ["b/z"]),
        ("ü*", ["über"], ["uber"]),
        ("(a|b)+.$", ["(a|b)+.$"], ["a."]),
        ("[z-a]", [], ["z", "a"]),  # a range that holds nothing
        ("[]", ["[]"], ["a"]),  # no letters within: meant as it stands
        ("[!]", ["[!]"], ["a"]),
        ("[[]x", ["[x"], ["x"]),
        ("[a", ["[a"], ["a"]),
        (r"[\d]", ["d"], ["1"]),
        ("**", ["a", "b"], []),
    ],
)
def test_patterns_exclude(tmp_path: Path, pattern: str, left_out: list[str], stays: list[str]) -> None:
    touch(*(tmp_path / path for path in (*left_out, *stays)))
    told = seen(tmp_path, pattern)
    assert sorted(path for path, what in told.items() if what == "excluded") == sorted(left_out)
    assert sorted(path for path, what in told.items() if what == "file") == sorted(stays)


def test_an_excluded_folder_is_reported_once_and_not_opened(tmp_path: Path) -> None:
    touch(tmp_path / "old" / "1", tmp_path / "old" / "sub" / "2", tmp_path / "new" / "3")
    assert seen(tmp_path, "old") == {"new/3": "file", "old": "excluded"}


def test_several_patterns(tmp_path: Path) -> None:
    touch(tmp_path / "a.txt", tmp_path / ".b", tmp_path / "c")
    assert seen(tmp_path, "*.txt", "**/.*") == {".b": "excluded", "a.txt": "excluded", "c": "file"}


def test_names_that_are_not_utf8_meet_patterns_too(tmp_path: Path) -> None:
    for name in (b"\xff\xfe.dcm", b"\xff\xfe.txt", b"new\nline.txt"):
        (tmp_path / os.fsdecode(name)).touch()
    told = {entry.path: isinstance(entry, File) for entry in walk(os.fsencode(tmp_path), ["*.txt"])}
    assert told == {b"\xff\xfe.dcm": True, b"\xff\xfe.txt": False, b"new\nline.txt": False}


AWKWARD = [b"\xff\xfe\xfd", b"caf\xe9.dcm", b"new\nline", b"cr\r", b" lead", b"trail ", b"-rf", b"*", b"a'b\"c`$(id)", b"n" * 255]


@pytest.mark.parametrize("name", AWKWARD, ids=repr)
def test_awkward_names(tmp_path: Path, name: bytes) -> None:
    folder = os.path.join(os.fsencode(tmp_path), name)
    os.mkdir(folder)
    with open(os.path.join(folder, name), "wb"):
        pass
    assert [entry.path for entry in walk(os.fsencode(tmp_path))] == [name + b"/" + name]


def test_links_are_followed_to_files_within_the_source_and_nowhere_else(tmp_path: Path) -> None:
    root = tmp_path / "source"
    touch(root / "folder" / "real.dcm", tmp_path / "outside.dcm", tmp_path / "source-2" / "x")
    links: dict[str, str | Path] = {
        "absolute": root / "folder/real.dcm",
        "dangling": "no-such-file",
        "inside": "folder/real.dcm",
        "loop-a": "loop-b",
        "loop-b": "loop-a",
        "outside": "../outside.dcm",
        "passwd": "/etc/passwd",
        "sibling": "../source-2/x",
        "to-folder": "folder",
        "to-link": "inside",
        "up": "..",
    }
    for name, target in links.items():
        (root / name).symlink_to(target)
    assert seen(root) == {
        "absolute": "file",
        "dangling": "link-broken",
        "folder/real.dcm": "file",
        "inside": "file",
        "loop-a": "link-broken",
        "loop-b": "link-broken",
        "outside": "link-outside",
        "passwd": "link-outside",
        "sibling": "link-outside",
        "to-folder": "link-to-folder",
        "to-link": "file",
        "up": "link-outside",
    }


def test_a_link_has_size_and_mtime_of_its_file(tmp_path: Path) -> None:
    (tmp_path / "b").write_bytes(b"12345")
    (tmp_path / "a").symlink_to("b")
    link, file = walk(os.fsencode(tmp_path))
    assert isinstance(link, File)
    assert isinstance(file, File)
    assert (link.size, link.mtime_ns) == (file.size, file.mtime_ns)


def test_special_files_are_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.dcm")
    (tmp_path / "link-to-fifo").symlink_to("fifo.dcm")
    before = Path.cwd()
    os.chdir(tmp_path)  # the path of a socket must be short
    try:
        with socket.socket(socket.AF_UNIX) as unix:
            unix.bind("socket.dcm")
    finally:
        os.chdir(before)
    assert set(seen(tmp_path).values()) == {"not-regular"}


def test_files_of_ours_within_a_source_are_not_read(workplace: Workplace, instance: Instance) -> None:
    instance("1.dcm")
    workplace.rules('[sources.here]\npath = "."\nexclude = ["rules.toml"]\n')
    (workplace.folder / ".pyconquest-rules").mkdir()
    touch(workplace.folder / ".pyconquest-rules" / "state.db")
    for _ in range(2):
        done = workplace.run("index", "--json")
        assert (done.code, done.summary["rejected"]) == (0, 0)
    assert done.summary["reasons"]["own"] >= 2  # the database and the folder of the program


def test_own_files_are_known_by_their_real_paths(tmp_path: Path) -> None:
    touch(tmp_path / "conquest.db", tmp_path / "sub" / "conquest.db", tmp_path / ".state" / "x")
    own = frozenset(os.fsencode(tmp_path / name) for name in ("conquest.db", ".state"))
    assert seen(tmp_path, own=own) == {".state": "own", "conquest.db": "own", "sub/conquest.db": "file"}


def deep(root: Path, name: str, depth: int) -> None:
    """Create nested folders, down to a path that is too long for any call, with a file at the end."""
    folder = os.open(root, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir(name, dir_fd=folder)
        inner = os.open(name, os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = inner
    os.close(os.open("1.dcm", os.O_CREAT | os.O_WRONLY, dir_fd=folder))
    os.close(folder)


def test_a_folder_that_cannot_be_read_is_reported_and_the_walk_continues(tmp_path: Path) -> None:
    # A path of more than 4,096 bytes cannot be read by anybody, root included.
    deep(tmp_path, "d" * 200, 25)
    touch(tmp_path / "zzz")
    told = seen(tmp_path)
    assert list(told.values()) == ["unreadable", "file"]
    assert set(next(iter(told))) == {"d", "/"}


def test_a_folder_without_permission_is_reported() -> None:
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        touch(root / "closed" / "1", root / "open" / "2")
        (root / "closed").chmod(0)
        root.chmod(0o755)
        assert seen_by_nobody(root) == {"closed": "unreadable", "open/2": "file"}
        (root / "closed").chmod(0o700)


def seen_by_nobody(root: Path) -> object:
    """Return what `seen` returns for an unprivileged user, because root may read every folder."""
    reader, writer = os.pipe()
    if (child := os.fork()) == 0:
        if os.geteuid() == 0:
            os.setgroups([])
            os.setuid(65534)
        os.write(writer, json.dumps(seen(root)).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as said:
        found = said.read()
    os.waitpid(child, 0)
    return json.loads(found)


def test_a_missing_root(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        list(walk(os.fsencode(tmp_path / "nowhere")))


def test_a_time_far_in_the_future_fits_into_the_index(workplace: Workplace, instance: Instance) -> None:
    file = instance("data/1.dcm")
    os.utime(file, (2**33 + 2**32, 2**33 + 2**32))  # in the year 2378; SQLite holds nanoseconds up to 2262
    workplace.rules('[sources.archive]\npath = "data"\n')
    if file.stat().st_mtime_ns <= LATEST:
        pytest.skip("the file system has no such times")
    assert workplace.run("index", "--json").summary["indexed"] == 1
    assert workplace.run("index", "--json").summary["unchanged"] == 1


def test_a_thousand_files_in_one_folder_stay_sorted(tmp_path: Path) -> None:
    for number in range(1000):
        (tmp_path / str(number)).touch()
    assert list(seen(tmp_path)) == sorted(map(str, range(1000)))
