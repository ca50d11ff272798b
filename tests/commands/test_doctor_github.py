"""`./run.sh doctor` checks the server's identity on GitHub, and that tasks can start there."""

from __future__ import annotations

import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from pydantic import SecretStr

from tests.fakes.github.service import FakeGitHub
from tests.fakes.github.state import App
from tests.support.doctor_program import Doctor
from tests.support.github.keys import PERMISSIONS, app_key, pem, public_pem
from tests.support.github.names import LOGIN, NAME, TOKEN
from utils.commands.doctor.github import check_github
from utils.config.settings import Settings

GRANTED = {**PERMISSIONS, "workflows": "write"}
WRONG_ADDRESS = "problem  GitHub: GITHUB_API_URL is not the address of its API"
DOUBTFUL_ADDRESS = "GitHub: GITHUB_API_URL may not be the address of its API"


@pytest.fixture(scope="module")
def key() -> rsa.RSAPrivateKey:
    return app_key()


def found(github: FakeGitHub | None = None, **changes: Any) -> list[list[str]]:
    """Return the lines of each finding; the fake GitHub is that of the settings, if given."""
    address = {} if github is None else {"github_api_url": github.api_url}
    settings = Settings.model_validate({**address, **changes})
    return [
        [line.strip() for line in finding.text.splitlines()] for finding in check_github(settings)
    ]


def settings_at(address: str) -> Settings:
    """Return the settings of an API at an address; no task may clone from its host."""
    return Settings(
        _env_file=None,
        github_api_url=address,
        github_token=SecretStr(TOKEN),
        allowed_git_hosts=("git.example",),
    )


def of_token(github: FakeGitHub) -> list[str]:
    """Return what is found about the server's token."""
    [lines] = found(github, github_token=TOKEN)
    return lines


@pytest.fixture
def app(github: FakeGitHub, key: rsa.RSAPrivateKey) -> dict[str, Any]:
    """Provide the settings of an App with all permissions it may need."""
    github.apps["4711"] = App("4711", public_pem(key), {NAME: 77}, GRANTED)
    return {"github_app_id": "4711", "github_app_private_key": pem(key)}


def test_without_a_setting_of_githubs_nothing_is_requested(github: FakeGitHub) -> None:
    assert found() == []
    assert found(github_webhook_secret="what-only-github-knows", public_url="https://x") == []
    assert github.requests == []


@pytest.mark.parametrize(
    ("address", "right"),
    [
        ("https://api.github.com/api/v3", "https://api.github.com"),
        ("https://acme.ghe.com", "https://api.acme.ghe.com"),
        ("https://acme.ghe.com/api/v3", "https://api.acme.ghe.com"),
        ("https://api.github.com:8443", "https://api.github.com"),
    ],
)
def test_an_address_that_cannot_be_the_apis_is_a_problem(address: str, right: str) -> None:
    [lines] = found(github_api_url=address, github_token=TOKEN)
    assert lines == [WRONG_ADDRESS, f"Set it to {right}"]


@pytest.mark.parametrize(
    ("address", "host"),
    [
        ("https://API.github.com/", "github.com"),
        ("https://api.acme.ghe.com", "acme.ghe.com"),
        ("https://ghe.example.org/api/v3/", "ghe.example.org"),
        ("https://api.example.org", "example.org"),
        ("https://api.github.com:443", "github.com"),
        ("https://api.octo.ghe.com:443/", "octo.ghe.com"),
    ],
)
def test_any_other_address_is_asked_about_its_host(address: str, host: str) -> None:
    first = next(check_github(settings_at(address)))
    assert first.summary == f"GitHub: no task can be started in a repository on {host}"


@pytest.mark.parametrize(
    ("address", "guess"),
    [
        ("https://ghe.example.org:8443/api", "https://ghe.example.org:8443/api/v3"),
        ("http://github-proxy:8080", "http://github-proxy:8080/api/v3"),
    ],
)
def test_an_address_of_an_unknown_host_is_a_warning_and_checked(address: str, guess: str) -> None:
    findings = check_github(settings_at(address))
    first = next(findings)
    assert (first.level, first.summary) == ("warning", DOUBTFUL_ADDRESS)
    assert guess in first.advice
    assert "no task can be started in a repository on" in next(findings).summary


def test_a_host_that_no_task_may_clone_from_is_a_problem(github: FakeGitHub) -> None:
    [clones, api] = found(github, allow_local_repos=False)
    assert clones[0] == (
        f"problem  GitHub: no task can be started in a repository on {github.host}"
    )
    assert clones[1] == f"Set ALLOWED_GIT_HOSTS=github.com,{github.host}"
    assert api == [f"ok       GitHub: the API of {github.host} answers"]
    assert github.paths() == ["GET /user"]
    [clones, _] = found(github, allow_local_repos=False, allowed_git_hosts=github.host)
    assert "http:// sends tokens unencrypted" in clones[1]


def test_a_token_that_may_push_is_reported_with_its_user(github: FakeGitHub) -> None:
    assert of_token(github) == [f"ok       GitHub: GITHUB_TOKEN belongs to {LOGIN}"]
    assert github.paths() == ["GET /user"]
    github.add_token(TOKEN, LOGIN, scopes=None)
    lines = of_token(github)
    assert lines[0] == f"ok       GitHub: GITHUB_TOKEN belongs to {LOGIN}"
    assert "GitHub does not report the permissions" in lines[1]


@pytest.mark.parametrize(
    ("scopes", "finding"),
    [
        (("read:user", "gist"), "cannot push: its scopes are read:user, gist"),
        ((), "cannot push: its scopes are none"),
        (("public_repo",), "can push to public repositories only"),
    ],
)
def test_scopes_that_are_not_enough_to_push_are_a_warning(
    github: FakeGitHub, scopes: tuple[str, ...], finding: str
) -> None:
    github.add_token(TOKEN, LOGIN, scopes=scopes)
    assert of_token(github) == [
        f"warning  GitHub: GITHUB_TOKEN belongs to {LOGIN} and {finding}",
        "Add the scope repo.",
    ]


