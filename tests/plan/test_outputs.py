"""How destinations are named, and where they may not be."""

from pathlib import Path

import pytest

from pyconquest_rules.disk.outputs import Outputs
from pyconquest_rules.paths import UnsafePath


def outputs(base: Path, *folders: str) -> Outputs:
    own = [base / name for name in (".pyconquest-rules", "conquest.db", "conquest.db-wal", "rules.toml")]
    return Outputs(base, folders or (".",), [base / "data"], own)


@pytest.mark.parametrize(
    ("path", "named"),
    [
        ("x.dcm", "x.dcm"),
        ("export/P1/x.dcm", "export/P1/x.dcm"),
        ("./export/../x.dcm", "x.dcm"),
        ("{base}/export/x.dcm", "export/x.dcm"),
        ("../x.dcm", "{above}/x.dcm"),
        ("{above}/other/x.dcm", "{above}/other/x.dcm"),
    ],
)
def test_a_destination_has_one_name_however_it_is_written(tmp_path: Path, path: str, named: str) -> None:
    names = {"base": tmp_path, "above": tmp_path.parent}
    assert outputs(tmp_path, "..").place(path.format(**names)) == named.format(**names)


def test_the_folder_of_the_rules_file_may_be_the_root() -> None:
    assert outputs(Path("/")).place("export/x.dcm") == "export/x.dcm"
    assert outputs(Path("/")).place("/export/x.dcm") == "export/x.dcm"
    assert [*outputs(Path("/")).folders("export")] == ["export", ""]


@pytest.mark.parametrize(
    ("roots", "folder", "expected"),
    [
        ([], "export/P1", ["export/P1", "export", ""]),
        (["export"], "export/P1", ["export/P1", "export"]),
        ([".."], "export", ["export", "", "{above}"]),
        (["..", "export/deep"], "export/deep", ["export/deep"]),
    ],
)
def test_the_folders_of_a_destination_end_at_its_output(
    tmp_path: Path, roots: list[str], folder: str, expected: list[str]
) -> None:
    found = [*outputs(tmp_path, *roots).folders(folder)]
    assert found == [name.format(above=tmp_path.parent) for name in expected]


@pytest.mark.parametrize("path", ["../x", "/etc/x", "export/../../x", "exports/x"])
def test_a_destination_outside_is_refused(tmp_path: Path, path: str) -> None:
    with pytest.raises(UnsafePath, match="outside the outputs"):
        outputs(tmp_path, "export").place(path)


@pytest.mark.parametrize("path", ["data/x", "data/deep/x", "export/../data/x", "link/x"])
def test_a_destination_inside_a_source_is_refused(tmp_path: Path, path: str) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "link").symlink_to("data")
    with pytest.raises(UnsafePath, match="inside a source"):
        outputs(tmp_path, ".", "link").place(path)


@pytest.mark.parametrize(
    "path", ["rules.toml", "conquest.db", "CONQUEST.DB-WAL", ".pyconquest-rules/lock", ".PyConquest-Rules/x/y"]
)
def test_what_is_the_programs_own_is_no_destination(tmp_path: Path, path: str) -> None:
    with pytest.raises(UnsafePath, match="of this program"):
        outputs(tmp_path).place(path)


def test_what_is_called_like_the_programs_own_elsewhere_is_nobodys(tmp_path: Path) -> None:
    assert outputs(tmp_path).place("export/rules.toml") == "export/rules.toml"
