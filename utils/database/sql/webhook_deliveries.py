"""Stores received webhook deliveries in SQL."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import Connection, delete, insert

from utils.database.rows import now
from utils.database.schema import webhook_deliveries

REMEMBERED_DELIVERIES = timedelta(days=30)
"""Longer than GitHub offers to send a delivery again."""


def remember_delivery(connection: Connection, delivery_id: str) -> None:
    """Take a delivery, and forget old ones. Raises `Conflict` when it was taken before."""
    moment = now()
    old = webhook_deliveries.c.received_at < moment - REMEMBERED_DELIVERIES
    connection.execute(delete(webhook_deliveries).where(old))
    connection.execute(insert(webhook_deliveries), {"id": delivery_id, "received_at": moment})
