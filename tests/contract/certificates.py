"""Certificates for tests, each folder with a CA of its own, and one more of the same CA."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from linckia.cli import tls_init
from linckia.host.tls_files import TlsFiles, in_directory

LONG_AGO = timedelta(days=30)


def make(folder: Path, *, expired: bool = False) -> TlsFiles:
    """Fresh files in ``folder``; expired ones ended four weeks ago."""
    age = LONG_AGO if expired else tls_init.CLOCK_SKEW
    tls_init.make(str(folder), ["localhost", "127.0.0.1"], 2, age=age)
    return in_directory(str(folder))


def sibling(first: TlsFiles, folder: Path) -> TlsFiles:
    """Another certificate, with another key, of the same CA."""
    folder.mkdir()
    ca = x509.load_pem_x509_certificate(Path(first.ca).read_bytes())
    ca_key = load_pem_private_key(Path(first.ca).with_name(tls_init.CA_KEY_NAME).read_bytes(), None)
    assert isinstance(ca_key, ec.EllipticCurvePrivateKey)
    key = ec.generate_private_key(ec.SECP256R1())
    files = in_directory(str(folder))
    tls_init._write(str(folder), "node.key", key)
    tls_init._write(str(folder), "node.crt", tls_init._node_certificate(key, ["localhost"], ca, ca_key))
    return TlsFiles(files.cert, files.key, first.ca)
