"""Failures in the cloud become a code, a stage, and a message that says what to do."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import httpx
import pyqwest
import pytest
from connectrpc.code import Code
from connectrpc.errors import ConnectError
from e2b import CommandExitException, exceptions

from tests.fakes.e2b.control import API_KEY, E2BServerProcess
from tests.support.backends import Backend, Repository
from tests.support.e2b.preloaded_cloud import PreloadedCloud
from tests.support.e2b.tasks import STAND_INS, cloud_backend, ended
from tests.support.git.server import GitServer
from tests.support.waiting import eventually
from utils.dispatcher import task_run
from utils.errors import SandboxError, SandboxLost, SandboxUnavailable
from utils.sandboxes.e2b.errors import EXCEPTION_RULES, translate
from utils.sandboxes.e2b.network_rules import egress_rules
from utils.sandboxes.protocol import EgressHeader

TOKEN = "marked-token-4711"
MODEL_KEY = "sk-marked-4712"

CODES = {
    "AuthenticationException": "e2b_auth_failed",
    "BuildException": "e2b_unavailable",
    "FileNotFoundException": "sandbox_error",
    "FileUploadException": "e2b_unavailable",
    "GitAuthException": "e2b_auth_failed",
    "GitUpstreamException": "e2b_unavailable",
    "GuestUnresponsiveException": "sandbox_error",
    "InvalidArgumentException": "sandbox_error",
    "NotEnoughSpaceException": "disk_full",
    "NotFoundException": "sandbox_error",
    "RateLimitException": "e2b_rate_limited",
    "SandboxException": "e2b_unavailable",
    "SandboxNotFoundException": "sandbox_lost",
    "SandboxNotRunningException": "sandbox_lost",
    "SandboxUnreachableException": "e2b_unavailable",
    "SecretException": "e2b_unavailable",
    "SecretNotFoundException": "e2b_unavailable",
    "ServiceBusyException": "e2b_unavailable",
    "TemplateException": "e2b_template_not_found",
    "TimeoutException": "e2b_unavailable",
    "VolumeException": "e2b_unavailable",
    "VolumeNotFoundException": "sandbox_error",
    "VolumePathNotFoundException": "sandbox_error",
}
"""The translation of each exception of the SDK. A new exception needs a decision here."""


def subclasses(kind: type[Exception]) -> Iterator[type[Exception]]:
    for one in kind.__subclasses__():
        yield one
        yield from subclasses(one)


def test_every_exception_of_the_sdk_has_a_code() -> None:
    found = {}
    for name, kind in inspect.getmembers(exceptions, inspect.isclass):
        if issubclass(kind, Exception) and kind.__module__ == exceptions.__name__:
            found[name] = translate(kind(f"it has {API_KEY} in it")).code
    assert found == CODES
    assert translate(CommandExitException("", "", 1, None)).code == "sandbox_error"


TRANSPORT = [
    *(kind("broken") for kind in subclasses(httpx.TransportError)),
    *(kind("broken") for kind in (pyqwest.ReadError, pyqwest.WriteError)),
    ConnectError(Code.UNAVAILABLE, "broken"),
    TimeoutError("broken"),
    ConnectionResetError("broken"),
    OSError("broken"),
    Exception("Command ended without an end event"),
]


@pytest.mark.parametrize("error", TRANSPORT, ids=lambda error: type(error).__name__)
def test_a_broken_connection_may_pass(error: Exception) -> None:
    translated = translate(error)
    assert isinstance(translated, SandboxUnavailable)
    assert translated.code == "e2b_unavailable"


def test_no_row_of_the_table_hides_a_later_one() -> None:
    kinds = [kind for rule in EXCEPTION_RULES for kind in rule.kinds]
    for number, kind in enumerate(kinds):
        assert not any(issubclass(kind, earlier) for earlier in kinds[:number]), kind


def with_status(status: int, text: str) -> Exception:
    error = exceptions.SandboxException(f"{status}: {text}")
    error.status_code = status
    return error


@pytest.mark.parametrize(
    ("error", "kind", "code"),
    [
        (with_status(404, "template not found"), SandboxError, "e2b_template_not_found"),
        (with_status(403, "blocked"), SandboxError, "e2b_auth_failed"),
        (
            with_status(400, "Timeout cannot be greater than 1 hours"),
            SandboxError,
            "sandbox_timeout",
        ),
        (
            with_status(403, "Team 'a' does not have access to the template 'b'"),
            SandboxError,
            "e2b_template_not_found",
        ),
        (
            with_status(400, "Max instance length exceeded"),
            SandboxError,
            "sandbox_timeout",
        ),
        (
            with_status(400, "Network transform rules are not available for your team."),
            SandboxError,
            "egress_unavailable",
        ),
        (
            with_status(400, 'Value for header "x" in rule for domain "y" exceeds maximum length'),
            SandboxError,
            "egress_unavailable",
        ),
        (with_status(409, "Sandbox is being paused"), SandboxUnavailable, "e2b_unavailable"),
        (with_status(400, "Bad"), SandboxError, "sandbox_error"),
        (with_status(500, "Oops"), SandboxUnavailable, "e2b_unavailable"),
        (with_status(504, "Gateway timeout"), SandboxUnavailable, "e2b_unavailable"),
        (exceptions.SandboxNotRunningException("gone"), SandboxLost, "sandbox_lost"),
    ],
)
def test_an_answer_is_reported_by_its_status(error: Exception, kind: type, code: str) -> None:
    translated = translate(error)
    assert (type(translated), translated.code) == (kind, code)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("maximum number of concurrent E2B sandboxes (20)", "E2B limit of 20 sandboxes"),
        ("Maximum number of concurrent sandboxes is 7.", "E2B limit of 7 sandboxes"),
        ("maximum number of concurrent E2B sandboxes", "E2B limit of sandboxes"),
    ],
)
def test_a_quota_is_distinguished_from_a_rate_limit_by_its_text(text: str, message: str) -> None:
    error: Any = exceptions.RateLimitException
    translated = translate(error(f"429: you have reached the {text}"))
    assert (translated.code, translated.message) == ("e2b_quota_exceeded", message)


@pytest.mark.parametrize(
    ("header", "words"),
    [
        (EgressHeader("10.0.0.7", "Authorization", "x"), "DNS name"),
        (EgressHeader("[::1]", "Authorization", "x"), "DNS name"),
        (EgressHeader("example.com", "Authorization", "x" * 2049), "2048 bytes"),
    ],
)
def test_what_a_network_rule_cannot_hold_is_explained(header: EgressHeader, words: str) -> None:
    with pytest.raises(SandboxError, match=words) as raised:
        egress_rules([header])
    assert raised.value.code == "egress_unavailable"
    assert header.value not in raised.value.message


def test_the_headers_of_a_host_are_one_rule() -> None:
    headers = [EgressHeader("example.com", name, "x") for name in ("a", "b")]
    assert egress_rules(headers) == {
        "example.com": [{"transform": {"headers": {"a": "x", "b": "x"}}}]
    }


@pytest.fixture(scope="module")
def fake() -> Iterator[E2BServerProcess]:
    with PreloadedCloud() as cloud:
        cloud.configure(tools=str(STAND_INS))
        yield cloud


@pytest.fixture(scope="module")
def agents(fake: E2BServerProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    """Provide a backend with fake agent programs and short timeouts."""
    settings = {
        "e2b_smoke_test": False,
        "anthropic_api_key": MODEL_KEY,
        "clone_timeout_seconds": 5,
        "agent_timeout_seconds": 5,
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(task_run, "MAX_REFUSALS", 0)
        with cloud_backend(fake, tmp_path_factory.mktemp("data"), **settings) as backend:
            yield backend


@pytest.fixture
def calm(fake: E2BServerProcess) -> Iterator[E2BServerProcess]:
    """Provide the cloud; remove its faults after the test."""
    yield fake
    fake.remove_faults()
    fake.configure(api_keys=None, templates=None, max_concurrent=None, max_timeout_seconds=3600)


def assert_failed(
    backend: Backend, task_id: int, code: str, stage: str | None, remedy: str
) -> None:
    task = ended(backend, task_id)
    assert (task["status"], task["error_code"], task["error_stage"]) == ("failed", code, stage)
    assert remedy in task["error"]
    assert backend.status(task_id)["error"] == task["error"]
    everything = str(task) + str(backend.events(task_id))
    for secret in (TOKEN, MODEL_KEY, API_KEY):
        assert secret not in everything


SETTINGS_CASES: list[tuple[dict[str, Any], str, str]] = [
    ({"max_concurrent": 0}, "e2b_quota_exceeded", "https://e2b.dev/dashboard"),
    ({"api_keys": ["e2b_other"]}, "e2b_auth_failed", "Set E2B_API_KEY"),
    ({"templates": ["another"]}, "e2b_template_not_found", "./run.sh build-template"),
    ({"max_timeout_seconds": 1}, "sandbox_timeout", "Lower SANDBOX_TIMEOUT_SECONDS"),
]
STATUS_CASES = [
    (429, "e2b_rate_limited", "MAX_CONCURRENT_TASKS"),
    (503, "e2b_unavailable", "./run.sh doctor"),
    (500, "e2b_unavailable", "https://status.e2b.dev"),
    (403, "e2b_auth_failed", "https://e2b.dev/dashboard"),
]


@pytest.mark.parametrize(("changes", "code", "remedy"), SETTINGS_CASES)
def test_what_the_cloud_does_not_allow_is_reported(
    agents: Backend,
    calm: E2BServerProcess,
    small: Repository,
    changes: dict[str, Any],
    code: str,
    remedy: str,
) -> None:
    calm.configure(**changes)
    assert_failed(agents, agents.start("say hello", small), code, "cloning", remedy)


@pytest.mark.parametrize(("status", "code", "remedy"), STATUS_CASES)
def test_a_create_that_is_refused_again_and_again_is_reported(
    agents: Backend, calm: E2BServerProcess, small: Repository, status: int, code: str, remedy: str
) -> None:
    calm.add_fault("status", route="create", status=status)
    assert_failed(agents, agents.start("say hello", small), code, "cloning", remedy)


@pytest.mark.parametrize("name", ["private", "missing", "hanging", "published"])
def test_a_clone_that_fails_is_reported(
    agents: Backend, calm: E2BServerProcess, git_server: GitServer, small: Repository, name: str
) -> None:
    code, remedy, branch, token = {
        "private": ("clone_auth_failed", "token", "main", TOKEN),
        "missing": ("repo_not_found", "repository", "main", None),
        "hanging": ("clone_timeout", "CLONE_TIMEOUT_SECONDS", "main", None),
        "published": ("branch_not_found", "branch", "no-such-branch", None),
    }[name]
    url = git_server.url(name)
    if name != "missing":
        git_server.publish(small, name, token="another" if token else None)
    if name == "hanging":
        git_server.hanging.add(name)
    task_id = agents.start("say hello", url, branch=branch, github_token=token)
    assert_failed(agents, task_id, code, "cloning", remedy)


@pytest.mark.parametrize(
    ("prompt", "model", "code", "stage", "remedy"),
    [
        ("sleep 60", "claude", "agent_timeout", "agent", "Raise the limit"),
        ("fail it went wrong", "claude", "agent_failed", "agent", "it went wrong"),
        ("crash 7", "claude", "agent_failed", "agent", "Segmentation fault"),
        ("auth", "claude", "agent_auth_failed", "agent", "ANTHROPIC_API_KEY"),
        ("say hello", "codex", "agent_not_configured", None, "OPENAI_API_KEY"),
    ],
)
def test_an_agent_that_fails_is_reported(
    agents: Backend,
    small: Repository,
    prompt: str,
    model: str,
    code: str,
    stage: str | None,
    remedy: str,
) -> None:
    task_id = agents.start(f"write kept.txt yes\n{prompt}", small, model=model)
    assert_failed(agents, task_id, code, stage, remedy)
    kept = ["kept.txt"] if stage else None
    assert agents.get(f"/tasks/{task_id}")["task"]["changed_files"] == kept


@pytest.mark.parametrize("how", ["crash", "expire"])
def test_a_sandbox_that_is_lost_under_the_agent_is_reported(
    agents: Backend, calm: E2BServerProcess, small: Repository, how: str
) -> None:
    task_id = agents.start("say it is here\nsleep 60", small)
    eventually(lambda: "it is here" in str(agents.events(task_id)))
    # That of an earlier task may be there for a moment more.
    found = {one["metadata"]["task_id"]: one["sandboxID"] for one in calm.sandboxes()}
    getattr(calm, how)(found[str(task_id)])
    assert_failed(agents, task_id, "sandbox_lost", "agent", "RETRY_LOST_SANDBOX")
    assert "it is here" in str(agents.events(task_id))


def test_a_gateway_that_gives_up_is_no_clone_that_takes_too_long(
    agents: Backend,
    calm: E2BServerProcess,
    small: Repository,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(task_run, "LOST_SANDBOX_ATTEMPTS", 1)
    calm.add_fault("status", route="process.Start", status=504)
    assert_failed(agents, agents.start("say hello", small), "e2b_unavailable", "cloning", "later")
