"""The certificate of a simulated box."""

from __future__ import annotations

from hashlib import sha256

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from simulator.certificate import self_signed


def test_the_same_box_has_the_same_certificate_in_every_run() -> None:
    assert self_signed("norte", "127.0.0.2", 1) == self_signed("norte", "127.0.0.2", 1)


def test_another_box_and_another_seed_have_others() -> None:
    made = [self_signed("norte", "127.0.0.2", 1), self_signed("sur", "127.0.0.2", 1), self_signed("norte", "::1", 2)]
    assert len({certificate.fingerprint for certificate in made}) == 3


def test_the_fingerprint_is_that_of_the_octets_on_the_wire_and_the_address_is_inside() -> None:
    made = self_signed("norte", "127.0.0.2", 1)
    parsed = x509.load_pem_x509_certificate(made.certificate)
    assert made.fingerprint == sha256(parsed.public_bytes(Encoding.DER)).hexdigest()
    names = parsed.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [str(address) for address in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.2"]
    parsed.verify_directly_issued_by(parsed)
