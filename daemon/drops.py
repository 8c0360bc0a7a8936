"""Why a datagram is not processed or a request not answered: the closed set behind one counter.

Rule: whoever stays silent names one of these; docs/metrics.md tells an operator what each means and what to do.
Datagrams that are no RADIUS packets carry the names of `radius.packet.Flaw` instead.
"""

from __future__ import annotations

from enum import Enum


class Drop(Enum):
    """A reason for silence."""

    UNKNOWN_SOURCE = "unknown_source"
    UNEXPECTED_CODE = "unexpected_code"
    WRONG_AUTHENTICATOR = "wrong_authenticator"
    WRONG_MESSAGE_AUTHENTICATOR = "wrong_message_authenticator"
    MISSING_MESSAGE_AUTHENTICATOR = "missing_message_authenticator"
    PENDING_DUPLICATE = "pending_duplicate"
    RATE_LIMIT = "rate_limit"
    STATUS_RATE_LIMIT = "status_rate_limit"
    DATABASE_AWAY = "database_away"
    OVERLOAD = "overload"
    DEFERRED = "deferred"
    PLAN_UNKNOWN = "plan_unknown"
    VAULT = "vault"
    REPLY_TOO_LONG = "reply_too_long"
    DEFECT = "defect"
    RECEIVE_BUFFER = "receive_buffer"
    UNSENT = "unsent"
