"""Records webhook deliveries so that none is handled twice, in SQL."""

from __future__ import annotations

from sqlalchemy import Connection, delete, insert, select

from utils.database.rows import now
from utils.database.schema import webhook_deliveries
from utils.database.shared import DELIVERY_RETENTION
from utils.database.sql.engine import SqlMethods, reading, writing
from utils.errors import Conflict


class WebhookDeliveryMethods(SqlMethods):
    """Methods on webhook deliveries."""

    @reading
    def has_delivery(self, connection: Connection, delivery_id: str) -> bool:
        """See `Database`."""
        this_one = select(webhook_deliveries.c.id).where(webhook_deliveries.c.id == delivery_id)
        return connection.execute(this_one).first() is not None

    def record_delivery(self, delivery_id: str) -> bool:
        """See `Database`."""
        try:
            self._add_delivery(delivery_id)
        except Conflict:
            return False
        return True

    @writing
    def _add_delivery(self, connection: Connection, delivery_id: str) -> None:
        insert_delivery(connection, delivery_id)


def insert_delivery(connection: Connection, delivery_id: str) -> None:
    """Insert a delivery and delete old ones. Raises `Conflict` when it is recorded already."""
    moment = now()
    old = webhook_deliveries.c.received_at < moment - DELIVERY_RETENTION
    connection.execute(delete(webhook_deliveries).where(old))
    connection.execute(insert(webhook_deliveries), {"id": delivery_id, "received_at": moment})
