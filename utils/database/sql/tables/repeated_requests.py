"""Recognizes repeated requests, those of clients and the deliveries of GitHub, in SQL."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, delete, insert, select, update

from utils.database.rows import now
from utils.database.schema import request_keys, webhook_deliveries
from utils.database.shared import (
    DELIVERY_RETENTION,
    REQUEST_KEY_LEASE,
    REQUEST_KEY_RETENTION,
    key_in_use,
    key_reused,
)
from utils.database.sql.engine import SqlMethods, reading, writing
from utils.errors import Conflict
from utils.models.tasks import Json


class IdempotencyMethods(SqlMethods):
    """Methods on requests with an Idempotency-Key."""

    def begin_request(self, user_id: str, key: str, fingerprint: str) -> Json | None:
        """See `Database`."""
        try:
            return self._begin(user_id, key, fingerprint)
        except Conflict as error:
            if error.code != Conflict.default_code:
                raise
        # Another request with this key was faster.
        return self._begin(user_id, key, fingerprint)

    @writing
    def _begin(
        self, connection: Connection, user_id: str, key: str, fingerprint: str
    ) -> Json | None:
        moment = now()
        old = request_keys.c.created_at < moment - REQUEST_KEY_RETENTION
        connection.execute(delete(request_keys).where(old))
        this_one = _this_one(user_id, key)
        stored = connection.execute(select(request_keys).where(this_one).with_for_update()).first()
        if stored is None:
            moments = {"created_at": moment, "claimed_at": moment}
            values = {"user_id": user_id, "key": key, "fingerprint": fingerprint, **moments}
            connection.execute(insert(request_keys), values)
            return None
        if stored.fingerprint != fingerprint:
            raise key_reused()
        if stored.answer is not None:
            answer: Json = stored.answer
            return answer
        if stored.claimed_at > moment - REQUEST_KEY_LEASE:
            raise key_in_use()
        connection.execute(update(request_keys).where(this_one).values(claimed_at=moment))
        return None

    @writing
    def store_answer(self, connection: Connection, user_id: str, key: str, answer: Json) -> None:
        """See `Database`."""
        store_answer(connection, user_id, key, answer)

    @writing
    def release_request(self, connection: Connection, user_id: str, key: str) -> None:
        """See `Database`."""
        unanswered = and_(_this_one(user_id, key), request_keys.c.answer.is_(None))
        connection.execute(delete(request_keys).where(unanswered))


def store_answer(connection: Connection, user_id: str, key: str, answer: Json) -> None:
    """Store the answer to a reserved request."""
    connection.execute(update(request_keys).where(_this_one(user_id, key)).values(answer=answer))


def _this_one(user_id: str, key: str) -> ColumnElement[Any]:
    return and_(request_keys.c.user_id == user_id, request_keys.c.key == key)


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
