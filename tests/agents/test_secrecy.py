"""Tests which values of users are secrets."""

from __future__ import annotations

import pytest

from utils.agents.secrecy import is_secret, secret_texts

PLAIN = [
    ("NODE_ENV", "production"),
    ("NODE_ENV", "development"),
    ("APP_ENV", "staging-2"),
    ("AWS_REGION", "us-east-1"),
    ("AWS_DEFAULT_REGION", "eu-central-1"),
    ("CLOUD_ML_REGION", "europe-west4"),
    ("REGION", "us-gov-west-1"),
    ("GOOGLE_CLOUD_PROJECT", "my-project-123456"),
    ("ANTHROPIC_MODEL", "claude-sonnet-4-20250514"),
    ("ANTHROPIC_DEFAULT_OPUS_MODEL", "us.anthropic.claude-3-5-sonnet-20241022-v2:0"),
    ("MAX_THINKING_TOKENS", "31999"),
    ("CLAUDE_CODE_MAX_OUTPUT_TOKENS", "64000"),
    ("BASH_DEFAULT_TIMEOUT_MS", "1200000"),
    ("RATIO", "0.123456"),
    ("DISABLE_TELEMETRY", "true"),
    ("LANG", "en_US.UTF-8"),
    ("LOG_LEVEL", "warning"),
    ("TZ", "Europe/Berlin"),
    ("ANTHROPIC_BASE_URL", "https://proxy.example.com:8443/v1"),
    ("SSL_CERT_FILE", "/etc/ssl/certs/ca-certificates.crt"),
    ("MY_SETTING", "enabled"),
    ("PYTHON_VERSION", "3.12.1"),
    ("subscriptionType", "max"),
    ("scopes", "user:inference"),
    ("last_refresh", "2026-01-02T03:04:05.678901Z"),
    ("auth_mode", "chatgpt"),
]

SECRET = [
    ("ANTHROPIC_API_KEY", "sk-ant-api03-abcdefghijkl"),
    ("API_KEY", "swordfish"),
    ("accessToken", "correct-horse-battery"),
    ("DB_PASSWORD", "12345678"),
    ("DB_PASSWORD", "/opt/password"),
    ("PGPASSWORD", "hunter2hunter2"),
    ("DATABASE_URL", "postgres://user:swordfish@db.example.com/app"),
    ("SENTRY_DSN", "https://0123456789abcdef0123456789abcdef@sentry.example.com/1"),
    ("SLACK_URL", "https://hooks.slack.com/services/T0000/B0000/XXXXXXXXXXXXXXXXXXXXXXXX"),
    ("CALLBACK", "https://example.com/?token=abc"),
    ("MY_SETTING", "a-users-own-secret"),
    ("MY_SETTING", "marked/token+3f9a1c"),
    ("APP_ENV", "Zm9vYmFyYmF6cXV4MTIzNDU2"),
    ("SERVICE_NAME", "9f8e7d6c5b4a39281706f5e4"),
    ("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE"),
    ("PRIVATE_KEY", "-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----"),
    ("account_id", "3f2504e0-4f89-41d3-9a0c-0305e82c3301"),
    ("ADMIN_PIN", "123456"),
]


@pytest.mark.parametrize(("name", "value"), PLAIN)
def test_a_plain_value_is_no_secret(name: str, value: str) -> None:
    assert not is_secret(name, value)


@pytest.mark.parametrize(("name", "value"), SECRET)
def test_a_secret_is_one(name: str, value: str) -> None:
    assert is_secret(name, value)


def test_the_fields_of_a_login_file_are_judged_by_their_names() -> None:
    login = {
        "claudeAiOauth": {
            "accessToken": "first-token",
            "refreshToken": "second-token",
            "expiresAt": 1,
            "scopes": ["user:inference", "user:profile"],
            "subscriptionType": "max",
        },
        "list": [{"key": "third"}],
    }
    assert set(secret_texts(login)) == {"first-token", "second-token", "third"}
