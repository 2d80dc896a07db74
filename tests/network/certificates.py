"""Certificates for tests, made by openssl: an authority, and what it signs."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.network.archives import program

KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]


@dataclass(frozen=True)
class Authority:
    """Signs certificates; its own is `ca`. All files are in `folder`."""

    folder: Path
    name: str = "ca"

    def __post_init__(self) -> None:
        files = ["-keyout", str(self.folder / f"{self.name}.key"), "-out", str(self.ca)]
        _openssl("req", "-x509", *KEY, *files, "-subj", f"/CN={self.name}", "-days", "2")

    @property
    def ca(self) -> Path:
        """The certificate of this authority."""
        return self.folder / f"{self.name}.pem"

    def sign(self, host: str, *, days: int = 2) -> tuple[Path, Path]:
        """A certificate for a host and its key. It is over already with negative `days`."""
        certificate, key, request, names = (self.folder / f"{self.name}-{host}.{end}" for end in ("pem", "key", "csr", "names"))
        names.write_text(f"subjectAltName=DNS:{host}\n")
        _openssl("req", *KEY, "-keyout", str(key), "-out", str(request), "-subj", f"/CN={host}")
        signer = ["-CA", str(self.ca), "-CAkey", str(self.folder / f"{self.name}.key"), "-days", str(days)]
        _openssl("x509", "-req", "-in", str(request), "-out", str(certificate), *signer, "-extfile", str(names))
        return certificate, key

    def encrypted(self, key: Path, password: str) -> Path:
        """The same key, encrypted."""
        made = key.with_suffix(".encrypted")
        _openssl("pkey", "-in", str(key), "-aes256", "-passout", f"pass:{password}", "-out", str(made))
        return made


def _openssl(*arguments: str) -> None:
    subprocess.run([program("openssl"), *arguments], check=True, capture_output=True)
