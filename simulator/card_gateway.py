"""A gateway of cards that speaks Stripe's wire on loopback and moves no money: PaymentIntents, Refunds, messages.

Rule: what one Idempotency-Key says is done once, whatever fault follows it. A fault is ordered for the next orders and
is what real gateways do: a decline, an answer that is lost after the money moved, a status 500, a slow answer.
"""

from __future__ import annotations

import http.client
import json
import threading
import time
from dataclasses import dataclass, field
from enum import Enum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

LONGEST_FORM = 65_536


class CardFault(Enum):
    """What goes wrong with an order."""

    DECLINE = "decline"
    LOST_ANSWER = "lost-answer"
    """The money moves, and nobody is told."""
    SERVER_ERROR = "server-error"
    """Status 500, and nothing was done."""
    SLOW = "slow"
    PENDING = "pending"


@dataclass
class Book:
    """What the gateway did: things by id, answers by key, faults that wait."""

    things: dict[str, dict[str, Any]] = field(default_factory=dict)
    answers: dict[str, tuple[int, dict[str, Any]]] = field(default_factory=dict)
    faults: list[CardFault] = field(default_factory=list)
    requests: list[tuple[str, str, str]] = field(default_factory=list)
    """Method, path and key of each request."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def moved(self, kind: str) -> list[dict[str, Any]]:
        """Return the things of a kind that succeeded."""
        with self.lock:
            return [each for each in self.things.values() if each["object"] == kind and each["status"] == "succeeded"]

    def order(self, kind: str, form: dict[str, str], key: str, fault: CardFault | None) -> tuple[int, dict[str, Any]]:
        """Do what a key says, once; return status and answer."""
        with self.lock:
            if key in self.answers:
                return self.answers[key]
            if fault is CardFault.SERVER_ERROR:
                return 500, {"error": {"type": "api_error", "message": "an error of ours"}}
            prefix = "pi" if kind == "payment_intent" else "re"
            thing: dict[str, Any] = {
                "id": f"{prefix}_{len(self.things) + 1}",
                "object": kind,
                "amount": int(form["amount"]),
                "status": "processing" if fault is CardFault.PENDING else "succeeded",
                "payment_intent": form.get("payment_intent"),
                "metadata": {name[len("metadata[") : -1]: text for name, text in form.items() if "[" in name},
            }
            self.things[thing["id"]] = thing
            answer: tuple[int, dict[str, Any]] = (200, thing)
            if fault is CardFault.DECLINE:
                thing["status"] = "requires_payment_method"
                error = {"type": "card_error", "code": "card_declined", "message": "Your card was declined."}
                answer = (402, {"error": error | {"payment_intent": thing}})
            self.answers[key] = answer
            return answer

    def found(self, path: str, query: dict[str, list[str]]) -> dict[str, Any]:
        """Return what a search or a listing finds."""
        with self.lock:
            if path.endswith("/search"):
                wanted = query["query"][0].rpartition(":")[2].strip("'\"")
                return {"data": [each for each in self.things.values() if wanted in each["metadata"].values()]}
            charge = query["payment_intent"][0]
            return {"data": [each for each in self.things.values() if each["payment_intent"] == charge]}


class SimulatedCardGateway:
    """Listens on loopback; `url` is what `[cards]` names."""

    def __init__(self, key: str, slow_seconds: float = 0.0) -> None:
        book = self.book = Book()

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                """Keep quiet."""

            def do_GET(self) -> None:
                if self._is_ours():
                    parts = urlsplit(self.path)
                    self._answer(200, book.found(parts.path, parse_qs(parts.query)))

            def do_POST(self) -> None:
                length = min(int(self.headers.get("Content-Length", 0)), LONGEST_FORM)
                form = {name: values[-1] for name, values in parse_qs(self.rfile.read(length).decode()).items()}
                if not self._is_ours():
                    return
                with book.lock:
                    fault = book.faults.pop(0) if book.faults else None
                if fault is CardFault.SLOW:
                    time.sleep(slow_seconds)
                kind = "refund" if self.path == "/v1/refunds" else "payment_intent"
                status, answer = book.order(kind, form, self.headers["Idempotency-Key"], fault)
                if fault is CardFault.LOST_ANSWER:
                    self.close_connection = True
                    return
                self._answer(status, answer)

            def _is_ours(self) -> bool:
                with book.lock:
                    book.requests.append((self.command, self.path, self.headers.get("Idempotency-Key", "")))
                if self.headers.get("Authorization") == f"Bearer {key}":
                    return True
                self._answer(401, {"error": {"type": "invalid_request_error", "message": "Invalid API Key provided"}})
                return False

            def _answer(self, status: int, answer: dict[str, Any]) -> None:
                body = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def event(self, thing: dict[str, Any], number: int, told: str = "") -> bytes:
        """Return the message that tells what became of a charge; or another one, by its type, of a thing."""
        word = "succeeded" if thing["status"] == "succeeded" else "payment_failed"
        message = {"id": f"evt_{number}", "type": told or f"payment_intent.{word}", "data": {"object": thing}}
        return json.dumps(message).encode()


def tell(host: str, port: int, body: bytes, signature: str) -> int:
    """Send a message to a webhook and return the status of its answer."""
    connection = http.client.HTTPConnection(host, port, timeout=30)
    try:
        connection.request("POST", "/cards", body, {"Stripe-Signature": signature})
        return connection.getresponse().status
    finally:
        connection.close()