@pytest.mark.parametrize("scopes", [("repo",), ("gist",), (), None])
def test_a_token_that_soon_ends_is_a_warning_beside_its_scopes(
    github: FakeGitHub, scopes: tuple[str, ...] | None
) -> None:
    github.add_token(TOKEN, LOGIN, scopes=scopes)
    about_scopes = of_token(github)
    soon, later = (datetime.now(UTC) + timedelta(days=days) for days in (3, 30))
    github.add_token(TOKEN, LOGIN, scopes=scopes, expires=f"{soon:%Y-%m-%d %H:%M:%S} UTC")
    assert found(github, github_token=TOKEN) == [
        about_scopes,
        [
            f"warning  GitHub: GITHUB_TOKEN expires on {soon:%Y-%m-%d}",
            "Replace it before.",
        ],
    ]
    github.add_token(TOKEN, LOGIN, scopes=scopes, expires=f"{later:%Y-%m-%d %H:%M:%S} UTC")
    assert of_token(github) == about_scopes


def test_a_token_that_is_refused_is_a_problem(github: FakeGitHub) -> None:
    [[first, advice]] = found(github, github_token="ghp_bad")
    assert first.startswith(f"problem  GitHub: {github.host} does not accept GITHUB_TOKEN")
    assert f"{github.url}/settings/tokens" in advice
    assert "bad" not in first + advice


def test_a_token_of_an_app_is_a_warning(github: FakeGitHub) -> None:
    github.add_token(TOKEN, "app[bot]", scopes=None, installation=77)
    assert "GITHUB_TOKEN does not belong to a user" in of_token(github)[0]


def test_an_app_is_reported_by_its_name(github: FakeGitHub, app: dict[str, Any]) -> None:
    assert found(github, **app) == [["ok       GitHub: the App is Our App"]]
    assert github.paths() == ["GET /app"]


def test_what_an_app_lacks_is_reported_by_name(github: FakeGitHub, app: dict[str, Any]) -> None:
    github.apps["4711"].permissions = {**PERMISSIONS, "issues": "read"}
    [[first, advice, *_]] = found(github, **app)
    assert first == (
        "warning  GitHub: the App is Our App; it lacks permissions: issues: write, workflows: write"
    )
    assert "docs/github.md explains each of them" in advice
    github.apps["4711"].permissions = {**GRANTED, "contents": "read"}
    [[first, advice, *_]] = found(github, **app)
    assert first == "problem  GitHub: the App is Our App; it lacks permissions: contents: write"
    assert "it cannot create pull requests" in advice


def test_an_app_that_is_nowhere_installed_is_a_warning(
    github: FakeGitHub, app: dict[str, Any]
) -> None:
    github.apps["4711"].installations = {}
    [[first, advice]] = found(github, **app)
    assert first == "warning  GitHub: the App is Our App; it is not installed anywhere"
    assert advice == "Install it in your repositories."


def test_an_app_with_another_key_is_a_problem(github: FakeGitHub, app: dict[str, Any]) -> None:
    github.apps.clear()
    [[first, advice]] = found(github, **app)
    assert first == f"problem  GitHub: {github.host} does not know the App with this key"
    assert "GITHUB_APP_ID and GITHUB_APP_PRIVATE_KEY must belong together" in advice


def test_what_is_not_github_is_a_problem_and_what_does_not_answer_a_warning(
    github: FakeGitHub, app: dict[str, Any]
) -> None:
    asked = {**app, "github_token": TOKEN}
    for failure in ("html", "nonsense"):
        github.fail(failure)
        for first, advice in found(github, **asked):
            assert first == (f"problem  GitHub: the server at {github.api_url} is not its REST API")
            assert "A proxy or a sign-in page" in advice
    for path in ("/elsewhere/api/v3", "/elsewhere"):
        elsewhere = github.url + path
        first, _ = found(github_api_url=elsewhere, github_token=TOKEN)[-1]
        assert first == f"problem  GitHub: the server at {elsewhere} is not its REST API"
    github.fail("unavailable")
    findings = found(github, **asked)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        closed = f"http://127.0.0.1:{unused.getsockname()[1]}/api/v3"
        findings += found(**{**asked, "github_api_url": closed})
    assert len(findings) == 4
    for first, advice in findings:
        assert first.startswith("warning  GitHub: http://127.0.0.1:")
        assert first.endswith(" does not answer")
        assert "the firewall and HTTPS_PROXY" in advice


def test_a_limit_is_a_warning(github: FakeGitHub) -> None:
    github.fail("secondary_limit")
    assert of_token(github)[0] == (
        "warning  GitHub: GitHub limits the rate of requests of this token; try again in 7 seconds."
    )


def test_the_command_tells_it_without_a_secret(
    github: FakeGitHub, app: dict[str, Any], tmp_path: Path
) -> None:
    github.fail("bad_credentials", on="/user")
    own = {name.upper(): value for name, value in app.items()}
    code, output = Doctor(tmp_path, github.host).ask(
        {**own, "GITHUB_API_URL": github.api_url, "GITHUB_TOKEN": TOKEN}
    )
    assert code == 1
    assert f"problem  GitHub: {github.host} does not accept GITHUB_TOKEN" in output
    assert "ok       GitHub: the App is Our App\n" in output
    assert "github.request_failed" not in output, "the log of requests is not for this page"
    assert TOKEN not in output
    assert own["GITHUB_APP_PRIVATE_KEY"].splitlines()[1] not in output
