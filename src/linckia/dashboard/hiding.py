"""What a page does not show: values of environment variables, where programs have their passwords (R 8.48)."""

from __future__ import annotations

from typing import Any, Final

import msgspec

HIDDEN: Final = "(hidden)"


def without_secrets(value: Any) -> Any:
    """The same, with all values of ``env_vars`` hidden, also inside of runtime environments that are kept as text."""
    if isinstance(value, dict):
        return {key: _shown(key, inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [without_secrets(inner) for inner in value]
    return value


def _shown(key: object, value: Any) -> Any:
    if key == "env_vars" and value:
        return dict.fromkeys(value, HIDDEN) if isinstance(value, dict) else HIDDEN
    if key == "serialized_runtime_env" and isinstance(value, str):
        return _text_without_secrets(value)
    return without_secrets(value)


def _text_without_secrets(text: str) -> str:
    if not text or text == "{}":
        return text
    try:
        return msgspec.json.encode(without_secrets(msgspec.json.decode(text))).decode()
    except msgspec.DecodeError:
        return HIDDEN
