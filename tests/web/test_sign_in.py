"""A person signs in with a password at Supabase, or with an API key, and signs out."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest

from tests.fixtures.page import NewSite
from tests.support.live_server import ServerFactory
from tests.support.supabase.stack import SupabaseStack

pytestmark = pytest.mark.local_only("the page is the same for all sandboxes")

PASSWORD = "correct horse"


def test_a_user_of_supabase_signs_in_with_a_password(
    new_server: ServerFactory, new_site: NewSite, supabase_stack: SupabaseStack
) -> None:
    supabase_stack.clear()
    supabase_stack.sign_up("ada@example.com", PASSWORD)
    server = new_server(**supabase_stack.environment, TRUST_USER_ID="true")
    server.start()
    site = new_site(server.port, urlsplit(supabase_stack.url).netloc, refusals={400})
    site.go("/projects")
    site.fill("E-mail address", "ada@example.com")
    site.fill("Password", "a wrong one")
    site.click("Sign in")
    site.page.get_by_role("alert").get_by_text("Check the e-mail address").wait_for()
    site.fill("Password", PASSWORD)
    site.click("Sign in")
    site.heading("Projects").wait_for()
    site.go("/settings")
    site.page.get_by_text("Signed in: ada@example.com").wait_for()
    site.click("Sign out")
    site.page.get_by_label("Password", exact=True).wait_for()
    stored = site.page.evaluate("JSON.stringify({...localStorage, ...sessionStorage})")
    assert "access_token" not in stored


def test_an_api_key_signs_in_and_is_kept_in_the_tab_only(
    new_server: ServerFactory, new_site: NewSite
) -> None:
    server = new_server(TRUST_USER_ID="true")
    server.start()
    key = server.client().post("/keys", {"name": "page", "scope": "run"}).body["key"]
    site = new_site(server.port, refusals={401})
    site.go()
    site.page.get_by_text("Use an API key or a token").click()
    site.fill("API key or access token", "ac_wrong")
    site.click("Sign in with this key")
    site.page.get_by_role("alert").wait_for()
    site.fill("API key or access token", key)
    site.click("Sign in with this key")
    site.heading("New task").wait_for()
    assert key not in site.page.evaluate("JSON.stringify({...localStorage})")
    assert key not in site.page.url
