"""Access of an agent's run: the server's keys and the user's preferences."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.agents.access import ANTHROPIC, OPENAI, access, claude_env
from tests.support.agents.programs import garbage, run_program
from utils.agents.access import DUMMY_KEY
from utils.agents.claude import CLAUDE
from utils.agents.codex import CODEX
from utils.agents.preferences import MAX_VARIABLES
from utils.agents.spec import AgentSpec
from utils.errors import AgentError
from utils.models.tasks import Json
from utils.sandboxes.protocol import EgressHeader

LOGIN = {"claudeAiOauth": {"accessToken": "oauth-token", "expiresAt": 5, "scopes": ["user:all"]}}


def test_the_servers_keys_are_for_their_own_agent_only() -> None:
    claude, codex = access(CLAUDE), access(CODEX)
    assert claude.environment["ANTHROPIC_API_KEY"] == ANTHROPIC
    assert codex.environment == {"CODEX_API_KEY": OPENAI}
    assert OPENAI not in claude.environment.values()
    assert (claude.secrets, codex.secrets) == ((ANTHROPIC,), (OPENAI,))
    assert (claude.login_files, claude.egress) == ({}, ())


def test_claude_is_kept_from_updating_asking_and_retrying_for_minutes() -> None:
    environment = dict(access(CLAUDE).environment)
    del environment["ANTHROPIC_API_KEY"]
    assert environment == {
        "DISABLE_AUTOUPDATER": "1",
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "IS_SANDBOX": "1",
        "CLAUDE_CODE_MAX_RETRIES": "4",
    }


@pytest.mark.parametrize(
    "preferences",
    [
        {"claudeCode": {"env": {"ANTHROPIC_API_KEY": "sk-user"}, "credentials": None}},
        {"claudeCode": {"env": {"ANTHROPIC_API_KEY": " sk-user\n"}}},
        {"claudeCode": {"ANTHROPIC_API_KEY": "sk-user"}},
        {"claudeCode": {"ANTHROPIC_API_KEY": "sk-user", "env": {}, "credentials": {}}},
        {"claudeCode": {"env": {"ANTHROPIC_API_KEY": "sk-user", "PATH": "/x", "1": "2"}}},
    ],
)
def test_every_shape_of_claudes_preferences_is_read(preferences: Json) -> None:
    given = access(CLAUDE, preferences)
    assert given.environment["ANTHROPIC_API_KEY"] == "sk-user"
    assert given.secrets == ("sk-user",)
    assert "PATH" not in given.environment
    assert access(CLAUDE, preferences, server=False) == given


@pytest.mark.parametrize(
    "preferences",
    [
        {"codex": {"env": {"OPENAI_API_KEY": "sk-user"}}},
        {"codexCLI": {"env": {"OPENAI_API_KEY": "sk-user"}}},
        {"codexCLI": {"OPENAI_API_KEY": "sk-user"}},
        {"codex": {"env": {}}, "codexCLI": {"OPENAI_API_KEY": "sk-user"}},
        {"codex": {"OPENAI_API_KEY": "sk-user"}, "codexCLI": {"OPENAI_API_KEY": "sk-older"}},
    ],
)
def test_every_shape_of_codex_preferences_is_read(preferences: Json) -> None:
    given = access(CODEX, preferences)
    assert given.environment == {"OPENAI_API_KEY": "sk-user", "CODEX_API_KEY": "sk-user"}


def test_a_key_made_for_codex_comes_before_the_general_one() -> None:
    given = access(CODEX, {"codex": {"env": {"OPENAI_API_KEY": "sk-a", "CODEX_API_KEY": "sk-b"}}})
    assert given.environment == {"OPENAI_API_KEY": "sk-a", "CODEX_API_KEY": "sk-b"}


@pytest.mark.parametrize("name", ["ANTHROPIC_AUTH_TOKEN", "CLAUDE_CODE_OAUTH_TOKEN"])
def test_a_users_own_access_replaces_the_servers_key(name: str) -> None:
    given = access(CLAUDE, claude_env(**{name: "token-of-user"}))
    assert given.environment[name] == "token-of-user"
    assert "ANTHROPIC_API_KEY" not in given.environment
    assert given.secrets == ("token-of-user",)


@pytest.mark.parametrize("agent", [CLAUDE, CODEX], ids=lambda agent: agent.name)
def test_credentials_become_the_login_file_in_place_of_the_servers_key(agent: AgentSpec) -> None:
    section = {"claude": "claudeCode", "codex": "codex"}[agent.name]
    name = {"claude": ".claude/.credentials.json", "codex": ".codex/auth.json"}[agent.name]
    given = access(agent, {section: {"env": {}, "credentials": LOGIN}})
    assert {path: json.loads(content) for path, content in given.login_files.items()} == {
        name: LOGIN
    }
    # What the token may do is no secret.
    assert given.secrets == ("oauth-token",)
    assert not {ANTHROPIC, OPENAI} & set(given.environment.values())


def test_a_users_variables_win_over_ours_and_leave_the_servers_key() -> None:
    given = access(CLAUDE, claude_env(CLAUDE_CODE_MAX_RETRIES=9, MY_FLAG=True, RATIO=0.5))
    assert given.environment["CLAUDE_CODE_MAX_RETRIES"] == "9"
    assert (given.environment["MY_FLAG"], given.environment["RATIO"]) == ("true", "0.5")
    assert given.environment["ANTHROPIC_API_KEY"] == ANTHROPIC


def test_another_provider_needs_no_key_of_ours() -> None:
    preferences = claude_env(CLAUDE_CODE_USE_BEDROCK=1, AWS_REGION="eu-west-1")
    given = access(CLAUDE, preferences, server=False)
    assert given.environment["CLAUDE_CODE_USE_BEDROCK"] == "1"


TAKES_OVER = """
    PATH HOME IFS ENV BASH_ENV SHELLOPTS PS4 PROMPT_COMMAND LD_PRELOAD LD_LIBRARY_PATH Ld_Audit
    DYLD_INSERT_LIBRARIES GIT_SSH_COMMAND GIT_CONFIG_COUNT ASYNC_CODE_TASK XDG_CONFIG_HOME path
