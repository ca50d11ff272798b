"""The settings of cloud sandboxes and of the agent programs; a part of `utils.config.settings`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, NoDecode

from utils.config.addresses import host_name


def _split_names(value: object) -> object:
    if isinstance(value, str):
        return tuple(name.strip() for name in value.split(",") if name.strip())
    return value


def _require_name(names: tuple[str, ...]) -> tuple[str, ...]:
    if not names:
        raise ValueError("needs at least one name")
    return names


NameList = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split_names)]
"""Names, separated by commas in the environment."""

ModelList = Annotated[NameList, AfterValidator(_require_name)]
"""The models of an agent, of which it needs one."""


class CloudSettings(BaseSettings):
    """Settings of the cloud that runs agents, and of the agents' access."""

    e2b_api_key: SecretStr | None = Field(
        None, description="E2B key; with it tasks run in cloud sandboxes."
    )
    e2b_domain: str | None = Field(
        None, description="E2B installation to use; `e2b.app` when not given."
    )
    e2b_template_id: str = Field(
        "async-code", description="Template of the sandboxes; `./run.sh build-template` makes it."
    )
    deployment: str | None = Field(
        None,
        description="Name of this deployment, marked on its sandboxes; made once in `DATA_DIR`. "
        "Set it where `DATA_DIR` does not outlive the server, so that the next one finds its "
        "sandboxes.",
    )
    retry_lost_sandbox: bool = Field(
        default=False,
        description="Start an agent again whose sandbox was lost; it is paid for twice.",
    )
    sweep_grace_seconds: float = Field(
        120, ge=0, description="Age at which a sandbox that no task knows is ended."
    )
    secrets_mode: Literal["environment", "egress"] = Field(
        "environment",
        description="`egress` keeps keys out of the sandbox: E2B's network adds them to requests.",
    )

    anthropic_api_key: SecretStr | None = Field(
        None, description="Key for the agent `claude`; only its process gets it."
    )
    openai_api_key: SecretStr | None = Field(
        None, description="Key for the agent `codex`; only its process gets it."
    )
    claude_models: ModelList = Field(
        ("sonnet", "opus", "haiku"),
        description="Models that tasks may ask `claude` for; the first is the default.",
    )
    codex_models: ModelList = Field(
        ("gpt-6.1-sol",),
        description="Models that tasks may ask `codex` for; the first is the default.",
    )
    agent_idle_seconds: float = Field(
        300,
        gt=0,
        description="Silence after which an agent counts as hung and is ended; matters where "
        "`AGENT_TIMEOUT_SECONDS` is longer.",
    )
    simulate_with_real_agent: bool = Field(
        default=False,
        description="Run the real agent programs in local folders, for developers.",
    )
    e2b_smoke_test: bool = Field(
        default=False,
        description="Have the scripted agent work in E2B's sandboxes: needs no model key.",
    )

    @field_validator("e2b_domain")
    @classmethod
    def _host(cls, value: str | None) -> str | None:
        return None if value is None else host_name(value)
