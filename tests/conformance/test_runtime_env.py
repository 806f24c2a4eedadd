"""`runtime_env` with directories of the job: workers run in a copy of them, and import from it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from engine import IS_LINCKIA, module, ray


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A directory with a module, data, and what should not be sent."""
    folder = tmp_path / "project"
    (folder / "data").mkdir(parents=True)
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "old.pyc").write_text("old")
    (folder / "conformance_sibling.py").write_text("def answer():\n    return 42\n")
    (folder / "data" / "table.txt").write_text("a table")
    (folder / "data" / "huge.bin").write_text("huge")
    return folder


@pytest.mark.row("1.7", "9.1")
def test_workers_run_in_a_copy_of_the_working_directory(fresh: Any, project: Path) -> None:
    here = os.getcwd()
    fresh(runtime_env={"working_dir": str(project), "excludes": ["*.bin"]})

    @ray.remote
    def look() -> tuple[str, int, list[str]]:
        import conformance_sibling  # noqa: PLC0415  # pyright: ignore[reportMissingImports]

        found = sorted(str(path) for path in Path().rglob("*") if "__pycache__" not in str(path))
        return os.getcwd(), conformance_sibling.answer(), found

    @ray.remote
    class Looker:
        def read(self) -> str:
            return Path("data/table.txt").read_text()

    folder, answer, found = ray.get(look.remote())
    assert answer == 42
    assert found == ["conformance_sibling.py", "data", "data/table.txt"]
    assert folder not in (str(project), here)
    assert os.getcwd() == here, "the driver stays where it is"
    assert ray.get(Looker.remote().read.remote()) == "a table"
    assert dict(ray.get_runtime_context().runtime_env)["working_dir"].startswith("gcs://")


@pytest.mark.row("1.7", "9.2")
def test_modules_of_the_job_are_importable(fresh: Any, tmp_path: Path) -> None:
    package = tmp_path / "conformance_package"
    package.mkdir()
    (package / "__init__.py").write_text("NAME = 'a package'\n")
    fresh(runtime_env={"py_modules": [str(package)], "env_vars": {"CONFORMANCE_A": "1"}})

    @ray.remote
    def look() -> tuple[str, str]:
        import conformance_package  # noqa: PLC0415  # pyright: ignore[reportMissingImports]

        return conformance_package.NAME, os.environ["CONFORMANCE_A"]

    assert ray.get(look.remote()) == ("a package", "1")


@pytest.mark.row("1.7", "9.1")
@pytest.mark.parametrize("field", ["working_dir", "py_modules"])
def test_a_directory_that_is_not_there_is_refused(fresh: Any, tmp_path: Path, field: str) -> None:
    missing = str(tmp_path / "missing")
    with pytest.raises(ValueError, match="missing"):
        fresh(runtime_env={field: [missing] if field == "py_modules" else missing})
    assert not ray.is_initialized()


@pytest.mark.row("9.17")
@pytest.mark.skipif(not IS_LINCKIA, reason="Ray tries for minutes")
def test_an_unknown_package_is_the_error_of_the_task(fresh: Any) -> None:
    fresh()

    @ray.remote(runtime_env={"working_dir": "gcs://_linckia_pkg_nobody_uploaded.zip"}, max_retries=0)
    def never() -> int:
        return 1

    @ray.remote(runtime_env={"working_dir": "gcs://_linckia_pkg_nobody_uploaded.zip"})
    class Never:
        def call(self) -> int:
            return 1

    failure = module("exceptions").RuntimeEnvSetupError
    with pytest.raises(failure, match="nobody_uploaded"):
        ray.get(never.remote(), timeout=60)
    with pytest.raises((failure, module("exceptions").ActorDiedError), match="nobody_uploaded"):
        ray.get(Never.remote().call.remote(), timeout=60)
