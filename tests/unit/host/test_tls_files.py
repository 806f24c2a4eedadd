"""Which files of TLS a process takes: options before the environment, all of them or a sentence, Ray's names too."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from linckia.host import tls_files
from linckia.host.tls_files import TlsFiles, TlsFilesError

pytestmark = pytest.mark.row("8.83")
FILES = TlsFiles("/t/node.crt", "/t/node.key", "/t/ca.crt")
NAMES = dict(zip(tls_files.VARIABLES, FILES, strict=True))


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No setting of whoever runs the tests, and a home of its own."""
    for prefix in ("LINCKIA", "RAY"):
        for name in ("USE_TLS", *tls_files.VARIABLES):
            monkeypatch.delenv(f"{prefix}_{name}", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("LINCKIA_TMPDIR", str(tmp_path))


def say(monkeypatch: pytest.MonkeyPatch, prefix: str, **settings: str) -> None:
    for name, value in settings.items():
        monkeypatch.setenv(f"{prefix}_{name}", value)


def test_without_a_word_there_is_no_tls(monkeypatch: pytest.MonkeyPatch) -> None:
    assert tls_files.configured() is None
    assert tls_files.configured_for("10.0.0.1:6379") is None
    say(monkeypatch, "LINCKIA", **NAMES)
    assert tls_files.configured() is None, "files alone turn nothing on, as with Ray"


@pytest.mark.parametrize("prefix", ["LINCKIA", "RAY"])
def test_the_environment(monkeypatch: pytest.MonkeyPatch, prefix: str) -> None:
    say(monkeypatch, prefix, USE_TLS="1", **NAMES)
    assert tls_files.configured() == tls_files.configured_for("10.0.0.1:6379") == FILES


@pytest.mark.parametrize("value", ["0", "false", "no"])
def test_no_means_no_whatever_ray_says(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    say(monkeypatch, "RAY", USE_TLS="1", **NAMES)
    say(monkeypatch, "LINCKIA", USE_TLS=value)
    assert tls_files.configured() is None
    assert tls_files.configured_for("10.0.0.1:6379") is None


def test_options_win_and_need_no_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    say(monkeypatch, "LINCKIA", USE_TLS="1", **NAMES)
    assert tls_files.configured("/o/a", "/o/b", "/o/c") == TlsFiles("/o/a", "/o/b", "/o/c")


def test_paths_are_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert tls_files.configured("a", "b/c", "/d") == TlsFiles(f"{tmp_path}/a", f"{tmp_path}/b/c", "/d")


def test_half_of_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TlsFilesError, match=r"^--tls-key is missing: TLS needs all of them"):
        tls_files.configured("a", "", "c")
    say(monkeypatch, "LINCKIA", USE_TLS="1", TLS_SERVER_KEY="k")
    with pytest.raises(TlsFilesError, match=r"LINCKIA_TLS_SERVER_CERT and LINCKIA_TLS_CA_CERT is missing"):
        tls_files.configured()


def test_what_tls_init_wrote_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    say(monkeypatch, "LINCKIA", USE_TLS="1")
    with pytest.raises(TlsFilesError, match="linckia tls init"):
        tls_files.configured()
    folder = tls_files.default_directory()
    os.makedirs(folder)
    Path(folder, tls_files.CA_NAME).touch()
    assert tls_files.configured() == tls_files.in_directory(folder)
