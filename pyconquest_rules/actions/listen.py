"""`[listen.NAME]`: receives instances by C-STORE into a source."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

AE_TITLE = r"^[!-\[\]-~](?:[ -\[\]-~]{0,14}[!-\[\]-~])?$"
"""1 to 16 characters of ASCII without a backslash, none of them blank at an end (PS3.5 6.2)."""

AETitle = Annotated[str, StringConstraints(pattern=AE_TITLE)]


class Listen(BaseModel):
    """Receives instances into a source with a layout, and runs actions once a study has been quiet."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    ae_title: Annotated[AETitle, Field(description="Our AE title: callers must call it.")]
    port: Annotated[int, Field(strict=True, ge=0, le=65535, description="The port; 0 for any that is free.")]
    into: Annotated[str, Field(description="The source that instances are put into. It must have a layout.")]
    host: Annotated[str, Field(description='The address to listen on; "0.0.0.0" for all of this machine.')] = "127.0.0.1"
    allow: Annotated[tuple[AETitle, ...], Field(description="The calling AE titles that are let in; all if left out.")] = ()
    addresses: Annotated[
        tuple[str, ...], Field(description='The addresses and networks that are let in, as "10.1.0.0/16"; all if left out.')
    ] = ()
    max_associations: Annotated[
        int, Field(strict=True, ge=1, le=1000, description="How many associations there may be at the same time.")
    ] = 25
    min_free: Annotated[int, Field(strict=True, ge=0, description="How many bytes of the disk stay free.")] = 1 << 28
    then: Annotated[tuple[str, ...], Field(description='Actions to run when a study has been quiet, as "copy.NAME".')] = ()
    quiet: Annotated[
        float, Field(gt=0, le=86400, description="For how many seconds nothing of a study must have come before `then`.")
    ] = 60.0
