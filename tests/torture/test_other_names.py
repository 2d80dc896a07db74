"""A source by every other name that a folder can have: nothing is written into it, and no instance of it is lost."""

import hashlib
import os
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.conftest import Instance, Workplace
from tests.mounting import Mounts
from tests.plan.manual import action
from tests.torture.conftest import Some

# How a source is named, and an output that is a folder of it or lies in it. The files of the source are made in `data` before.
Form = Callable[[Mounts, Path], tuple[str, str]]


def bind(mounts: Mounts, folder: Path) -> tuple[str, str]:
    mounts.bind(folder / "data", folder / "alias")
    return "data", "alias"


def source_is_the_alias(mounts: Mounts, folder: Path) -> tuple[str, str]:
    mounts.bind(folder / "data", folder / "alias")
    return "alias", "data"


def bind_of_a_folder_in_it(mounts: Mounts, folder: Path) -> tuple[str, str]:
    mounts.bind(folder / "data/sub", folder / "alias")
    return "data", "alias"


def both_are_binds(mounts: Mounts, folder: Path) -> tuple[str, str]:
    mounts.bind(folder / "data", folder / "one")
    mounts.bind(folder / "data/sub", folder / "two")
    return "one", "two"


def below_a_bind_of_what_it_lies_in(mounts: Mounts, folder: Path) -> tuple[str, str]:
    mounts.bind(folder, folder.parent / f"{folder.name}-whole")
    return "data", f"{folder.parent}/{folder.name}-whole/data/sub"


def a_new_folder_in_a_bind(mounts: Mounts, folder: Path) -> tuple[str, str]:
    mounts.bind(folder / "data/sub", folder / "alias")
    return "data", "alias/not/yet/made"


def bind_of_a_bind(mounts: Mounts, folder: Path) -> tuple[str, str]:
    mounts.bind(folder / "data", folder / "one")
    mounts.bind(folder / "one/sub", folder / "two")
    return "data", "two"


def another_disk_in_the_source(mounts: Mounts, folder: Path) -> tuple[str, str]:
    mounts.bind(folder / "elsewhere", folder / "data/sub")
    return "data", "elsewhere"


def link_to_a_bind(mounts: Mounts, folder: Path) -> tuple[str, str]:
    mounts.bind(folder / "data", folder / "alias")
    (folder / "link").symlink_to("alias/sub")
    return "data", "link"


def back_and_forth(mounts: Mounts, folder: Path) -> tuple[str, str]:
    mounts.bind(folder / "data", folder / "alias")
    return "data", "alias/sub/../../alias/sub"


def by_a_descriptor(mounts: Mounts, folder: Path) -> tuple[str, str]:
    mounts.bind(folder / "data", folder / "alias")
    descriptor = os.open(folder / "alias", os.O_RDONLY)
    mounts.stack.callback(os.close, descriptor)
    return "data", f"/proc/{os.getpid()}/fd/{descriptor}/sub"


def name_with_a_space_and_a_line_break(mounts: Mounts, folder: Path) -> tuple[str, str]:
    mounts.bind(folder / "data", folder / "a \\ \t\nb")
    (folder / "link").symlink_to("a \\ \t\nb")
    return "data", "link"


def overlay_that_writes_into_it(mounts: Mounts, folder: Path) -> tuple[str, str]:
    mounts.overlay(folder / "empty", folder / "data", folder / "merged")
    return "data", "merged/sub"


def what_an_overlay_shows(mounts: Mounts, folder: Path) -> tuple[str, str]:
    mounts.overlay(folder / "empty", folder / "data", folder / "merged")
    return "merged", "data/sub"


def bindfs(mounts: Mounts, folder: Path) -> tuple[str, str]:
    mounts.bindfs(folder / "data/sub", folder / "alias")
    return "data", "alias"


def what_bindfs_shows(mounts: Mounts, folder: Path) -> tuple[str, str]:
    mounts.bindfs(folder / "data", folder / "alias")
    return "alias", "data/sub"


def disk_without_case(mounts: Mounts, folder: Path) -> tuple[str, str]:
    mounts.caseless(folder, folder.parent / f"{folder.name}-stick")
    stick = f"{folder.parent}/{folder.name}-stick"
    return f"{stick}/data", f"{stick}/DATA"


def folder_on_a_disk_without_case(mounts: Mounts, folder: Path) -> tuple[str, str]:
    mounts.caseless(folder, folder.parent / f"{folder.name}-stick")
    stick = f"{folder.parent}/{folder.name}-stick"
    return f"{stick}/Data", f"{stick}/dATA/SUB"


FORMS: list[Form] = [
    bind,
    disk_without_case,
    bind_of_a_folder_in_it,
    overlay_that_writes_into_it,
    bindfs,
    source_is_the_alias,
    folder_on_a_disk_without_case,
    both_are_binds,
    below_a_bind_of_what_it_lies_in,
    a_new_folder_in_a_bind,
    bind_of_a_bind,
    another_disk_in_the_source,
    link_to_a_bind,
    back_and_forth,
    by_a_descriptor,
    name_with_a_space_and_a_line_break,
    what_an_overlay_shows,
    what_bindfs_shows,
]
MODES = ("move", "copy", "symlink", "hardlink")
EVERY = [(form, MODES[(number + turn) % len(MODES)]) for number, form in enumerate(FORMS) for turn in range(len(MODES))]


def digests(folder: Path) -> dict[str, str]:
    """All files below a folder, links too, by their bytes."""
    found = (path for path in sorted(folder.rglob("*")) if not path.is_dir() or path.is_symlink())
    return {str(path.relative_to(folder)): _digest(path) for path in found}


def _digest(path: Path) -> str:
    return os.readlink(path) if path.is_symlink() else hashlib.sha256(path.read_bytes()).hexdigest()


def filled(instance: Instance, folder: Path) -> None:
    for number in (1, 2, 3):
        instance(folder / f"data/{number}.dcm", InstanceNumber=number)
        instance(folder / f"data/sub/{number}.dcm", InstanceNumber=number)
        instance(folder / f"elsewhere/{number}.dcm", InstanceNumber=number)


def rules(source: str, output: str, where: str = "1", **options: str) -> str:
    begin = f'outputs = ["{output}"]\n[sources.archive]\npath = "{source}"\n[select.everything]\nlevel = "image"\n'
    to = f"{output}/{{{{ InstanceNumber }}}}.dcm"
    return f'{begin}where = "{where}"\n{action("export", to, on_conflict="overwrite", on_changed="restore", **options)}'


def test_nothing_is_written_into_a_source_by_another_name(
    instance: Instance, tmp_path_factory: pytest.TempPathFactory, some: Some[tuple[Form, str]]
) -> None:
    for form, mode in some(EVERY, 6):
        attack(Workplace(tmp_path_factory.mktemp("form")), instance, form, mode)


def attack(workplace: Workplace, instance: Instance, form: Form, mode: str) -> None:
    filled(instance, workplace.folder)
    with ExitStack() as stack:
        source, output = form(Mounts(stack), workplace.folder)
        before = digests(workplace.folder / "data")
        workplace.rules(rules(source, output, where="ObjectFile LIKE 'sub/%'", mode=mode))
        for command in (["check"], ["plan"], ["apply"]):
            done = workplace.run(*command)
            assert done.code in (1, 2), (form, mode, command, done)
        assert "the destination lies inside a source" in done.err, (form, mode, done)
        assert digests(workplace.folder / "data") == before, (form, mode)
