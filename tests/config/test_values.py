"""Tests that each setting is understood as people and dashboards write it, or refused by name."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr, ValidationError

from utils.config.settings import Settings, explain_settings

PROJECT = "abcdefghijklmnopqrst"
SECRET = "marked4711"


def read(name: str, value: str) -> Any:
    """Return a setting as the server reads it."""
    found = getattr(Settings.model_validate({name: value}), name)
    return found.get_secret_value() if isinstance(found, SecretStr) else found


def refusal(name: str, value: str) -> str:
    """Return the message for an invalid setting, which names it and does not repeat the value."""
    with pytest.raises(ValidationError) as refused:
        Settings.model_validate({name: value})
    said = "\n".join(explain_settings(refused.value))
    assert f"  {name.upper()}: " in said
    assert SECRET not in said
    return said


@pytest.mark.parametrize(
    ("name", "value", "meant"),
    [
        ("e2b_api_key", " e2b_abc\r\n", "e2b_abc"),
        ("e2b_api_key", '"e2b_abc"', "e2b_abc"),
        ("anthropic_api_key", "'sk-ant-api03-abc'\n", "sk-ant-api03-abc"),
        ("openai_api_key", "OPENAI_API_KEY=sk-abc", "sk-abc"),
        ("openai_api_key", "\u201csk-abc\u201d", "sk-abc"),
        ("github_token", "Bearer ghp_abc\n", "ghp_abc"),
        ("e2b_api_key", '""', None),
        ("e2b_api_key", " \n", None),
        ("environment", "Dev", "development"),
        ("log_level", "warn", "WARNING"),
        ("log_format", "JSON", "json"),
        ("port", ":8001", 8001),
        ("port", '"8001"', 8001),
        ("max_patch_bytes", "10MB", 10_000_000),
        ("max_patch_bytes", "2 MiB", 2 * 1024**2),
        ("clone_timeout_seconds", "5m", 300),
        ("clone_timeout_seconds", "90s", 90),
        ("refresh_token_seconds", "7d", 604_800),
        ("host", "[::1]", "::1"),
        ("host", "*", "0.0.0.0"),
        ("cors_origins", "https://A.example/, http://b.example:80", None),
        ("cors_origins", '["https://a.example"]', ("https://a.example",)),
        ("allowed_git_hosts", "github.com gitlab.com;git.example", None),
        ("claude_models", '"sonnet", "opus"', ("sonnet", "opus")),
        ("data_dir", "~/data", Path.home() / "data"),
        ("mirror_dir", "~/mirrors", Path.home() / "mirrors"),
        ("github_api_url", "https://github.com/", "https://api.github.com"),
        ("github_api_url", "https://www.github.com", "https://api.github.com"),
        ("github_api_url", "https://github.com:443", "https://api.github.com"),
        ("github_api_url", "https://git.example", "https://git.example/api/v3"),
        ("github_api_url", "https://git.example/api/v3/", "https://git.example/api/v3"),
        ("supabase_url", f"https://{PROJECT}.supabase.co/rest/v1/", None),
        ("supabase_url", f"https://{PROJECT}.supabase.co/auth/v1", None),
        ("supabase_url", f"{PROJECT}.supabase.co", None),
        ("supabase_url", PROJECT, None),
        ("supabase_url", f"https://supabase.com/dashboard/project/{PROJECT}/settings/api", None),
        ("secret_key", f' "{"x" * 32}" ', f' "{"x" * 32}" '),
    ],
)
def test_a_setting_is_brought_to_the_form_that_it_means(
    name: str, value: str, meant: object
) -> None:
    expected = {
        "https://A.example/, http://b.example:80": ("https://a.example", "http://b.example"),
        "github.com gitlab.com;git.example": ("github.com", "gitlab.com", "git.example"),
    }.get(value, f"https://{PROJECT}.supabase.co" if name == "supabase_url" else meant)
    assert read(name, value) == expected


@pytest.mark.parametrize(
    ("name", "value", "advice"),
    [
        ("e2b_api_key", f"e2b_{SECRET}\nabc", "copy it again"),
        ("e2b_api_key", f"sk_e2b_{SECRET}", "begins with e2b_"),
        ("e2b_api_key", "<your key>", "placeholder"),
        ("anthropic_api_key", f"sk-proj-{SECRET}", "OPENAI_API_KEY"),
        ("anthropic_api_key", f"sk-ant-oat01-{SECRET}", "API key"),
        ("anthropic_api_key", "sk-...", "placeholder"),
        ("openai_api_key", f"sk-ant-{SECRET}", "ANTHROPIC_API_KEY"),
        ("github_token", "your_token_here", "placeholder"),
        ("jwt_secret", "your-super-secret-jwt-token-with-at-least-32-characters-long", "openssl"),
        ("secret_key", "change-me-" * 4, "openssl"),
        ("port", "tcp://10.0.0.1:8000", "integer"),
        ("host", f"https://{SECRET}.example", "PORT"),
        ("host", "0.0.0.0:8000", "PORT"),
        ("clone_timeout_seconds", "inf", "number"),
        ("clone_timeout_seconds", "nan", "greater than 0"),
        ("clone_timeout_seconds", "1e300", "at most"),
        ("max_patch_bytes", "9" * 30, "at most"),
        ("cors_origins", f"{SECRET}.example", "origins such as"),
        ("cors_origins", "null", "origins such as"),
        ("cors_origins", "https://a.example/page", "origins such as"),
        ("cors_origins", "https://a*.example", "origins such as"),
        ("data_dir", "file:///srv", "path"),
        ("data_dir", "~nobody-of-this-name/x", "no home folder"),
        ("supabase_url", f"postgresql://postgres:{SECRET}@db.{PROJECT}.supabase.co", "project URL"),
        ("supabase_url", f"https://db.{PROJECT}.supabase.co", "project URL"),
        ("supabase_url", "https://[YOUR-PROJECT].supabase.co", "URL"),
        ("supabase_jwt_secret", f"sb_secret_{SECRET}", "API key"),
        ("public_url", "<url>", "placeholder"),
        ("github_app_id", "App ID: 12", "App ID"),
        ("github_app_private_key", f"/secrets/{SECRET}.pem", "not its path"),
        ("database_url", f"mysql://u:{SECRET}@h/db", "postgresql://"),
        ("database_url", f"postgresql://u:{SECRET}@h:port/db", "postgresql://"),
        ("database_url", f"postgresql://u:{SECRET}@h/db?foo=1", "parameter"),
        ("database_url", f"postgresql://u:{SECRET}@h/db?schema=mine", "schema"),
        ("database_url", "postgresql://postgres:[YOUR-PASSWORD]@h:5432/db", "placeholder"),
        ("database_url", "postgresql://USER:<password>@h:5432/db", "placeholder"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_its_name_with_the_remedy(
    name: str, value: str, advice: str
) -> None:
    assert advice in refusal(name, value)


@given(st.text(max_size=40), st.sampled_from(sorted(Settings.model_fields)))
def test_no_text_makes_the_settings_fail_in_another_way(text: str, name: str) -> None:
    for value in (text, f"postgresql://u:{text}@h/{text}?{text}", f"https://{text}", f"~{text}"):
        try:
            Settings.model_validate({name: value})
        except ValidationError as error:
            explain_settings(error)


def test_a_private_key_is_taken_in_each_form_that_fits_a_variable() -> None:
    key = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()).decode()
    forms = (
        pem,
        pem.replace("\n", "\\n"),
        pem.replace("\n", "\r\n"),
        f'"{pem}"',
        pem.replace("\n", " "),
        base64.b64encode(pem.encode()).decode(),
        base64.encodebytes(pem.encode()).decode(),
    )
    for form in forms:
        settings = Settings.model_validate({"github_app_id": "1", "github_app_private_key": form})
        assert settings.github_app_private_key
        assert settings.github_app_private_key.get_secret_value() == pem
