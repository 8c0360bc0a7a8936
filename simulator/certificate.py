"""Makes the certificate of a simulated box.

Rule: self-signed, and the same for the same name and seed, so that a fingerprint that somebody pinned stays right from
run to run. Nobody should trust it for anything else: its key follows from its name.
"""

from __future__ import annotations

import ssl
from datetime import UTC, datetime
from hashlib import sha256
from ipaddress import ip_address
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

VALID_FROM = datetime(2024, 1, 1, tzinfo=UTC)
VALID_UNTIL = datetime(2124, 1, 1, tzinfo=UTC)
_LARGEST_SCALAR = 1 << 255
"""Below the order of P-256, so that every hash is a key."""


class Certificate(NamedTuple):
    """A certificate with its key, both as PEM."""

    certificate: bytes
    key: bytes
    fingerprint: str
    """SHA-256 of the certificate's DER octets, in hexadecimal."""


def self_signed(name: str, address: str, seed: int) -> Certificate:
    """Return the certificate of the box `name` at `address`."""
    scalar = int.from_bytes(sha256(f"{seed} certificate {name} {address}".encode()).digest()) % _LARGEST_SCALAR + 1
    key = ec.derive_private_key(scalar, ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    built = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(scalar % (1 << 63) + 1)
        .not_valid_before(VALID_FROM)
        .not_valid_after(VALID_UNTIL)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address(address))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256(), ecdsa_deterministic=True)
    )
    return Certificate(
        built.public_bytes(serialization.Encoding.PEM),
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
        built.fingerprint(hashes.SHA256()).hex(),
    )


def server_context(certificate: Certificate) -> ssl.SSLContext:
    """Return what a TLS server with this certificate needs; `ssl` reads keys from files only."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with TemporaryDirectory() as folder:
        chain = Path(folder) / "box.pem"
        chain.touch(mode=0o600)
        chain.write_bytes(certificate.certificate + certificate.key)
        context.load_cert_chain(chain)
    return context
