"""The host's entropy: the size asked for, and fresh each time."""

from __future__ import annotations

from linckia.host.entropy import random_bytes, random_generator


def test_random_bytes_have_the_size_and_differ() -> None:
    assert len(random_bytes(28)) == 28
    assert random_bytes(28) != random_bytes(28)


def test_each_generator_has_its_own_seed() -> None:
    assert random_generator().random() != random_generator().random()
