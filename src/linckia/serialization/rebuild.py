"""What unpickling calls to rebuild buffers' users: read-only memoryviews and numpy arrays on the buffer itself.

Its function names are inside every stored value: do not rename or move them. It imports nothing but numpy, and that
only for values that numpy has written.
"""

from __future__ import annotations

from typing import Any, Literal


def view(buffer: Any, fmt: str, shape: tuple[int, ...]) -> memoryview:
    """A read-only memoryview of this format and shape."""
    flat = memoryview(buffer).toreadonly().cast("B")
    if len(shape) != 1 and 0 not in shape:
        return flat.cast(fmt, shape)  # type: ignore[call-overload, no-any-return]
    return flat if fmt == "B" else flat.cast(fmt)  # type: ignore[call-overload]


def array(buffer: Any, dtype: str, shape: tuple[int, ...], order: Literal["C", "F"]) -> Any:
    """A numpy array on ``buffer``: read-only when the buffer is."""
    import numpy  # noqa: PLC0415  (start-up time: only readers of arrays need numpy)

    return numpy.ndarray(shape, dtype, buffer, 0, None, order)


def scalar(dtype: str, data: bytes) -> Any:
    """A numpy scalar."""
    import numpy  # noqa: PLC0415  (start-up time: only readers of numpy scalars need numpy)

    return numpy.frombuffer(data, dtype)[0]
