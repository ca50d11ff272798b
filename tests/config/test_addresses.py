"""URLs in the settings contain no password, because they are shown and sent to others."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from utils.config.settings import Settings, explain_settings

ADDRESSES = ("github_api_url", "public_url", "supabase_url", "supabase_jwks_url")
HOSTS = ("e2b_domain", "allowed_git_hosts")
PASSWORD = "marked4711"


def refusal(name: str, value: str) -> str:
    """Return the message for an invalid setting."""
    with pytest.raises(ValidationError) as refused:
        Settings.model_validate({name: value})
    said = "\n".join(explain_settings(refused.value))
    assert f"{name.upper()}: must " in said
    assert PASSWORD not in said
    return said


@pytest.mark.parametrize("name", ADDRESSES)
def test_an_address_with_a_password_is_refused(name: str) -> None:
    said = refusal(name, f"https://user:{PASSWORD}@host.example")
    assert "must not contain a user name or password" in said


@pytest.mark.parametrize("name", ADDRESSES)
@pytest.mark.parametrize(
    "url",
    [
        f"https://{PASSWORD}\u2100.example",
        f"https://[{PASSWORD}",
        "https://",
        "https://:8443",
        "host.example",
        "host.example:99999",
    ],
)
def test_what_is_no_address_is_refused_without_being_repeated(name: str, url: str) -> None:
    assert "must be a URL that starts with https:// and a host" in refusal(name, url)


@pytest.mark.parametrize("name", ADDRESSES)
@pytest.mark.parametrize(
    "url",
    [
        f"https://{PASSWORD} .example",
        "https://host.example/a b",
        "https://host.\nexample",
        "https://host\u200b.example",
    ],
)
def test_an_address_with_a_blank_is_told_of_it(name: str, url: str) -> None:
    assert "must not contain spaces, line ends or invisible characters" in refusal(name, url)


@pytest.mark.parametrize("name", ADDRESSES)
@pytest.mark.parametrize("port", ["99999", "0", "-1", PASSWORD])
def test_an_address_with_a_port_that_is_none_is_told_of_it(name: str, port: str) -> None:
    said = refusal(name, f"https://host.example:{port}/app")
    assert "must have a port from 1 to 65535, or none" in said
    assert f":{port}" not in said


@pytest.mark.parametrize("name", HOSTS)
@pytest.mark.parametrize(
    "host", [f"user:{PASSWORD}@host.example", "https://host.example", "host.example/a", "a!b"]
)
def test_what_is_no_host_is_refused(name: str, host: str) -> None:
    assert "must be host names only" in refusal(name, host)


def test_hosts_and_addresses_are_taken_as_they_are() -> None:
    given = {
        "allowed_git_hosts": "github.com, git.example:8443,[::1]:8080,my_host,*",
        "e2b_domain": "e2b.example",
        "public_url": "http://web.example:3000/app/",
    }
    settings = Settings.model_validate(given)
    assert settings.allowed_git_hosts == (
        "github.com",
        "git.example:8443",
        "[::1]:8080",
        "my_host",
        "*",
    )
    assert (settings.e2b_domain, settings.public_url) == (
        "e2b.example",
        "http://web.example:3000/app",
    )
