"""Records webhook deliveries so that none is handled twice, through Supabase."""

from __future__ import annotations

from utils.database.rows import now
from utils.database.shared import DELIVERY_RETENTION
from utils.database.supabase.rows import SupabaseMethods
from utils.models.tasks import Json


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
