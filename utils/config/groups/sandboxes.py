"""Settings of the sandboxes that users open; a part of `utils.config.settings`."""

from __future__ import annotations

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings

from utils.config.groups.cloud import NameList

ALLOW = "allow:"
DENY = "deny:"


class SandboxSettings(BaseSettings):
    """Settings of the endpoints below /v1/sandboxes."""

    max_sandboxes_per_user: int = Field(
        5,
        ge=0,
        description="Maximum number of sandboxes of one user at the same time, beside those of "
        "tasks. Further requests get 429.",
    )
    sandbox_lease_seconds: float = Field(
        3600, gt=0, description="Seconds after which a user's sandbox ends, if it is not extended."
    )
    max_sandbox_lease_seconds: float = Field(
        86_400,
        gt=0,
        description="Maximum of the seconds that a user may ask for, from now, for a sandbox.",
    )
    max_command_seconds: float = Field(
        600, gt=0, description="Time limit in seconds of one command in a user's sandbox."
    )
    sandbox_command_policy: NameList = Field(
        (),
        description="Which programs users may run in their sandboxes: `allow:` and the name of a "
        "program, or `deny:` and a pattern with * and ? for the whole command line, separated by "
        "commas: `allow:git,allow:npm,deny:*--force*`. With one `allow:` only those may run. Not "
        "a boundary: see docs/security.md.",
    )

    @field_validator("sandbox_command_policy")
    @classmethod
    def _known_rules(cls, rules: tuple[str, ...]) -> tuple[str, ...]:
        for rule in rules:
            if not rule.startswith((ALLOW, DENY)) or not rule.partition(":")[2].strip():
                raise ValueError("each entry must be allow:PROGRAM or deny:PATTERN")
        return rules
