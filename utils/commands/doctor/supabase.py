"""Checks for `./run.sh doctor` that the tokens of a Supabase project's users can be verified."""

from __future__ import annotations

from collections.abc import Iterator

from utils.auth.signing_keys import fetch_keys
from utils.commands.doctor.findings import Finding, ok, problem, warning
from utils.config.settings import Settings
from utils.errors import Unavailable

_SECRET = "SUPABASE_JWT_SECRET"  # noqa: S105 - a name


def check_sign_in(settings: Settings) -> Iterator[Finding]:
    """Check that there is a key to verify the tokens of the project's users."""
    if settings.jwks_url is None:
        return
    verified_with = [] if settings.supabase_jwt_secret is None else [_SECRET]
    try:
        count = len(fetch_keys(settings.jwks_url))
    except Unavailable as error:
        finding = warning if verified_with else problem
        yield finding(f"sign-in: {error.message}", f"Check the address {settings.jwks_url}")
        return
    if count:
        verified_with.append("1 public key" if count == 1 else f"{count} public keys")
    if verified_with:
        yield ok(f"sign-in: Supabase's tokens are verified with {' and '.join(verified_with)}")
    else:
        yield problem(
            "sign-in: the project publishes no keys, so no token of its users can be verified",
            f"Set {_SECRET} to the shared secret from Project Settings > JWT Keys.",
        )
