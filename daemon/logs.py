"""Structured logs: JSON for machines, coloured lines on a terminal.

Rule: every line goes to standard error, where systemd or a person reads it; events are constant words, facts fields.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from typing import Any

import structlog

from config.settings import LogFormat, LogLevel

_LEVELS = {
    LogLevel.DEBUG: logging.DEBUG,
    LogLevel.INFO: logging.INFO,
    LogLevel.WARNING: logging.WARNING,
    LogLevel.ERROR: logging.ERROR,
}


_processors: list[structlog.typing.Processor] = []
"""One list for ever: loggers keep what they were given first, and a reload must reach them."""


def configure(level: LogLevel, style: LogFormat) -> None:
    """Direct structlog, and the libraries' warnings, to standard error; repeat it to change what is in force."""
    colours = style is LogFormat.CONSOLE or (style is LogFormat.AUTO and sys.stderr.isatty())
    renderer: structlog.typing.Processor = (
        # Plain tracebacks: the rich ones print local variables, secrets among them.
        structlog.dev.ConsoleRenderer(pad_event_to=32, exception_formatter=structlog.dev.plain_traceback)
        if colours
        else structlog.processors.JSONRenderer()
    )
    _processors[:] = [
        _above(_LEVELS[level]),
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="%H:%M:%S" if colours else "iso", utc=not colours),
        structlog.processors.StackInfoRenderer(),
        *(() if colours else (structlog.processors.format_exc_info,)),
        renderer,
    ]
    structlog.configure(
        processors=_processors,
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG),
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(levelname)s %(name)s %(message)s")
    logging.getLogger("apscheduler.executors.default").addFilter(_is_fault)


def _is_fault(record: logging.LogRecord) -> bool:
    """Tell whether a message of the scheduler is about more than a job that the daemon's end cut off."""
    return not (record.exc_info and isinstance(record.exc_info[1], asyncio.CancelledError))


def _above(threshold: int) -> structlog.typing.Processor:
    """Return a processor that drops what is less important than `threshold`."""

    levels = logging.getLevelNamesMapping()

    def drop(_logger: Any, method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        # `exception` is no level of its own.
        if levels.get(method.upper(), logging.ERROR) < threshold:
            raise structlog.DropEvent
        return event

    return drop
