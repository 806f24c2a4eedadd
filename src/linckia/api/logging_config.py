"""LoggingConfig: how the workers of a job format their logs (R 1.8)."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from typing import Any

ENCODINGS = ("TEXT", "JSON")
_STANDARD = set(vars(logging.LogRecord("", 0, "", 0, "", (), None)))


class LoggingConfig:
    """``encoding`` TEXT or JSON, ``log_level`` a name, extra standard attributes of LogRecord to include."""

    def __init__(
        self,
        encoding: str = "TEXT",
        log_level: str = "INFO",
        additional_log_standard_attrs: Sequence[str] | None = None,
    ) -> None:
        if encoding not in ENCODINGS:
            raise ValueError(f"LoggingConfig(encoding={encoding!r}): must be one of {list(ENCODINGS)}")
        extra = list(additional_log_standard_attrs or [])
        unknown = [name for name in extra if name not in _STANDARD]
        if unknown:
            raise ValueError(f"LoggingConfig(additional_log_standard_attrs=...): {unknown} are no LogRecord attributes")
        self.encoding = encoding
        self.log_level = log_level
        self.additional_log_standard_attrs = extra

    def apply(self, executor: Any = None) -> None:
        """Configure this process's root logger."""
        handler = logging.StreamHandler()
        handler.setFormatter(_Formatter(self, executor))
        root = logging.getLogger()
        root.handlers[:] = [handler]
        root.setLevel(self.log_level)
        logging.getLogger("linckia").setLevel(self.log_level)
        if executor is not None:
            executor.plain_output = True


class _Formatter(logging.Formatter):
    def __init__(self, config: LoggingConfig, executor: Any) -> None:
        super().__init__("%(asctime)s\t%(levelname)s %(filename)s:%(lineno)s -- %(message)s")
        self._config, self._executor = config, executor

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        facts = self._facts(record)
        if self._config.encoding == "JSON":
            return json.dumps(facts)
        ids = " ".join(f"{key}={value}" for key, value in facts.items() if key.endswith("_id"))
        return f"{super().format(record)} {ids}".rstrip()

    def _facts(self, record: logging.LogRecord) -> dict[str, Any]:
        from linckia.api.runtime_context import get_runtime_context  # noqa: PLC0415  (not needed to configure)

        facts: dict[str, Any] = {
            "asctime": self.formatTime(record),
            "levelname": record.levelname,
            "message": record.getMessage(),
            "filename": record.filename,
            "lineno": record.lineno,
            "process": record.process,
        }
        context = get_runtime_context()
        facts.update(job_id=context.get_job_id(), worker_id=context.get_worker_id(), node_id=context.get_node_id())
        for name in ("task_id", "actor_id", "task_name", "actor_name"):
            value = getattr(context, f"get_{name}")()
            if value:
                facts[name] = value
        facts.update({name: getattr(record, name) for name in self._config.additional_log_standard_attrs})
        if record.exc_info:
            facts["exc_text"] = self.formatException(record.exc_info)
        facts.update({key: value for key, value in vars(record).items() if key not in _STANDARD and key not in facts})
        return facts
