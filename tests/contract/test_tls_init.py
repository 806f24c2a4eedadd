"""`linckia tls init`: what it writes, where, with which rights, and that it replaces nothing unasked."""

from __future__ import annotations

import builtins
import os
import re
import stat
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from typer.testing import CliRunner

from linckia.cli.main import app
from linckia.host.tls_files import in_directory
from linckia.rpc.tls.contexts import Tls

pytestmark = pytest.mark.row("8.83")
NAMES = ("ca.crt", "ca.key", "node.crt", "node.key")


def run(*arguments: str, code: int = 0) -> str:
    """What it printed; on standard error alone when it failed."""
    result = CliRunner().invoke(app, ["tls", "init", *arguments])
    assert result.exit_code == code, result.output
    if code:
        assert not result.stdout
        assert len(result.stderr.splitlines()) == 1
    return result.stderr if code else result.stdout


def certificate(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def test_private_files_that_work(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "tls"
    told = run("--dir", str(folder), "--host", "head.rack", "--host", "10.0.0.7", "--host", "fe80::1", "--days=90")
    assert sorted(os.listdir(folder)) == sorted(NAMES)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE((folder / name).stat().st_mode) for name in NAMES} == {0o600}
    Tls(in_directory(str(folder))).check()
    node = certificate(folder / "node.crt")
    names = node.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["head.rack"]
    assert names.get_values_for_type(x509.IPAddress) == [ip_address("10.0.0.7"), ip_address("fe80::1")]
    purposes = node.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert set(purposes) == {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}
    assert (node.not_valid_after_utc - node.not_valid_before_utc).days == 90
    assert certificate(folder / "ca.crt").extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    for path in in_directory(str(folder)):
        assert path in told
    for command in ("start --head", "get-auth-token", "scp", "start --address", "export LINCKIA_USE_TLS=1"):
        assert command in told
    assert f"{node.not_valid_after_utc:%Y-%m-%d}" in told


def test_nothing_is_replaced_unasked(tmp_path: Path) -> None:
    folder = tmp_path / "tls"
    run("--dir", str(folder))
    before = {name: (folder / name).read_bytes() for name in NAMES}
    (folder / "ca.crt").unlink()
    told = run("--dir", str(folder), code=1)
    assert "has ca.key, node.crt, node.key already; --force" in told
    assert "ca.crt" not in os.listdir(folder)
    run("--dir", str(folder), "--force")
    assert all((folder / name).read_bytes() != before[name] for name in NAMES)
    Tls(in_directory(str(folder))).check()


def test_a_directory_that_others_may_enter(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    empty = tmp_path / "empty"
    empty.mkdir(mode=0o755)
    run("--dir", str(empty))
    assert stat.S_IMODE(empty.stat().st_mode) == 0o700
    assert "is open to others (mode 0755)" in run("--dir", str(tmp_path), code=1)
    assert os.listdir(tmp_path) == ["empty"]
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755


@pytest.mark.parametrize("host", ["a b", "a:6379", "10.0.0.1/8", "", "user@host", "bücher", "fe80::1%eth0"])
def test_hosts_that_are_none(tmp_path: Path, host: str) -> None:
    assert "expected a host name or an IP address" in run("--dir", str(tmp_path / "x"), "--host", host, code=1)
    assert not os.listdir(tmp_path)


def test_a_place_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert f"cannot write to {tmp_path}/file/tls" in run("--dir", f"{tmp_path}/file/tls", code=1)


def test_without_the_package_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = builtins.__import__

    def missing(name: str, *more: Any) -> Any:
        if name.partition(".")[0] == "cryptography":
            raise ImportError(name)
        return found(name, *more)

    monkeypatch.setattr(builtins, "__import__", missing)
    assert "pip install 'linckia[tls]'" in run("--dir", str(tmp_path / "x"), code=1)


def test_the_home_directory_is_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    told = run()
    assert sorted(os.listdir(tmp_path / ".linckia" / "tls")) == sorted(NAMES)
    assert re.search(r"^  export LINCKIA_USE_TLS=1$", told, re.MULTILINE), "nothing else has to be said"
