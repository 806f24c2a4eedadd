"""`linckia tls init`: a private certificate authority and one certificate for all nodes, for people who have none.

Called by cli/main.py. Needs the `cryptography` package, an optional dependency; nothing else in Linckia does. It never
replaces a file without being told to.
"""

from __future__ import annotations

import os
import re
import shlex
import stat
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import TYPE_CHECKING

from linckia.cli.starting import refuse
from linckia.host import environment
from linckia.host.session import write_private
from linckia.host.tls_files import CA_NAME, CERT_NAME, KEY_NAME, VARIABLES, default_directory, in_directory

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

CA_KEY_NAME = "ca.key"
HOST_NAME = re.compile(r"(\*\.)?[A-Za-z0-9_]([A-Za-z0-9_.-]{0,252})")
CLOCK_SKEW = timedelta(hours=1)  # machines whose clocks are behind accept it at once


class TlsInitError(RuntimeError):
    """Nothing was written; the text says why."""


def init(folder: str, hosts: list[str], days: int, *, force: bool) -> int:
    """Write the files and say what to do with them. Returns the exit code."""
    folder = os.path.abspath(os.path.expanduser(folder or default_directory()))
    try:
        expires = make(folder, hosts or own_names(), days, force=force)
    except TlsInitError as error:
        return refuse(str(error))
    except OSError as error:
        return refuse(f"cannot write to {folder}: {error.strerror}")
    print(advice(folder, expires))
    return 0


def own_names() -> list[str]:
    """What this machine is called from here."""
    return list(dict.fromkeys((environment.host_name(), "localhost", "127.0.0.1", "::1")))


def make(folder: str, hosts: list[str], days: int, *, force: bool = False, age: timedelta = CLOCK_SKEW) -> datetime:
    """Write ``ca.crt``, ``ca.key``, ``node.crt`` and ``node.key``; returns when they expire. TlsInitError, OSError."""
    try:
        from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415 - optional, and 60 ms
    except ImportError:
        raise TlsInitError(
            "making certificates needs the package `cryptography`: pip install 'linckia[tls]', or bring your own files"
        ) from None
    names = [_checked(host) for host in hosts]
    existing = [name for name in (CA_NAME, CA_KEY_NAME, CERT_NAME, KEY_NAME) if os.path.exists(f"{folder}/{name}")]
    if existing and not force:
        raise TlsInitError(
            f"{folder} has {', '.join(existing)} already; --force replaces them, and then every node needs the new ones"
        )
    _make_private(folder)
    begins = datetime.now(UTC) - age
    expires = begins + timedelta(days=days)
    ca_key, node_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca = _ca_certificate(ca_key, begins, expires)
    node = _node_certificate(node_key, names, ca, ca_key)
    _write(folder, CA_KEY_NAME, ca_key)
    _write(folder, CA_NAME, ca)
    _write(folder, KEY_NAME, node_key)
    _write(folder, CERT_NAME, node)
    return expires


def _checked(host: str) -> str:
    name = host.strip().strip("[]")
    if not _is_ip(name) and not HOST_NAME.fullmatch(name):
        raise TlsInitError(f"--host {host!r}: expected a host name or an IP address, without a port")
    return name


def _is_ip(name: str) -> bool:
    try:
        return "%" not in str(ip_address(name))  # a zone is this machine's word for one of its networks
    except ValueError:
        return False


def _make_private(folder: str) -> None:
    """A 0700 directory; one that others may enter is taken only while it is empty."""
    os.makedirs(os.path.dirname(folder), exist_ok=True)
    try:
        os.mkdir(folder, 0o700)
    except FileExistsError:
        mode = stat.S_IMODE(os.stat(folder).st_mode)
        if mode & 0o077 and os.listdir(folder):
            raise TlsInitError(
                f"{folder} is open to others (mode {mode:04o}) and not empty; name a new directory with --dir"
            ) from None
        if mode & 0o077:
            os.chmod(folder, 0o700)


