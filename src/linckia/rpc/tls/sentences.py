"""What goes wrong with TLS, as the one sentence that people see. Used by the other modules of this package.

``refused:`` begins what trying again does not mend, as in rpc/handshake.py.
"""

from __future__ import annotations

import ssl

from linckia.host.tls_files import TlsFiles

EXPIRED, NOT_YET_VALID, WRONG_PURPOSE = 10, 9, 26  # X509_V_ERR_*
UNKNOWN_ISSUER = frozenset({2, 18, 19, 20, 21})
NO_RECORD = frozenset({"WRONG_VERSION_NUMBER", "PACKET_LENGTH_TOO_LONG", "UNKNOWN_PROTOCOL", "HTTP_REQUEST"})
ALERT = "_ALERT_"
RENEW = "make new ones (`linckia tls init --force`) and restart the nodes"

PLAIN_SERVER = (
    "refused: it does not use TLS and this process does; unset LINCKIA_USE_TLS and the --tls options here, or start "
    "every node with TLS"
)
PLAIN_CLIENT = (
    "refused: this cluster uses TLS and the peer does not; set LINCKIA_USE_TLS=1, LINCKIA_TLS_SERVER_CERT, "
    "LINCKIA_TLS_SERVER_KEY and LINCKIA_TLS_CA_CERT, or start with --tls-cert, --tls-key and --tls-ca"
)
HUNG_UP = "the peer hung up during the TLS handshake (a peer without TLS would)"


class TlsError(OSError):
    """The text is the whole sentence."""


def of_peer(error: OSError, files: TlsFiles) -> str:
    """Why a connection with a peer failed."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"refused: the peer's certificate {_verdict(error, files)}"
    if isinstance(error, (ssl.SSLEOFError, ssl.SSLZeroReturnError)):
        return "the peer hung up"
    if isinstance(error, ssl.SSLError):
        return _alert(error.reason or str(error), files)
    return str(error) if isinstance(error, TlsError) else f"connection lost: {error}"


def of_own(error: ssl.SSLError, files: TlsFiles) -> str:
    """Why our own certificate would convince nobody."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"TLS: the certificate {files.cert} {_verdict(error, files)}"
    return f"TLS: {files.cert} and {files.ca} do not work together: {_words(error.reason or str(error))}"


def _verdict(error: ssl.SSLCertVerificationError, files: TlsFiles) -> str:
    code = error.verify_code
    if code == EXPIRED:
        return f"or its CA's has expired; {RENEW}"
    if code == NOT_YET_VALID:
        return "is not valid yet; compare the clocks of the machines"
    if code == WRONG_PURPOSE:
        return "is not made for both servers and clients (extended key usage), and nodes are both"
    if code in UNKNOWN_ISSUER:
        return f"is not signed by the CA in {files.ca}; all nodes need certificates of one CA"
    return f"is not accepted: {error.verify_message}"


def _alert(reason: str, files: TlsFiles) -> str:
    if reason in NO_RECORD:  # a server's: what clients begin with was looked at before (rpc/tls/opening.py)
        return PLAIN_SERVER
    if ALERT not in reason:
        return f"refused: TLS failed: {_words(reason)}"
    what = reason.partition(ALERT)[2]
    if what == "UNKNOWN_CA":
        return f"refused: the peer does not accept {files.cert}: it is not signed by the peer's CA"
    if what == "CERTIFICATE_EXPIRED":
        return f"refused: the peer does not accept {files.cert}: it has expired; {RENEW}"
    if what == "CERTIFICATE_REQUIRED":
        return "refused: the peer wants a certificate, and none was sent"
    return f"refused: the peer ended TLS: {_words(what)}"


def _words(reason: str) -> str:
    return reason.replace("_", " ").lower()
