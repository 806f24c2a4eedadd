"""joblib (and with it scikit-learn) on the cluster: `register_linckia()`, then `parallel_backend("linckia")`.

User programs call it once. `register_ray` is the same for programs that say "ray". The backend is in backend.py.
"""

from __future__ import annotations


def register_linckia() -> None:
    """Make the joblib backends "linckia" and "ray" known in this process. ImportError when joblib is not installed."""
    try:
        import joblib  # noqa: PLC0415 - optional: only who calls this needs it

        from linckia.util.joblib.backend import LinckiaBackend  # noqa: PLC0415 - imports joblib at its top
    except ImportError as error:
        raise ImportError("register_linckia needs joblib: pip install joblib") from error
    joblib.register_parallel_backend("linckia", LinckiaBackend)
    joblib.register_parallel_backend("ray", LinckiaBackend)


def register_ray() -> None:
    """`register_linckia` under Ray's name."""
    register_linckia()


__all__ = ["register_linckia", "register_ray"]
