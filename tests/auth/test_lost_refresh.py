"""A client whose refresh response is lost can retry and stays signed in."""

from __future__ import annotations

from werkzeug.test import TestResponse

from main import stop_app
from tests.conftest import MakeApp
from tests.support.backends import USER
from tests.support.supabase.faulty_proxy import FaultyProxy
from tests.support.supabase.settings import rows_in
from tests.support.supabase.stack import SupabaseStack

ROTATION = "/rest/v1/rpc/backend_rotate_refresh_token"


def test_a_refresh_that_was_not_answered_is_done_when_it_is_asked_for_again(
    supabase_stack: SupabaseStack, make_app: MakeApp
) -> None:
    supabase_stack.clear()
    with FaultyProxy(supabase_stack.url) as proxy:
        settings = rows_in(supabase_stack, supabase_url=proxy.url, trust_user_id=False)
        # So rarely that no heartbeat is among the counted requests.
        app = make_app(**settings, server_silence_seconds=3600)
        client = app.test_client()

        def sign_in_where_user_ids_are_believed() -> str:
            other = make_app(**rows_in(supabase_stack, trust_user_id=True))
            pair = other.test_client().post("/auth/token", json={"user_id": USER}).get_json()
            stop_app(other)
            return str(pair["refresh_token"])

        def refresh(token: str) -> TestResponse:
            return client.post("/auth/refresh", json={"refresh_token": token})

        first = sign_in_where_user_ids_are_believed()
        proxy.lost[ROTATION] = 1
        lost = refresh(first)
        assert (lost.status_code, "Retry-After" in lost.headers) == (503, True)
        supabase_stack.reset_requests()
        second = refresh(first)
        assert second.status_code == 200
        assert supabase_stack.requests() == {f"POST {ROTATION}": 1}
        assert refresh(second.get_json()["refresh_token"]).status_code == 200
        # It would send requests to an address that another server uses by then.
        stop_app(app)
