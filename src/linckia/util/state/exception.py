"""What the state API raises."""

from __future__ import annotations


class RayStateApiException(Exception):
    """The question cannot be answered, or not completely; the text says what is missing and what to do."""


class DataSourceUnavailable(Exception):
    """A source did not answer. Kept for programs that catch it: here RayStateApiException names the source."""


class ServerUnavailable(Exception):
    """No cluster answers at the address."""
