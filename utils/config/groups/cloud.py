"""Settings of cloud sandboxes and of the agents; a part of `utils.config.settings`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationInfo,
    field_validator,
)
from pydantic_settings import BaseSettings, NoDecode

from utils.config.addresses import host_name
from utils.config.values import plain_key, split_names

OTHER_KEY_NAMES = {
    "CLAUDE_API_KEY": "ANTHROPIC_API_KEY",
    "ANTHROPIC_KEY": "ANTHROPIC_API_KEY",
    "CODEX_API_KEY": "OPENAI_API_KEY",
}
"""Names that people use for the settings with the agents' keys, with the right ones."""


def _require_name(names: tuple[str, ...]) -> tuple[str, ...]:
    if not names:
        raise ValueError("needs at least one name")
    return names


NameList = Annotated[tuple[str, ...], NoDecode, BeforeValidator(split_names)]
"""Names, separated by commas in the environment."""

ModelList = Annotated[NameList, AfterValidator(_require_name)]
"""The models of an agent, of which it needs one."""


# The beginnings of keys, with the setting that they belong to, and what to do elsewhere.
_KEY_PREFIXES = {
    "sk-ant-oat": (
        "",
        "is a login of `claude setup-token`, not an API key. Use a key of the Anthropic console, "
        "or store the login for a user with PUT /users/me",
    ),
    "sk-ant-": ("anthropic_api_key", "is a key of Anthropic; set it as ANTHROPIC_API_KEY"),
    "sk-proj-": ("openai_api_key", "is a key of OpenAI; set it as OPENAI_API_KEY"),
    "sk_e2b_": ("", "is an access token of E2B; use an API key, which begins with e2b_"),
    "e2b_": ("e2b_api_key", "is a key of E2B; set it as E2B_API_KEY"),
}


class CloudSettings(BaseSettings):
    """Settings of E2B's sandboxes and of the agents."""

    e2b_api_key: SecretStr | None = Field(
        None, description="E2B API key. With it, tasks run in E2B's cloud sandboxes."
    )
    e2b_api_key_next: SecretStr | None = Field(
        None,
        description="Second E2B API key of the same team. It is used when E2B refuses the first, "
        "so that a key can be replaced without a stop.",
    )
    e2b_domain: str | None = Field(
        None, description="Domain of the E2B installation. The default is `e2b.app`."
    )
    e2b_template_id: str = Field(
        "async-code",
        description="E2B template of the sandboxes. `./run.sh build-template` builds it.",
    )
    e2b_on_timeout: Literal["kill", "pause"] = Field(
        "kill",
        description="`pause` keeps the sandbox of a running task when no server has extended its "
        "lease for an hour, so that a server that comes back later continues the task. E2B may "
        "charge for what a paused sandbox stores; `kill` leaves none behind.",
    )
    deployment: str | None = Field(
        None,
        description="Name of this deployment, stored in the metadata of its sandboxes. By default "
        "generated once and stored in `DATA_DIR`. Set it when `DATA_DIR` is lost on a restart, so "
        "that the next server finds its sandboxes.",
    )
    retry_lost_sandbox: bool = Field(
        default=False,
        description="Run the agent again when its sandbox was lost. The model is then paid twice.",
    )
    sweep_grace_seconds: float = Field(
        120,
        ge=0,
        description="Age in seconds at which a sandbox that belongs to no task is deleted.",
    )
    secrets_mode: Literal["environment", "egress"] = Field(
        "environment",
        description="`environment` passes keys to the sandbox. `egress` keeps them out of it: "
        "E2B's network adds them to outgoing requests.",
    )

    anthropic_api_key: SecretStr | None = Field(
        None, description="API key for the agent `claude`. Only the agent's process receives it."
    )
    openai_api_key: SecretStr | None = Field(
        None, description="API key for the agent `codex`. Only the agent's process receives it."
    )
    claude_models: ModelList = Field(
        ("sonnet", "opus", "haiku"),
        description="Models that a task may choose for `claude`, separated by commas. The first "
        "is the default.",
    )
    codex_models: ModelList = Field(
        ("gpt-6.1-sol",),
        description="Models that a task may choose for `codex`, separated by commas. The first is "
        "the default.",
    )
    agent_idle_seconds: float = Field(
        300,
        gt=0,
        description="Seconds without output after which an agent is stopped as hung. Has an "
        "effect only when it is less than `AGENT_TIMEOUT_SECONDS`.",
    )
    simulate_with_real_agent: bool = Field(
        default=False,
        description="Run the real agent programs in local sandboxes. For developers only.",
    )
    enable_scripted_prompts: bool | None = Field(
        None,
        description="Let the scripted agent execute prompts that begin with `script:` line by "
        "line. By default on in development only; elsewhere such a prompt is plain text.",
    )
    scripted_step_seconds: float = Field(
        0,
        ge=0,
        le=10,
        description="Seconds that the scripted agent waits after each of its steps, so that people "
        "can follow it. The demo sets it on a terminal.",
    )
    e2b_smoke_test: bool = Field(
        default=False,
        description="Run the scripted agent in E2B's and in isolated sandboxes. No model key is "
        "needed.",
    )

    @field_validator("e2b_api_key", "e2b_api_key_next", "anthropic_api_key", "openai_api_key")
    @classmethod
    def _usable_key(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if value is None:
            return None
        key = plain_key(value.get_secret_value())
        for prefix, (setting, advice) in _KEY_PREFIXES.items():
            name = str(info.field_name).removesuffix("_next")
            if key.startswith(prefix) and name != setting:
                raise ValueError(advice)
        return SecretStr(key)

    @field_validator("e2b_domain")
    @classmethod
    def _host(cls, value: str | None) -> str | None:
        return None if value is None else host_name(value)

    @property
    def e2b_api_keys(self) -> tuple[str, ...]:
        """The keys of the E2B account, in the order in which they are tried."""
        keys = (self.e2b_api_key, self.e2b_api_key_next)
        return tuple(key.get_secret_value() for key in keys if key is not None)
