"""X.509 as the federation needs it: one authority, and what it vouches for, the cloud and sites.

All keys are on the curve P-384, for Flower takes elliptic curves only for a SuperNode.
"""

import ipaddress
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP384R1,
    EllipticCurvePrivateKey,
    generate_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

AUTHORITY_DAYS = 3650
CERTIFICATE_DAYS = 825
RENEW_DAYS = 7  # before its end a certificate counts as expired and is issued again
SKEW = timedelta(days=1)  # a certificate holds from a day ago: clocks at sites may be behind

Names = Sequence[x509.GeneralName]
_HOST = re.compile(r"[\w-]{1,63}(\.[\w-]{1,63})*", re.ASCII)


def new_key() -> EllipticCurvePrivateKey:
    """A fresh private key."""
    return generate_private_key(SECP384R1())


def authority(key: EllipticCurvePrivateKey) -> x509.Certificate:
    """The certificate of our own authority, signed by itself."""
    name = _name("netgpt federation")
    builder = _builder(name, name, key, key, _end(AUTHORITY_DAYS))
    return (
        builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .sign(key, hashes.SHA384())
    )


def server_certificate(
    ca: x509.Certificate,
    ca_key: EllipticCurvePrivateKey,
    key: EllipticCurvePrivateKey,
    hosts: Sequence[str],
) -> x509.Certificate:
    """For whoever listens on `hosts`: names or IP addresses, all of them checked by who dials."""
    return issue(
        ca,
        ca_key,
        key,
        common_name="netgpt cloud",
        names=general_names(hosts),
        purpose=ExtendedKeyUsageOID.SERVER_AUTH,
        not_after=_end(CERTIFICATE_DAYS),
    )


def site_certificate(
    ca: x509.Certificate,
    ca_key: EllipticCurvePrivateKey,
    key: EllipticCurvePrivateKey,
    site_id: str,
) -> x509.Certificate:
    """For a site that dials the cloud; its common name is the site's id."""
    return issue(
        ca,
        ca_key,
        key,
        common_name=site_id,
        names=(),
        purpose=ExtendedKeyUsageOID.CLIENT_AUTH,
        not_after=_end(CERTIFICATE_DAYS),
    )


def issue(
    ca: x509.Certificate,
    ca_key: EllipticCurvePrivateKey,
    key: EllipticCurvePrivateKey,
    *,
    common_name: str,
    names: Names,
    purpose: x509.ObjectIdentifier,
    not_after: datetime,
) -> x509.Certificate:
    """A certificate for `key` that serves this purpose and none other."""
    builder = _builder(_name(common_name), ca.subject, key, ca_key, not_after)
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return (
        builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        .sign(ca_key, hashes.SHA384())
    )


def is_host(text: str) -> bool:
    """Can this be a host's name or its IP address?"""
    if _HOST.fullmatch(text):
        return True
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def general_names(hosts: Sequence[str]) -> list[x509.GeneralName]:
    """Host names and IP addresses, each as its own kind of name."""
    return [_general_name(host) for host in hosts]


def hosts_of(certificate: x509.Certificate) -> list[str]:
    """The hosts a server certificate names, in its order."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return [str(name.value) for name in names]


def is_good(
    certificate: x509.Certificate, key: EllipticCurvePrivateKey, ca: x509.Certificate
) -> bool:
    """Is it for this key, issued by this authority, and not about to expire?"""
    if certificate.public_key() != key.public_key():
        return False
    if certificate.not_valid_after_utc - datetime.now(UTC) < timedelta(days=RENEW_DAYS):
        return False
    try:
        certificate.verify_directly_issued_by(ca)
    except (ValueError, TypeError, InvalidSignature):  # another name, kind of key, or key
        return False
    return True


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: EllipticCurvePrivateKey,
    issuer_key: EllipticCurvePrivateKey,
    not_after: datetime,
) -> x509.CertificateBuilder:
    public, issuer_public = key.public_key(), issuer_key.public_key()
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(min(datetime.now(UTC), not_after) - SKEW)
        .not_valid_after(not_after)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_public), critical=False
        )
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _end(days: int) -> datetime:
    return datetime.now(UTC) + timedelta(days=days)
