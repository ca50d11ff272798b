"""Makes tickets for clients that can send no header with a stream, such as a browser's EventSource.

A ticket stands in the URL, which servers and proxies log. So it is valid once and for a minute, and
allows nothing but to open a stream.
"""

from __future__ import annotations

import hashlib
import secrets
from datetime import UTC, datetime, timedelta

from database import Database
from utils.errors import Unauthenticated

TICKET_SECONDS = 60
_RANDOM_BYTES = 32


class StreamTickets:
    """Issues and redeems tickets. The database stores their SHA-256."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def issue(self, user_id: str) -> str:
        """Return a new ticket of a user. Raises `Unauthenticated` when the user is missing."""
        ticket = secrets.token_urlsafe(_RANDOM_BYTES)
        expires_at = datetime.now(UTC) + timedelta(seconds=TICKET_SECONDS)
        self._database.add_stream_ticket(user_id, _hash(ticket), expires_at)
        return ticket

    def redeem(self, ticket: str) -> str:
        """Return the user of a ticket, which is then used. Raises `Unauthenticated`."""
        user_id = self._database.use_stream_ticket(_hash(ticket), datetime.now(UTC))
        if user_id is None:
            raise Unauthenticated(
                "This ticket is unknown, was used, or is older than a minute. Get a new one from "
                "POST /events/ticket.",
                "ticket_invalid",
            )
        return user_id


def _hash(ticket: str) -> str:
    return hashlib.sha256(ticket.encode(errors="surrogateescape")).hexdigest()
