"""Structured logs: JSON for machines, coloured lines on a terminal.

Rule: every line goes to standard error, where systemd or a person reads it; events are constant words, facts fields.
"""

from __future__ import annotations

import logging
import sys

import structlog

from config.settings import LogFormat, LogLevel

_LEVELS = {
    LogLevel.DEBUG: logging.DEBUG,
    LogLevel.INFO: logging.INFO,
    LogLevel.WARNING: logging.WARNING,
    LogLevel.ERROR: logging.ERROR,
}


def configure(level: LogLevel, style: LogFormat) -> None:
    """Direct structlog, and the libraries' warnings, to standard error."""
    colours = style is LogFormat.CONSOLE or (style is LogFormat.AUTO and sys.stderr.isatty())
    renderer: structlog.typing.Processor = (
        # Plain tracebacks: the rich ones print local variables, secrets among them.
        structlog.dev.ConsoleRenderer(pad_event_to=32, exception_formatter=structlog.dev.plain_traceback)
        if colours
        else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="%H:%M:%S" if colours else "iso", utc=not colours),
            structlog.processors.StackInfoRenderer(),
            *(() if colours else (structlog.processors.format_exc_info,)),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(levelname)s %(name)s %(message)s")