"""


@pytest.mark.parametrize("name", TAKES_OVER.split())
def test_variables_that_would_take_over_our_commands_are_left_out(name: str) -> None:
    given = access(CLAUDE, claude_env(**{name: "/somewhere", "GOOD": "x"}))
    assert name not in given.environment
    assert given.environment["GOOD"] == "x"


@pytest.mark.parametrize(
    "name", ["", "1A", "A-B", "A=B", "A B", "A\n", "A;id", "é", "BASH_FUNC_ls%%"]
)
def test_names_that_are_none_are_left_out(name: str) -> None:
    assert name not in access(CLAUDE, claude_env(**{name: "value"})).environment


def test_values_that_no_variable_holds_are_left_out() -> None:
    values: tuple[object, ...] = (None, [], {}, "a\0b", "\ud800", "x" * 8193, 10**5000)
    for value in values:
        assert "BAD" not in access(CLAUDE, claude_env(BAD=value)).environment


@pytest.mark.parametrize("key", ["", "  ", "a b", "a\nb", "clé"])
def test_an_impossible_key_is_none(key: str) -> None:
    given = access(CLAUDE, claude_env(ANTHROPIC_API_KEY=key))
    assert given.environment["ANTHROPIC_API_KEY"] == ANTHROPIC


def test_variables_are_bounded_in_number() -> None:
    many = {f"V{number}": "x" for number in range(1000)}
    given = access(CLAUDE, claude_env(**many))
    assert len([name for name in given.environment if name in many]) == MAX_VARIABLES


def test_variables_are_bounded_in_size() -> None:
    given = access(CLAUDE, claude_env(A="a" * 8192, B="b" * 8192, C="c"))
    assert {name for name in "ABC" if name in given.environment} == {"A", "B"}
    lines = access(CLAUDE, claude_env(A="line\n" * 99, B="b", C="c"))
    assert {name for name in "ABC" if name in lines.environment} == {"A", "B"}


@pytest.mark.parametrize("text", ["x" * 16_384, "a line of some length\n" * 101])
def test_a_login_file_is_bounded_in_size(text: str) -> None:
    given = access(CLAUDE, {"claudeCode": {"credentials": {"a": text}}})
    assert given.login_files == {}
    assert given.secrets == (ANTHROPIC,)


@pytest.mark.parametrize("count", [101, 100_000])
def test_credentials_that_are_no_login_are_left_out(count: int) -> None:
    given = access(CLAUDE, {"claudeCode": {"credentials": {"a": ["token-x"] * count}}})
    assert given.login_files == {}
    assert given.secrets == (ANTHROPIC,)


def test_secrets_are_known_as_they_may_be_printed() -> None:
    key = '-----BEGIN KEY-----\nfirst line of the key\né"quoted\n'
    secrets = access(CLAUDE, claude_env(PRIVATE_KEY=key, SHORT="abcde")).secrets
    assert key in secrets
    assert json.dumps(key)[1:-1] in secrets
    assert json.dumps(key, ensure_ascii=False)[1:-1] in secrets
    assert "first line of the key" in secrets
    assert "abcde" not in secrets
    assert access(CLAUDE, {"claudeCode": {"credentials": {"a": "half \ud800"}}}).secrets == (
        json.dumps("half \ud800")[1:-1],
    )


@pytest.mark.parametrize(
    ("agent", "header", "name"),
    [
        (CLAUDE, EgressHeader("api.anthropic.com", "x-api-key", ANTHROPIC), "ANTHROPIC_API_KEY"),
        (
            CODEX,
            EgressHeader("api.openai.com", "Authorization", f"Bearer {OPENAI}"),
            "CODEX_API_KEY",
        ),
    ],
)
def test_with_egress_the_sandbox_holds_a_dummy(
    agent: AgentSpec, header: EgressHeader, name: str
) -> None:
    given = access(agent, egress=True)
    assert given.egress == (header,)
    assert given.environment[name] == DUMMY_KEY
    assert given.environment["NODE_EXTRA_CA_CERTS"] == given.environment["SSL_CERT_FILE"]
    assert not {ANTHROPIC, OPENAI} & set(given.environment.values())
    assert given.secrets == ((ANTHROPIC,) if agent is CLAUDE else (OPENAI,))


def test_with_egress_a_users_token_becomes_the_only_header() -> None:
    tokens = claude_env(CLAUDE_CODE_OAUTH_TOKEN="oauth-user", OTHER="visible")
    given = access(CLAUDE, tokens, egress=True)
    assert given.egress == (
        EgressHeader("api.anthropic.com", "Authorization", "Bearer oauth-user"),
    )
    assert given.environment["CLAUDE_CODE_OAUTH_TOKEN"] == DUMMY_KEY
    assert given.environment["OTHER"] == "visible"
    both = claude_env(CLAUDE_CODE_OAUTH_TOKEN="oauth-user", ANTHROPIC_API_KEY="sk-user")
    given = access(CLAUDE, both, egress=True)
    assert given.egress == (EgressHeader("api.anthropic.com", "x-api-key", "sk-user"),)
    assert "CLAUDE_CODE_OAUTH_TOKEN" not in given.environment
    assert {"oauth-user", "sk-user"} <= set(given.secrets)


def test_with_egress_a_login_file_stays_a_file() -> None:
    given = access(CLAUDE, {"claudeCode": {"credentials": LOGIN}}, egress=True)
    assert (list(given.login_files), given.egress) == ([".claude/.credentials.json"], ())


@pytest.mark.parametrize(
    ("agent", "names"),
    [
        (CLAUDE, ("ANTHROPIC_API_KEY", "preferences.claudeCode.env.ANTHROPIC_API_KEY")),
        (CODEX, ("OPENAI_API_KEY", "preferences.codex.env.OPENAI_API_KEY")),
    ],
)
@pytest.mark.parametrize(
    "preferences", [None, {}, {"claudeCode": {"env": {"X": "1"}}, "codex": {"env": None}}]
)
def test_without_any_key_the_message_says_where_to_set_one(
    agent: AgentSpec, names: tuple[str, ...], preferences: object
) -> None:
    with pytest.raises(AgentError) as caught:
        access(agent, preferences, server=False)
    assert caught.value.code == "agent_not_configured"
    assert [name for name in names if name not in caught.value.message] == []


def test_nothing_of_it_stands_in_a_representation() -> None:
    given = access(CLAUDE, {"claudeCode": {"env": {"KEY": "sk-user"}, "credentials": LOGIN}})
    assert "sk-user" not in repr(given)
    assert "oauth-token" not in repr(given)
    assert ANTHROPIC not in repr(access(CLAUDE, egress=True))


NAMES = "claudeCode codex codexCLI env credentials ANTHROPIC_API_KEY OPENAI_API_KEY PATH"


@settings(derandomize=True, deadline=None, database=None)
@given(garbage(NAMES), st.booleans())
def test_no_preferences_raise(preferences: object, egress: bool) -> None:
    for agent in (CLAUDE, CODEX):
        for wrapped in (preferences, {"claudeCode": preferences, "codex": preferences}):
            given_access = access(agent, wrapped, egress=egress)
            assert "PATH" not in given_access.environment
            for name, value in given_access.environment.items():
                assert "\0" not in name + value
                value.encode()


def test_the_program_sees_the_users_variables(tmp_path: Path) -> None:
    given = access(CLAUDE, claude_env(ANTHROPIC_API_KEY="sk-user", MY_FLAG="on"))
    ended = run_program(CLAUDE, tmp_path, "environment", given.environment)
    assert ended.error() is None
    output = next(data["output"] for _, data in ended.events() if "output" in data)
    assert "MY_FLAG=on\n" in output


def test_the_program_logs_in_with_the_users_file(tmp_path: Path) -> None:
    given = access(CODEX, {"codex": {"credentials": {"tokens": {"id_token": "x"}}}})
    for name, content in given.login_files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True)
        path.write_bytes(content)
    assert run_program(CODEX, tmp_path, "say a", given.environment).error() is None
