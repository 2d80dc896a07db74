"""Methods of pyconquest that are here by name only."""

from collections.abc import Sequence
from typing import Any, NoReturn

from pyconquest_rules.compat.errors import NotBuilt, Refused


class InPlace:
    """What changes DICOM files in place. All of it raises Refused."""

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


class Network:
    """What needs the network. All of it raises NotBuilt."""

    def send_dicom(
        self,
        addres: str = "127.0.0.1",
        port: int = 5678,
        patientid: str = "",
        seriesuid: str = "",
        query: str = "",
        ae_title: bytes = b"PYNETDICOM",
        sending_ae_title: bytes = b"pyconquest",
    ) -> NoReturn:
        """Not built yet: sends instances."""
        raise NotBuilt("send_dicom")

    def send_dicom_file(
        self,
        addres: str,
        port: int,
        filename_list: list[str],
        aetitle: bytes = b"PYNETDICOM",
        sending_ae_title: bytes = b"pyconquest",
    ) -> NoReturn:
        """Not built yet: sends files."""
        raise NotBuilt("send_dicom_file")

    def start_dicom_listener(self, port: int = 5678, write_to_database: bool = True, block: bool = True) -> NoReturn:
        """Not built yet: receives instances."""
        raise NotBuilt("start_dicom_listener")

    def handle_dicom_store_request(self, event: Any) -> NoReturn:
        """Not built yet: takes one instance that was received."""
        raise NotBuilt("handle_dicom_store_request")

    def query_dicom(
        self,
        addres: str = "127.0.0.1",
        port: int = 5678,
        ae_title: str = "",
        patientid: str = "",
        modality: str = "",
        studyuid: str = "",
        studydate: str = "",
        seriesuid: str = "",
        sending_ae_title: bytes = b"PYCONQUEST",
    ) -> NoReturn:
        """Not built yet: asks a node what it has."""
        raise NotBuilt("query_dicom")

    def get_dicom(
        self,
        addres: str = "127.0.0.1",
        port: int = 5678,
        ae_title: str = "",
        patientid: str = "",
        modality: str = "",
        series_uid: str = "",
        sop_instance_uid: str = "",
        receiving_ae_title: str = "PYCONQUEST",
        receiving_ip: str = "",
        receiving_port_number: int = 5699,
        requesting_ae_title: str = "PYCONQUEST",
        association_timeout: int = 60,
        sending_to_my_own_scp: bool = True,
        unrestricted_storage: bool = True,
        force_transfer: bool = False,
    ) -> NoReturn:
        """Not built yet: has a node send what it has."""
        raise NotBuilt("get_dicom")
