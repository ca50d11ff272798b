"""The server's key for an agent goes nowhere but to its provider, whatever a user prefers."""

from __future__ import annotations

import pytest

from tests.support.agents.access import ANTHROPIC, access, claude_env
from utils.agents.claude import CLAUDE
from utils.agents.codex import CODEX
from utils.errors import AgentError


def test_the_servers_key_is_not_sent_to_an_endpoint_that_a_user_names() -> None:
    preferences = claude_env(ANTHROPIC_BASE_URL="https://example.com")
    with pytest.raises(AgentError):
        access(CLAUDE, preferences)
    own = claude_env(ANTHROPIC_BASE_URL="https://example.com", ANTHROPIC_API_KEY="sk-user")
    assert access(CLAUDE, own, egress=True).environment["ANTHROPIC_API_KEY"] == "sk-user"


ELSEWHERE = """
    ANTHROPIC_BASE_URL ANTHROPIC_UNIX_SOCKET ANTHROPIC_CUSTOM_HEADERS ANTHROPIC_DEFAULT_OPUS_MODEL
    CLAUDE_CONFIG_DIR CLAUDE_ENV_FILE CLAUDE_CODE_API_BASE_URL CLAUDE_CODE_SHELL_PREFIX
    HTTPS_PROXY https_proxy HTTP_PROXY ALL_PROXY NODE_OPTIONS NODE_EXTRA_CA_CERTS BUN_OPTIONS
    NODE_TLS_REJECT_UNAUTHORIZED NODE_PATH SSL_CERT_FILE SSL_CERT_DIR SSLKEYLOGFILE OPENSSL_CONF
    OTEL_EXPORTER_OTLP_ENDPOINT RIPGREP_CONFIG_PATH
"""


@pytest.mark.parametrize("egress", [False, True], ids=["environment", "egress"])
@pytest.mark.parametrize("name", ELSEWHERE.split())
def test_the_servers_key_is_withheld_from_variables_that_could_divert_it(
    name: str, egress: bool
) -> None:
    with pytest.raises(AgentError, match=name) as caught:
        access(CLAUDE, claude_env(**{name: "/repository/evil"}), egress=egress)
    assert caught.value.code == "agent_not_configured"
    assert "preferences.claudeCode.env.ANTHROPIC_API_KEY" in caught.value.message
    own = claude_env(**{name: "/repository/evil", "ANTHROPIC_API_KEY": "sk-user"})
    assert ANTHROPIC not in access(CLAUDE, own, egress=egress).environment.values()


@pytest.mark.parametrize(
    "name", ["CODEX_HOME", "CODEX_CA_CERTIFICATE", "OPENAI_BASE_URL", "NODE_OPTIONS", "all_proxy"]
)
def test_the_servers_key_for_codex_is_withheld_likewise(name: str) -> None:
    with pytest.raises(AgentError, match=name):
        access(CODEX, {"codex": {"env": {name: "/repository/.codex"}}})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ANTHROPIC_BASE_URL", ""),
        ("NO_PROXY", "localhost"),
        ("NODE_ENV", "test"),
        ("OPENAI_API_KEY", "sk-of-the-tests"),
        ("CODEX_HOME", "/tmp/codex"),
        ("DATABASE_URL", "postgres://localhost"),
        ("CLAUDE_CODE_MAX_OUTPUT_TOKENS", "8000"),
    ],
)
def test_variables_that_divert_nothing_leave_the_servers_key(name: str, value: str) -> None:
    given = access(CLAUDE, claude_env(**{name: value}))
    assert given.environment["ANTHROPIC_API_KEY"] == ANTHROPIC
