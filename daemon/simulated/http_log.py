"""The HTTP server's own log: silent about what clients get wrong, loud about what we do."""

from __future__ import annotations

import logging

from aiohttp.http_exceptions import HttpProcessingError


def http_logger() -> logging.Logger:
    """Return the logger for ``web.Server``: a request that is no HTTP is its sender's error."""
    logger = logging.getLogger("daemon.simulated.http")
    if not logger.filters:
        logger.addFilter(_is_ours)
    return logger


def _is_ours(record: logging.LogRecord) -> bool:
    error = record.exc_info[1] if record.exc_info else None
    return not isinstance(error, HttpProcessingError)
