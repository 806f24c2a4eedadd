"""What users may write as a checkpoint policy, and what they are told when it is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import linckia
from linckia.model.checkpoints import decode_policy, encode_policy


def test_it_travels() -> None:
    policy = linckia.CheckpointPolicy(every_s=1.5, every_calls=10, keep=3, dir="file:///mnt/shared/state/")
    assert policy.dir == "/mnt/shared/state"
    assert decode_policy(encode_policy(policy)) == policy


def test_a_path_object_is_a_path() -> None:
    assert linckia.CheckpointPolicy(dir=Path("/tmp/x")).dir == "/tmp/x"  # type: ignore[arg-type]
    assert linckia.CheckpointPolicy(dir="file://localhost/tmp/x").dir == "/tmp/x"


@pytest.mark.parametrize(
    ("given", "error", "told"),
    [
        ({"every_s": 0}, ValueError, "every_s"),
        ({"every_s": float("nan")}, ValueError, "every_s"),
        ({"every_s": "1"}, TypeError, "every_s"),
        ({"every_calls": 0}, ValueError, "every_calls"),
        ({"every_calls": 1.5}, TypeError, "every_calls"),
        ({"keep": 0}, ValueError, "keep"),
        ({"keep": None}, TypeError, "keep"),
        ({"keep": True}, TypeError, "keep"),
        ({"dir": "relative/path"}, ValueError, "absolute"),
        ({"dir": "s3://bucket/x"}, ValueError, "s3://"),
        ({"dir": "file://other-host/x"}, ValueError, "other-host"),
        ({"dir": 7}, TypeError, "dir"),
    ],
)
def test_what_is_wrong_is_named(given: dict[str, Any], error: type[Exception], told: str) -> None:
    with pytest.raises(error, match=told):
        linckia.CheckpointPolicy(**given)


def test_a_class_with_both_methods_is_checkpointable() -> None:
    class Both:
        def save_checkpoint(self) -> int:
            return 1

        def load_checkpoint(self, state: int, info: linckia.CheckpointInfo) -> None:
            del state, info

    assert isinstance(Both(), linckia.Checkpointable)
    assert not isinstance(object(), linckia.Checkpointable)
