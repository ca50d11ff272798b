"""Settings of a Supabase project: sign-in and storage; a part of `utils.config.settings`."""

from __future__ import annotations

import re
from typing import Self

import jwt
from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings

from utils.config.addresses import safe_address
from utils.config.groups.server import MINIMUM_KEY_CHARACTERS
from utils.config.values import is_placeholder, plain_key

_SERVICE = re.compile(r"(?<!/)/+(?:rest|auth|storage|realtime|functions|graphql)/v1(?:/.*)?$")
_DASHBOARD = re.compile(
    r"https://(?:app\.)?supabase\.(?:com|io)/(?:dashboard/)?project/([a-z0-9]{20})(?:/.*)?"
)
_KEY_ADVICE = "use the service_role key or a secret key from Project Settings > API Keys"


class SupabaseSettings(BaseSettings):
    """Address of a Supabase project and the keys that verify its tokens."""

    supabase_url: str | None = Field(
        None,
        description="URL of the Supabase project, such as `https://<project>.supabase.co`. Its "
        "users sign in, and a user id without a token is not accepted by default.",
    )
    supabase_service_role_key: SecretStr | None = Field(
        None,
        description="Server key of the Supabase project. With it and `SUPABASE_URL`, all rows are "
        "stored in Supabase.",
    )
    supabase_anon_key: SecretStr | None = Field(
        None,
        description="Publishable key or `anon` key of the Supabase project. With it, the server "
        "asks Supabase at each sign-in whether the account still exists. Not needed with "
        "`SUPABASE_SERVICE_ROLE_KEY`.",
    )
    supabase_jwt_secret: SecretStr | None = Field(
        None,
        description="Secret that verifies Supabase access tokens signed with HS256 (legacy JWT "
        "secret of the project), at least 32 characters.",
    )
    supabase_jwks_url: str | None = Field(
        None,
        description="URL of the public keys that verify Supabase access tokens. The default is "
        "`<SUPABASE_URL>/auth/v1/.well-known/jwks.json`.",
    )
    supabase_issuer: str | None = Field(
        None,
        description="Expected issuer of Supabase access tokens. The default is "
        "`<SUPABASE_URL>/auth/v1`.",
    )

    allow_anonymous_users: bool = Field(
        default=False,
        description="Accept anonymous users of Supabase, which anybody can create without an "
        "e-mail address.",
    )

    @field_validator("supabase_url", mode="before")
    @classmethod
    def _project_address(cls, value: object) -> object:
        return project_address(value) if isinstance(value, str) else value

    @field_validator("supabase_url", "supabase_jwks_url")
    @classmethod
    def _reachable_safely(cls, value: str | None) -> str | None:
        return None if value is None else safe_address(value)

    @field_validator("supabase_service_role_key")
    @classmethod
    def _is_a_server_key(cls, value: SecretStr | None) -> SecretStr | None:
        if value is None:
            return None
        value = SecretStr(plain_key(value.get_secret_value()))
        if value.get_secret_value().startswith("sb_secret_"):
            return value
        role = _role_of(value.get_secret_value())
        if role == "service_role":
            return value
        # The message names only roles of Supabase, because the value may be any secret.
        what = "the anon key, which is for browsers" if role == "anon" else "not a server key"
        raise ValueError(f"this is {what}; {_KEY_ADVICE}")

    @field_validator("supabase_jwt_secret")
    @classmethod
    def _is_a_secret(cls, value: SecretStr | None) -> SecretStr | None:
        text = value.get_secret_value() if value else ""
        if is_placeholder(text):
            raise ValueError("is a placeholder; put the real secret in its place")
        if text.startswith(("sb_", "eyJ")):
            raise ValueError(
                "this is an API key; use the legacy JWT secret from Project Settings > JWT Keys, "
                "or leave it out if the project has JWT signing keys"
            )
        # With a shorter secret, tokens for any user can be forged after guessing it offline.
        if value is not None and len(text) < MINIMUM_KEY_CHARACTERS:
            raise ValueError(
                "needs at least 32 characters; copy the JWT secret of the project unchanged"
            )
        return value

    @model_validator(mode="after")
    def _key_has_a_project(self) -> Self:
        if self.supabase_service_role_key is not None and self.supabase_url is None:
            raise ValueError("SUPABASE_SERVICE_ROLE_KEY needs SUPABASE_URL as well")
        return self

    @property
    def uses_supabase(self) -> bool:
        """True when all rows are stored in Supabase, which needs its URL and its server key."""
        return self.supabase_url is not None and self.supabase_service_role_key is not None

    @property
    def verifies_supabase(self) -> bool:
        """True when access tokens of Supabase can be verified."""
        return self.supabase_jwt_secret is not None or self.jwks_url is not None

    @property
    def jwks_url(self) -> str | None:
        """URL of the public keys of Supabase's access tokens, or None if it is not configured."""
        return self.supabase_jwks_url or self._below_auth("/.well-known/jwks.json")

    @property
    def token_issuer(self) -> str | None:
        """Expected issuer of Supabase's access tokens, or None if it is not configured."""
        return self.supabase_issuer or self._below_auth("")

    def _below_auth(self, path: str) -> str | None:
        return None if self.supabase_url is None else f"{self.supabase_url}/auth/v1{path}"


def project_address(text: str) -> str:
    """Return the URL of a project where one of its other addresses was given.

    Raises `ValueError` for the address of its database.
    """
    if re.match(r"postgres(?:ql)?://", text) or re.match(r"(?:https?://)?db\.", text):
        raise ValueError(
            "this is the address of the project's database; use the project URL, such as "
            "https://<project>.supabase.co"
        )
    page = _DASHBOARD.fullmatch(text)
    if page or re.fullmatch(r"[a-z0-9]{20}", text):
        return f"https://{page[1] if page else text}.supabase.co"
    if re.fullmatch(r"[a-z0-9]{20}\.supabase\.co.*", text):
        text = f"https://{text}"
    return _SERVICE.sub("", text)


def _role_of(key: str) -> object:
    if key.startswith("sb_publishable_"):
        return "anon"
    try:
        return jwt.decode(key, options={"verify_signature": False}).get("role")
    except jwt.PyJWTError:
        return None
