"""Certificates for tests, made by openssl: an authority, and what it signs."""

import shutil
import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import needs
from tests.peers.archives import program

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


@dataclass(frozen=True)
class Certificates:
    """A CA and what it signed: a certificate for `archive.test`, the same expired, and one for a client. Beside it another CA."""

    folder: Path

    @classmethod
    def made(cls, folder: Path) -> "Certificates":
        """Makes them by the command `openssl`."""
        needs("openssl", shutil.which("openssl") is not None)
        made = cls(folder)
        for ca in ("ca", "other"):
            made._openssl("req", "-x509", *made._new(ca, f"/CN={ca}"), "-days", "30", "-out", f"{ca}.pem")
        for name in ("peer", "client"):
            host = ["-addext", "subjectAltName=DNS:archive.test"]
            made._openssl("req", "-new", *made._new(name, f"/CN={name}"), *host, "-out", f"{name}.csr")
            made._signed(name, name, "30")
        made._signed("peer", "expired", "-1")
        shutil.copy(folder / "peer.key", folder / "expired.key")
        return made

    def __getitem__(self, name: str) -> Path:
        """The certificate of a name, or the key where it is `name.key`."""
        return self.folder / (name if name.endswith(".key") else f"{name}.pem")

    def server(self, name: str = "peer", *, ask: bool = False) -> ssl.SSLContext:
        """What a peer with that certificate secures its connections with; `ask`: it wants a certificate of the other."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self[name], self[f"{name}.key"])
        context.load_verify_locations(self["ca"])
        context.verify_mode = ssl.CERT_REQUIRED if ask else ssl.CERT_NONE
        return context

    def _new(self, name: str, subject: str) -> list[str]:
        return ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", f"{name}.key", "-subj", subject]

    def _signed(self, name: str, out: str, days: str) -> None:
        ca = ["-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-copy_extensions", "copy"]
        self._openssl("x509", "-req", "-in", f"{name}.csr", *ca, "-days", days, "-out", f"{out}.pem")

    def _openssl(self, *arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=self.folder, check=True, capture_output=True)
