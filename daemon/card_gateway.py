"""Stripe over HTTPS: an order out, an answer in, and what silence means.

Rule: each request is one connection with a time limit; whatever is lost on the way is GatewayAway. The key goes into
one header and nowhere else.
"""

from __future__ import annotations

import http.client
import os
import ssl
from pathlib import Path
from urllib.parse import urlsplit

from billing import stripe_dialect as stripe
from billing.card_gateway import ChargeOrder, GatewayAway, Outcome
from config.settings import CardSettings
from domain.errors import CaudalError
from domain.secret import Secret

ANSWER_SECONDS = 30.0
"""Stripe's own libraries wait for 80; a person waits here, and the order is asked again later."""
LARGEST_ANSWER_OCTETS = 1024 * 1024
KEY_CREDENTIAL, WEBHOOK_CREDENTIAL = "caudal.cards.key", "caudal.cards.webhook"
LOOPBACK = ("127.0.0.1", "::1", "localhost")
_OTHERS = 0o077


class CardSettingsError(CaudalError):
    """The gateway of cards cannot be used as configured."""


class StripeGateway:
    """Charges stored cards at Stripe, or at whoever speaks its dialect."""

    def __init__(self, url: str, key: Secret, timeout_seconds: float = ANSWER_SECONDS) -> None:
        parts = urlsplit(url)
        if parts.hostname is None or not (parts.scheme == "https" or parts.hostname in LOOPBACK):
            raise CardSettingsError(f"[cards] url {url!r} is no https:// address; without TLS the key would be read")
        self._host, self._port, self._is_tls = parts.hostname, parts.port, parts.scheme == "https"
        self._key = key
        self._timeout = timeout_seconds

    def charge(self, order: ChargeOrder) -> Outcome:
        """Charge a stored card. Raise GatewayAway."""
        return stripe.read_outcome(*self._ask("POST", "/v1/payment_intents", stripe.charge_form(order), order.key))

    def refund(self, charge_id: str, amount: int, key: str) -> Outcome:
        """Give back a part of a charge. Raise GatewayAway."""
        return stripe.read_outcome(*self._ask("POST", "/v1/refunds", stripe.refund_form(charge_id, amount, key), key))

    def find_charge(self, key: str) -> Outcome | None:
        """Look the charge with a key up. Raise GatewayAway."""
        return stripe.read_found(*self._ask("GET", stripe.find_charge_path(key)), key)

    def find_refund(self, charge_id: str, key: str) -> Outcome | None:
        """Look the refund with a key up. Raise GatewayAway."""
        return stripe.read_found(*self._ask("GET", stripe.find_refund_path(charge_id)), key)

    def _ask(self, method: str, path: str, form: str | None = None, key: str | None = None) -> tuple[int, bytes]:
        headers = {"Authorization": f"Bearer {self._key.reveal().decode()}", "Stripe-Version": stripe.VERSION}
        if form is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        if key is not None:
            headers["Idempotency-Key"] = key
        connection = self._connection()
        try:
            connection.request(method, path, form, headers)
            answer = connection.getresponse()
            return answer.status, answer.read(LARGEST_ANSWER_OCTETS)
        except (OSError, http.client.HTTPException) as error:
            reason = str(error) or type(error).__name__
            raise GatewayAway(
                f"the card gateway {self._host} gave no answer: {reason}; it is asked again with the same key"
            ) from None
        finally:
            connection.close()

    def _connection(self) -> http.client.HTTPConnection:
        if self._is_tls:
            context = ssl.create_default_context()
            return http.client.HTTPSConnection(self._host, self._port, timeout=self._timeout, context=context)
        return http.client.HTTPConnection(self._host, self._port, timeout=self._timeout)


def create(settings: CardSettings) -> StripeGateway | None:
    """Return the gateway that is configured; None: no cards are charged. Raise CardSettingsError."""
    if not settings.gateway:
        return None
    key = read_secret(settings.key_file, KEY_CREDENTIAL)
    if key is None:
        raise CardSettingsError(f"[cards] gateway needs `key_file`, or a systemd credential {KEY_CREDENTIAL}")
    return StripeGateway(settings.url, key)


def read_secret(file: str, credential: str) -> Secret | None:
    """Return the secret in a file, else in systemd's credential; None where neither is. Raise CardSettingsError."""
    directory = os.environ.get("CREDENTIALS_DIRECTORY")
    path = Path(file) if file else Path(directory or "/nonexistent") / credential
    if not file and not path.exists():
        return None
    try:
        if path.stat().st_mode & _OTHERS and file:
            raise CardSettingsError(f"{path} can be read by other users; run: chmod 600 {path}")
        text = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeError) as error:
        raise CardSettingsError(f"the secret in {path} cannot be read: {type(error).__name__}") from None
    if not text.isprintable() or not text:
        raise CardSettingsError(f"{path} does not hold one line of text")
    return Secret.from_text(text)
