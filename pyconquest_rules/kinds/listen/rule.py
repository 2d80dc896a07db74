"""`[listen.NAME]`: receives instances by C-STORE into a source."""

from ipaddress import ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AfterValidator, Field

from pyconquest_rules.rules.fields import ActionName, AETitle, FileName, Seconds, SourceName, Table, wrong

if TYPE_CHECKING:
    from pyconquest_rules.network.storage_scp import Listening


def _address(text: str) -> str:
    try:
        ip_network(text, strict=False)
    except ValueError:
        raise wrong("must be an address or a network") from None
    return text


Address = Annotated[str, AfterValidator(_address)]
"""An IP address or network."""


class ListenTLS(Table):
    """How a port is secured: by our certificate, and where `ca` is given, by those of the callers."""

    certificate: Annotated[FileName, Field(description="Our certificate: a PEM file.")]
    key: Annotated[FileName, Field(description="The key of our certificate: a PEM file without a password.")]
    ca: Annotated[
        FileName | None,
        Field(description="Those who must have signed the certificates of callers: a PEM file. None is asked for if left out."),
    ] = None


class Listen(Table):
    """Receives instances into a source with a layout, and runs actions once a study has been quiet."""

    ae_title: Annotated[AETitle, Field(description="Our AE title: callers must call it.")]
    port: Annotated[int, Field(strict=True, ge=0, le=65535, description="The port; 0 for any that is free.")]
    into: Annotated[SourceName, Field(description="The source that instances are put into. It must have a layout.")]
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
    then: Annotated[tuple[ActionName, ...], Field(description='Actions to run when a study has been quiet, as "copy.NAME".')] = ()
    quiet: Annotated[
        float, Field(gt=0, le=86400, description="For how many seconds nothing of a study must have come before `then`.")
    ] = 60.0

    def below(self, base: Path) -> "Listen":
        """The same with files that count from `base`."""
        if self.tls is None:
            return self
        files = {key: str(base / value) for key, value in self.tls.model_dump(exclude_none=True).items()}
        return self.model_copy(update={"tls": ListenTLS(**files)})

    def settings(self, folder: Path | None) -> "Listening":
        """Return what the network needs of it; `folder` is that of the rules file."""
        from pyconquest_rules.network.server import ServerTLS
        from pyconquest_rules.network.storage_scp import Listening

        tls = None
        if self.tls is not None:
            ca = Path(self.tls.ca) if self.tls.ca else None
            tls = ServerTLS(Path(self.tls.certificate), Path(self.tls.key), ca, folder)
        return Listening(
            ae_title=self.ae_title,
            host=self.host,
            port=self.port,
            allow=self.allow,
            addresses=self.addresses,
            tls=tls,
            max_associations=self.max_associations,
            max_pdu=self.max_pdu,
            max_message=self.max_message,
            association_timeout=self.association_timeout,
            pdu_timeout=self.pdu_timeout,
            min_free=self.min_free,
            private=self.accept == "any",
        )
