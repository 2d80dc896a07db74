"""The methods of pyconquest that are refused."""

from collections.abc import Sequence
from typing import Any, NoReturn

from pyconquest_rules.compat.errors import Refused


class InPlace:
    """The methods that change DICOM files in place. All raise Refused."""

    def change_tag(
        self, filename: str, tag: str | tuple[Any, Any] = "PatientBirthDate", new_value: str = "19000101", create: bool = False
    ) -> NoReturn:
        """Refused: changes a file in place."""
        raise Refused("change_tag")

    def change_all_tags(
        self,
        filename: str | list[str] | None = None,
        seriesuid: str | list[str] | None = None,
        studyuid: str | list[str] | None = None,
        tag: str | tuple[Any, Any] = "PatientBirthDate",
        new_value: str = "19000101",
        create: bool = False,
    ) -> NoReturn:
        """Refused: changes files in place."""
        raise Refused("change_all_tags")

    def modify_rtstruct(
        self,
        filename: str | list[str],
        mode: str,
        roiname: Sequence[str],
        newname: Sequence[str] = "",
        write_file: bool = False,
        delete_points: bool = False,
    ) -> NoReturn:
        """Refused: changes files in place."""
        raise Refused("modify_rtstruct")
