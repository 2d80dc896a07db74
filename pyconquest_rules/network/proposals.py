"""The proposals for C-GET: storage SOP classes, each with every transfer syntax (PS3.8 9.3.2.2)."""

from pydicom import uid
from pydicom.uid import UID
from pynetdicom import ALL_TRANSFER_SYNTAXES
from pynetdicom.presentation import AllStoragePresentationContexts

# One context each, because a node picks one syntax of a context, whatever its instances have. Other syntaxes share a context.
ALONE: list[str | UID] = [
    uid.ExplicitVRLittleEndian,
    uid.ImplicitVRLittleEndian,
    uid.DeflatedExplicitVRLittleEndian,
    uid.ExplicitVRBigEndian,
    uid.RLELossless,
    uid.JPEGBaseline8Bit,
    uid.JPEGExtended12Bit,
    uid.JPEGLossless,
    uid.JPEGLosslessSV1,
    uid.JPEGLSLossless,
    uid.JPEGLSNearLossless,
    uid.JPEG2000Lossless,
    uid.JPEG2000,
    uid.HTJ2KLossless,
    uid.HTJ2KLosslessRPCL,
    uid.HTJ2K,
    uid.MPEG2MPML,
    uid.MPEG4HP41,
]
OTHERS = [each for each in ALL_TRANSFER_SYNTAXES if each not in ALONE]
CONTEXTS = 127
"""The contexts for storage: 128 are possible (PS3.8 9.3.2.2: odd numbers up to 255), and one is for C-GET."""
CLASSES_AT_ONCE = CONTEXTS // (len(ALONE) + 1)

COMMON = [
    uid.CTImageStorage,
    uid.MRImageStorage,
    uid.RTStructureSetStorage,
    uid.RTPlanStorage,
    uid.RTDoseStorage,
    uid.PositronEmissionTomographyImageStorage,
    uid.SecondaryCaptureImageStorage,
    uid.ComputedRadiographyImageStorage,
    uid.DigitalXRayImageStorageForPresentation,
    uid.RTImageStorage,
    uid.EnhancedCTImageStorage,
    uid.EnhancedMRImageStorage,
    uid.SegmentationStorage,
    uid.NuclearMedicineImageStorage,
    uid.UltrasoundImageStorage,
    uid.UltrasoundMultiFrameImageStorage,
    uid.XRayAngiographicImageStorage,
    uid.BasicTextSRStorage,
    uid.EnhancedSRStorage,
    uid.ComprehensiveSRStorage,
    uid.SpatialRegistrationStorage,
    uid.EncapsulatedPDFStorage,
    uid.KeyObjectSelectionDocumentStorage,
    uid.GrayscaleSoftcopyPresentationStateStorage,
]
"""The most common storage SOP classes."""


def syntaxes(number: int) -> list[list[str | UID]]:
    """Divide all transfer syntaxes among a number of contexts."""
    alone = ALONE[: number - 1]
    return [*([each] for each in alone), [each for each in [*ALONE, *OTHERS] if each not in alone]]


def standard() -> list[str]:
    """Return all storage SOP classes of the Standard, common ones first."""
    known = sorted(str(context.abstract_syntax) for context in AllStoragePresentationContexts)
    return [*COMMON, *(each for each in known if each not in COMMON)]
