"""Copies and sends that deliver what a recipe makes: another PatientID and other UIDs, as a de-identification would."""

import os
from collections.abc import Iterator
from hashlib import sha256
from io import BytesIO
from pathlib import Path

import pydicom
from pydicom.uid import UID

from pyconquest_rules.content import Applied, NotTransformed
from pyconquest_rules.engine.runner import Executor
from pyconquest_rules.kinds.copy import CopyKind
from pyconquest_rules.kinds.copy.rule import Copy
from pyconquest_rules.kinds.kind import Planning, Running
from pyconquest_rules.kinds.send import SendKind
from pyconquest_rules.kinds.send.rule import Send
from pyconquest_rules.steps import Request

KEPT = frozenset(("SOPClassUID", "MediaStorageSOPClassUID", "TransferSyntaxUID", "ImplementationClassUID"))


class Renaming:
    """The recipe. Its key is the text of the file `key` beside the rules file."""

    name = "renaming"

    def __init__(self, base: Path) -> None:
        self.key = (base / "key").read_text("utf-8").strip()

    def uid(self, uid: str) -> str:
        return f"2.25.{int(sha256(f'{self.key} {uid}'.encode()).hexdigest()[:30], 16)}"

    def write(self, source: int, target: int) -> None:
        with open(source, "rb", closefd=False) as file:
            instance = pydicom.dcmread(file)
        if instance.PatientID == "refused":
            raise NotTransformed("this patient stays here")
        instance.PatientID = self.key
        for elements in (instance, instance.file_meta):
            for element in elements:
                if element.VR == "UI" and element.keyword not in KEPT:
                    element.value = UID(self.uid(element.value))
        made = BytesIO()
        instance.save_as(made)
        os.write(target, made.getvalue())

    def applied(self, requests: Iterator[Request]) -> Iterator[Request]:
        return (request._replace(applied=Applied(self, self.key)) for request in requests)


class RenamingCopyKind(CopyKind):
    def requests(self, name: str, action: Copy, planning: Planning) -> Iterator[Request]:
        return Renaming(planning.rules.base).applied(super().requests(name, action, planning))


class RenamingSendKind(SendKind):
    def requests(self, name: str, action: Send, planning: Planning) -> Iterator[Request]:
        return Renaming(planning.rules.base).applied(super().requests(name, action, planning))

    def executor(self, name: str, action: Send, running: Running) -> Executor:
        from pyconquest_rules.kinds.send.sending import sending

        return sending(action, running, Renaming(running.rules.base))


KINDS = (RenamingCopyKind(), RenamingSendKind())
