"""Settings of a Supabase project: their effects, and invalid ones."""

from __future__ import annotations

from typing import Any

import jwt
import pytest
from pydantic import ValidationError

from utils.config.settings import Settings, explain_settings

URL = "https://project.supabase.co"


def key_for(role: str) -> str:
    return jwt.encode({"role": role}, "k" * 32, algorithm="HS256")


def refusal(**changes: Any) -> str:
    """Return the message for invalid settings."""
    with pytest.raises(ValidationError) as refused:
        Settings.model_validate(changes)
    return "\n".join(explain_settings(refused.value))


@pytest.mark.parametrize("key", [key_for("service_role"), "sb_secret_abcdefgh"])
def test_a_project_and_its_server_key_hold_the_rows(key: str) -> None:
    settings = Settings(_env_file=None, supabase_url=f"{URL}/", supabase_service_role_key=key)
    assert settings.uses_supabase
    assert settings.supabase_url == URL
    assert settings.jwks_url == f"{URL}/auth/v1/.well-known/jwks.json"
    assert settings.token_issuer == f"{URL}/auth/v1"
    assert key in settings.secrets
    assert key not in repr(settings)


def test_a_project_alone_only_signs_users_in() -> None:
    settings = Settings(_env_file=None, supabase_url=URL)
    assert settings.verifies_supabase
    assert not settings.uses_supabase


def test_keys_and_issuer_can_be_elsewhere() -> None:
    settings = Settings(
        _env_file=None,
        supabase_url=URL,
        supabase_jwks_url="http://localhost:1/keys",
        supabase_issuer="https://sign-in.example",
    )
    assert settings.jwks_url == "http://localhost:1/keys"
    assert settings.token_issuer == "https://sign-in.example"


@pytest.mark.parametrize(
    "url",
    [
        "project.supabase.co",
        "https://",
        "ftp://project.supabase.co",
        "http://x.example",
        "http://10.0.0.1",
        "http://[fe80::1]",
    ],
)
def test_the_project_has_a_safe_url(url: str) -> None:
    assert "SUPABASE_URL: must" in refusal(supabase_url=url)


@pytest.mark.parametrize("url", ["http://kong:8000", "http://127.0.0.1:54321", "http://[::1]:1"])
def test_a_project_on_this_machine_or_in_a_container_network_needs_no_https(url: str) -> None:
    settings = Settings(_env_file=None, supabase_url=url)
    assert settings.supabase_url == url


@pytest.mark.parametrize("key", [key_for("anon"), "sb_publishable_abcdefgh", "password"])
def test_another_key_is_refused_with_the_place_of_the_right_one(key: str) -> None:
    said = refusal(supabase_url=URL, supabase_service_role_key=key)
    assert "SUPABASE_SERVICE_ROLE_KEY: this is " in said
    assert "service_role key or a secret key from Project Settings > API Keys" in said
    assert key not in said


def test_a_server_key_needs_its_project() -> None:
    said = refusal(supabase_service_role_key="sb_secret_abcdefgh")
    assert "SUPABASE_SERVICE_ROLE_KEY needs SUPABASE_URL" in said


def test_a_short_secret_is_refused_because_it_can_be_guessed() -> None:
    secret = "s" * 31
    said = refusal(supabase_jwt_secret=secret)
    assert "SUPABASE_JWT_SECRET: needs at least 32 characters" in said
    assert secret not in said
    assert Settings(_env_file=None, supabase_jwt_secret="s" * 32).verifies_supabase