def _ca_certificate(key: EllipticCurvePrivateKey, begins: datetime, expires: datetime) -> x509.Certificate:
    from cryptography import x509  # noqa: PLC0415 - optional
    from cryptography.hazmat.primitives import hashes  # noqa: PLC0415

    name = _name("Linckia cluster CA")
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), begins, expires)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_usage(signs_certificates=True), critical=True)
    builder = builder.add_extension(identifier, critical=False)
    builder = builder.add_extension(
        x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False
    )
    return builder.sign(key, hashes.SHA256())


def _node_certificate(
    key: EllipticCurvePrivateKey, hosts: list[str], ca: x509.Certificate, ca_key: EllipticCurvePrivateKey
) -> x509.Certificate:
    from cryptography import x509  # noqa: PLC0415 - optional
    from cryptography.hazmat.primitives import hashes  # noqa: PLC0415
    from cryptography.x509.oid import ExtendedKeyUsageOID  # noqa: PLC0415

    names = [x509.IPAddress(ip_address(host)) if _is_ip(host) else x509.DNSName(host) for host in hosts]
    issuer = ca.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    purposes = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]  # nodes are both
    builder = x509.CertificateBuilder(
        ca.subject, _name("Linckia node"), key.public_key(), x509.random_serial_number(),
        ca.not_valid_before_utc, ca.not_valid_after_utc,
    )  # fmt: skip
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_usage(signs_certificates=False), critical=True)
    builder = builder.add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
    builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    builder = builder.add_extension(
        x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer), critical=False
    )
    return builder.sign(ca_key, hashes.SHA256())


def _name(text: str) -> x509.Name:
    from cryptography import x509  # noqa: PLC0415 - optional
    from cryptography.x509.oid import NameOID  # noqa: PLC0415

    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    from cryptography import x509  # noqa: PLC0415 - optional

    return x509.KeyUsage(
        digital_signature=not signs_certificates, key_cert_sign=signs_certificates, crl_sign=signs_certificates,
        content_commitment=False, key_encipherment=False, data_encipherment=False, key_agreement=False,
        encipher_only=False, decipher_only=False,
    )  # fmt: skip


def _write(folder: str, name: str, thing: x509.Certificate | EllipticCurvePrivateKey) -> None:
    from cryptography import x509  # noqa: PLC0415 - optional
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat  # noqa: PLC0415

    if isinstance(thing, x509.Certificate):
        content = thing.public_bytes(Encoding.PEM)
    else:
        content = thing.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    write_private(os.path.join(folder, name), content)


def advice(folder: str, expires: datetime) -> str:
    """What to type next, on the head and elsewhere."""
    cert, key, ca = map(shlex.quote, in_directory(folder))
    options = f"--tls-cert={cert} --tls-key={key} --tls-ca={ca}"
    here, there = shlex.quote(folder), shlex.quote(os.path.dirname(folder))
    if folder == default_directory():
        variables = "export LINCKIA_USE_TLS=1"
    else:
        named = zip(VARIABLES, (cert, key, ca), strict=True)
        variables = " ".join(["export LINCKIA_USE_TLS=1", *(f"LINCKIA_{name}={path}" for name, path in named)])
    return f"""\
{folder} has a private certificate authority and one certificate for all nodes, valid until {expires:%Y-%m-%d}:
  {CA_NAME}, {CERT_NAME}, {KEY_NAME}    every machine of the cluster needs these three; show {KEY_NAME} to nobody
  {CA_KEY_NAME}                       signs certificates; nodes do not need it, keep it away from them

On the head:
  linckia start --head --node-ip-address=ADDRESS {options}
  linckia get-auth-token

Copy the three files to each of the other machines:
  ssh MACHINE mkdir -p -m 700 {there} {here}
  scp -p {ca} {cert} {key} MACHINE:{here}/

There, with the token of `linckia get-auth-token`:
  export LINCKIA_AUTH_TOKEN=...
  linckia start --address=HOST:PORT {options}

Instead of the options, and for programs and commands that reach the cluster from a machine without a node of it:
  {variables}"""
