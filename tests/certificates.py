"""An authority of one's own, and a certificate of it, as a cluster that speaks TLS needs them."""

from __future__ import annotations

import datetime
import ipaddress
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

_DAY = datetime.timedelta(days=1)
_HERE = [x509.IPAddress(ipaddress.ip_address("127.0.0.1")), x509.DNSName("localhost")]


@dataclass(frozen=True)
class Certificates:
    """PEM files: the authority, and a certificate with its key."""

    ca: Path
    cert: Path
    key: Path

    @property
    def options(self):
        """What ``dask scheduler`` and ``dask worker`` are told."""
        files = ("--tls-ca-file", self.ca, "--tls-cert", self.cert, "--tls-key", self.key)
        return ("--protocol", "tls", *map(str, files))

    @property
    def settings(self):
        """What tuneflow is told."""
        return {
            "tls_ca_file": str(self.ca),
            "tls_cert_file": str(self.cert),
            "tls_key_file": str(self.key),
        }


def make_certificates(folder):
    """Write an authority and one certificate of it into a folder."""
    folder.mkdir()
    made = Certificates(folder / "ca.pem", folder / "cert.pem", folder / "key.pem")
    authority, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    _write(made.ca, _certificate("authority", authority, authority))
    _write(made.cert, _certificate("dask", key, authority))
    made.key.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return made


def _certificate(name, key, authority):
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(_name(name))
        .issuer_name(_name("authority"))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _DAY)
        .not_valid_after(now + _DAY)
        .add_extension(x509.BasicConstraints(ca=key is authority, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName(_HERE), critical=False)
        .sign(authority, hashes.SHA256())
    )


def _name(common):
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common)])


def _write(path, certificate):
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
