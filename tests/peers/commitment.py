"""Reports of storage commitment."""

from collections.abc import Mapping

from pydicom.dataset import Dataset

CT = "1.2.840.10008.5.1.4.1.1.2"


def information(transaction: str, committed: list[str], failed: Mapping[str, int]) -> Dataset:
    """What an N-EVENT-REPORT says."""

    def item(instance: str) -> Dataset:
        reference = Dataset()
        reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = CT, instance
        return reference

    said = Dataset()
    said.TransactionUID = transaction
    said.ReferencedSOPSequence = [item(instance) for instance in committed]
    said.FailedSOPSequence = [item(instance) for instance in failed]
    for reference, reason in zip(said.FailedSOPSequence, failed.values(), strict=True):
        reference.FailureReason = reason
    return said
