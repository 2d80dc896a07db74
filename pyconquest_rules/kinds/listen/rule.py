"""The model of `[listen.NAME]`."""

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
    """The TLS settings of a listener: our certificate and, with `ca`, the certificates of callers."""

    certificate: Annotated[FileName, Field(description="Our certificate: a PEM file.")]
    key: Annotated[FileName, Field(description="The key of our certificate: a PEM file without a password.")]
    ca: Annotated[
        FileName | None,
        Field(description="The CA that must sign the certificates of callers: a PEM file. If left out, callers need none."),
    ] = None


class Listen(Table):
    """Receives instances into a source with a layout, and runs actions once a study has been quiet."""

    ae_title: Annotated[AETitle, Field(description="Our AE title. Callers must use it as the called AE title.")]
    port: Annotated[int, Field(strict=True, ge=0, le=65535, description="The port; 0 for any free port.")]
    into: Annotated[SourceName, Field(description="The source that stores the instances. It must have a layout.")]
    host: Annotated[str, Field(description='The address to listen on; "0.0.0.0" for all addresses.')] = "127.0.0.1"
    allow: Annotated[tuple[AETitle, ...], Field(description="The calling AE titles to accept; all if left out.")] = ()
    addresses: Annotated[
        tuple[Address, ...], Field(description='The addresses and networks to accept, as "10.1.0.0/16"; all if left out.')
    ] = ()
    max_associations: Annotated[int, Field(strict=True, ge=1, le=1000, description="The most associations at the same time.")] = (
        25
    )
    max_pdu: Annotated[int, Field(strict=True, ge=4096, le=1 << 24, description="The longest PDU that we receive, in bytes.")] = (
        131072
    )
    max_message: Annotated[int, Field(strict=True, ge=1, description="The longest data set that we receive, in bytes.")] = 4 << 30
    association_timeout: Annotated[
        Seconds,
        Field(description="Seconds for a TLS handshake, until the association request, and until the next message begins."),
    ] = 60.0
    pdu_timeout: Annotated[Seconds, Field(description="Seconds for a complete PDU, and until the next PDU of a message.")] = 30.0
    tls: Annotated[ListenTLS | None, Field(description="The TLS settings. If left out, connections are not secured.")] = None
    min_free: Annotated[int, Field(strict=True, ge=0, description="The bytes of the disk to keep free.")] = 1 << 28
    accept: Annotated[
        Literal["standard", "any"],
        Field(
            description=(
                '"any" accepts private SOP classes and transfer syntaxes too; '
                '"standard" accepts only those of the DICOM Standard, including retired ones.'
            )
        ),
    ] = "any"
    on_conflict: Annotated[
        Literal["refuse", "newest"],
        Field(
            description=(
                'For another data set of an existing instance: "refuse" keeps the first and answers 0111; "newest" replaces it, '
                "and keeps the older one below the source in .pyconquest-rules-older."
            )
        ),
    ] = "refuse"
    then: Annotated[tuple[ActionName, ...], Field(description='Actions to run when a study has been quiet, as "copy.NAME".')] = ()
    quiet: Annotated[
        float, Field(gt=0, le=86400, description="How long a study must be quiet before `then` runs, in seconds.")
    ] = 60.0

    def below(self, base: Path) -> "Listen":
        """Return the listener with file paths relative to `base`."""
        if self.tls is None:
            return self
        files = {key: str(base / value) for key, value in self.tls.model_dump(exclude_none=True).items()}
        return self.model_copy(update={"tls": ListenTLS(**files)})

    def settings(self, folder: Path | None) -> "Listening":
        """Return the settings of the network. `folder` is the folder of the rules file."""
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
