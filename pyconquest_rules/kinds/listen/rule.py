"""`[listen.NAME]`: receives instances by C-STORE into a source."""

from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints
from pydantic_core import PydanticCustomError

AE_TITLE = r"^[!-\[\]-~](?:[ -\[\]-~]{0,14}[!-\[\]-~])?$"
"""1 to 16 characters of ASCII without a backslash, none of them blank at an end (PS3.5 6.2)."""

AETitle = Annotated[str, StringConstraints(pattern=AE_TITLE)]


def _address(text: str) -> str:
    try:
        ip_network(text, strict=False)
    except ValueError:
        raise PydanticCustomError("address", "must be an address or a network") from None
    return text


Address = Annotated[str, AfterValidator(_address)]
"""An IP address or network."""

Seconds = Annotated[float, Field(gt=0, le=86400)]


class ListenTLS(BaseModel):
    """How a port is secured: by our certificate, and where `ca` is given, by those of the callers."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    certificate: Annotated[str, Field(description="Our certificate: a PEM file.")]
    key: Annotated[str, Field(description="The key of our certificate: a PEM file without a password.")]
    ca: Annotated[
        str | None,
        Field(description="Those who must have signed the certificates of callers: a PEM file. None is asked for if left out."),
    ] = None


class Listen(BaseModel):
    """Receives instances into a source with a layout, and runs actions once a study has been quiet."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    ae_title: Annotated[AETitle, Field(description="Our AE title: callers must call it.")]
    port: Annotated[int, Field(strict=True, ge=0, le=65535, description="The port; 0 for any that is free.")]
    into: Annotated[str, Field(description="The source that instances are put into. It must have a layout.")]
    host: Annotated[str, Field(description='The address to listen on; "0.0.0.0" for all of this machine.')] = "127.0.0.1"
    allow: Annotated[tuple[AETitle, ...], Field(description="The calling AE titles that are let in; all if left out.")] = ()
    addresses: Annotated[
        tuple[Address, ...], Field(description='The addresses and networks that are let in, as "10.1.0.0/16"; all if left out.')
    ] = ()
    max_associations: Annotated[
        int, Field(strict=True, ge=1, le=1000, description="How many associations there may be at the same time.")
    ] = 25
    max_pdu: Annotated[
        int, Field(strict=True, ge=4096, le=1 << 24, description="The longest PDU that is received, in bytes.")
    ] = 131072
    max_message: Annotated[int, Field(strict=True, ge=1, description="The longest data set that is received, in bytes.")] = (
        4 << 30
    )
    association_timeout: Annotated[
        Seconds,
        Field(description="Seconds for a TLS handshake, until an association is asked for, and until a next message begins."),
    ] = 60.0
    pdu_timeout: Annotated[Seconds, Field(description="Seconds until a PDU is there whole, and within a message the next.")] = (
        30.0
    )
    tls: Annotated[ListenTLS | None, Field(description="How the connections are secured; not at all if left out.")] = None
    min_free: Annotated[int, Field(strict=True, ge=0, description="How many bytes of the disk stay free.")] = 1 << 28
    accept: Annotated[
        Literal["standard", "any"],
        Field(
            description=(
                '"any": private SOP classes and transfer syntaxes are taken too; '
                '"standard": those of the DICOM Standard alone, retired ones among them.'
            )
        ),
    ] = "any"
    on_conflict: Annotated[
        Literal["refuse", "newest"],
        Field(
            description=(
                'For another data set of an existing instance: "refuse" keeps the first and answers 0111; "newest" puts the last '
                "one in its place, and keeps the older one below the source in .pyconquest-rules-older."
            )
        ),
    ] = "refuse"
    then: Annotated[tuple[str, ...], Field(description='Actions to run when a study has been quiet, as "copy.NAME".')] = ()
    quiet: Annotated[
        float, Field(gt=0, le=86400, description="For how many seconds nothing of a study must have come before `then`.")
    ] = 60.0

    def below(self, base: Path) -> "Listen":
        """The same with files that count from `base`."""
        if self.tls is None:
            return self
        files = {key: str(base / value) for key, value in self.tls.model_dump(exclude_none=True).items()}
        return self.model_copy(update={"tls": ListenTLS(**files)})
