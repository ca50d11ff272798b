"""Recognizes repeated requests, those of clients and GitHub's deliveries, through Supabase."""

from __future__ import annotations

from utils.database.rows import now
from utils.database.shared import (
    DELIVERY_RETENTION,
    REQUEST_KEY_LEASE,
    REQUEST_KEY_RETENTION,
    key_in_use,
    key_reused,
)
from utils.database.supabase.rows import SupabaseMethods
from utils.database.types import normalize_user_id, sanitize
from utils.models.tasks import Json


class IdempotencyMethods(SupabaseMethods):
    """Methods on requests with an Idempotency-Key."""

    def begin_request(self, user_id: str, key: str, fingerprint: str) -> Json | None:
        """See `Database`."""
        moment = now()
        arguments = {
            "this_user": normalize_user_id(user_id),
            "this_key": key,
            "this_fingerprint": fingerprint,
            "horizon": (moment - REQUEST_KEY_RETENTION).isoformat(),
            "broken_off": (moment - REQUEST_KEY_LEASE).isoformat(),
        }
        found = self.supabase.call("backend_begin_request", arguments, idempotent=False)
        if found["outcome"] == "other":
            raise key_reused()
        if found["outcome"] == "running":
            raise key_in_use()
        answer: Json | None = found["answer"]
        return answer

    def store_answer(self, user_id: str, key: str, answer: Json) -> None:
        """See `Database`."""
        request = (
            self.supabase.table("request_keys")
            .update({"answer": sanitize(answer)})
            .eq("user_id", normalize_user_id(user_id))
            .eq("key", key)
        )
        self.supabase.rows(request, idempotent=True)

    def release_request(self, user_id: str, key: str) -> None:
        """See `Database`."""
        request = (
            self.supabase.table("request_keys")
            .delete()
            .eq("user_id", normalize_user_id(user_id))
            .eq("key", key)
            .is_("answer", "null")
        )
        self.supabase.rows(request, idempotent=True)


class WebhookDeliveryMethods(SupabaseMethods):
    """Methods on webhook deliveries."""

    def has_delivery(self, delivery_id: str) -> bool:
        """See `Database`."""
        request = self.supabase.table("webhook_deliveries").select("id").eq("id", delivery_id)
        return bool(self.supabase.rows(request, idempotent=True))

    def record_delivery(self, delivery_id: str) -> bool:
        """See `Database`."""
        arguments = delivery_arguments(delivery_id)
        is_new: bool = self.supabase.call("backend_take_delivery", arguments, idempotent=False)
        return is_new


def delivery_arguments(delivery_id: str) -> Json:
    """Return the arguments that record a delivery and delete those older than `horizon`."""
    return {"delivery": delivery_id, "horizon": (now() - DELIVERY_RETENTION).isoformat()}
