"""Write synthetic CT scans of two phantoms to data/. The bytes are the same on every machine."""

from pathlib import Path

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

ROOT = "1.2.826.0.1.3680043.10.1999"
SIZE = 16


def main() -> None:
    """Write three slices of each phantom."""
    for phantom, name in enumerate(("PHANTOM-A", "PHANTOM-B"), 1):
        for number in range(1, 4):
            file = Path("data") / name / f"{number}.dcm"
            file.parent.mkdir(parents=True, exist_ok=True)
            slice_of(phantom, name, number).save_as(file, enforce_file_format=True)


def slice_of(phantom: int, name: str, number: int) -> Dataset:
    """Return a slice of a cylinder, whose radius depends on the phantom."""
    image = Dataset()
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    # Without these two, the bytes would depend on the version of pydicom.
    image.file_meta.ImplementationClassUID = f"{ROOT}.1"
    image.file_meta.ImplementationVersionName = "EXAMPLE"
    image.SOPClassUID = CTImageStorage
    image.SOPInstanceUID = f"{ROOT}.{phantom}.1.{number}"
    image.StudyDate = "20260301"
    image.Modality = "CT"
    image.PatientID = name
    image.SliceThickness = "2"
    image.StudyInstanceUID = f"{ROOT}.{phantom}"
    image.SeriesInstanceUID = f"{ROOT}.{phantom}.1"
    image.InstanceNumber = number
    image.ImagePositionPatient = [0, 0, 2 * number]
    image.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    image.SamplesPerPixel = 1
    image.PhotometricInterpretation = "MONOCHROME2"
    image.Rows = image.Columns = SIZE
    image.PixelSpacing = [1, 1]
    image.BitsAllocated = image.BitsStored = 16
    image.HighBit, image.PixelRepresentation = 15, 0
    image.RescaleIntercept, image.RescaleSlope = -1000, 1
    middle, radius = (SIZE - 1) / 2, 4 + phantom
    inside = [(x - middle) ** 2 + (y - middle) ** 2 <= radius**2 for y in range(SIZE) for x in range(SIZE)]
    image.PixelData = b"".join((1000 if water else 0).to_bytes(2, "little") for water in inside)
    return image


if __name__ == "__main__":
    main()
