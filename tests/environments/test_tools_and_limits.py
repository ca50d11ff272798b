"""Tests of MCP servers, network and memory: what a project may ask for, and what it gets."""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support.backends import SHELL_AGENT, USER, Backend, Repository, Row, shell_agent
from utils.agents.claude import CLAUDE
from utils.agents.codex import CODEX
from utils.agents.spec import AgentRequest
from utils.config.settings import Settings
from utils.environments.schema import checked_settings, read_environment
from utils.errors import SandboxError
from utils.git.hosts import Place
from utils.models.environments import NetworkPolicy
from utils.sandboxes.isolated.provider import network_rules
from utils.sandboxes.isolated.registries import Registries
from utils.sandboxes.protocol import SandboxPaths, SandboxRequest

TOKEN = "token-of-tickets-7c6b5a"
SERVERS = {
    "tickets": {"command": "npx", "args": ["-y", 'a "b"\\'], "variables": ["TICKETS_TOKEN"]},
    "docs": {"url": "https://docs.example.com/mcp", "token_variable": "TICKETS_TOKEN"},
}
PATHS = SandboxPaths("/home/user", "/home/user/repository", "/home/user/.async-code")


@pytest.fixture(scope="module", autouse=True)
def _shell() -> Iterator[None]:
    with shell_agent(replace(SHELL_AGENT, mcp_files=CLAUDE.mcp_files)):
        yield


def perform(
    backend: Backend, folder: Path, prompt: str, secret: str = "", **environment: Any
) -> Row:
    """Run a task of a new project with an environment; return its row."""
    repository = Repository(folder / "repository")
    repository.commit("echo first >file")
    settings = {"environment": environment}
    made = backend.post("/projects", name="P", repo_url=repository.url, settings=settings)
    assert made["http_status"] == 200, made
    project_id = made["project"]["id"]
    if secret:
        path = f"/projects/{project_id}/secrets/{secret}"
        body = {"value": TOKEN, "for_agent": True}
        client = backend.app.test_client()
        assert client.put(path, json=body, headers={"X-User-ID": USER}).status_code == 200
    return backend.perform(prompt, repository, project_id=project_id)


def test_an_agent_gets_the_servers_of_its_project_without_their_tokens(
    backend: Backend, tmp_path: Path
) -> None:
    prompt = 'cat "${0%/*}/mcp.json"; echo; echo ${#TICKETS_TOKEN}'
    row = perform(backend, tmp_path, prompt, "TICKETS_TOKEN", mcp_servers=SERVERS)
    document, length, _ = backend.output(row["id"]).rsplit("\n", 2)
    assert int(length) == len(TOKEN)
    assert json.loads(document)["mcpServers"] == {
        "tickets": {
            "type": "stdio",
            "command": "npx",
            "args": ["-y", 'a "b"\\'],
            "env": {"TICKETS_TOKEN": "${TICKETS_TOKEN}"},
        },
        "docs": {
            "type": "http",
            "url": "https://docs.example.com/mcp",
            "headers": {"Authorization": "Bearer ${TICKETS_TOKEN}"},
        },
    }


@pytest.mark.local_only("the preparation of a task is the same everywhere")
def test_a_server_gets_variables_of_its_project_only(backend: Backend, tmp_path: Path) -> None:
    row = perform(backend, tmp_path, "true", mcp_servers=SERVERS)
    assert (row["status"], row["error_code"]) == ("failed", "environment_invalid")
    assert "for_agent" in row["error"]
    nested = {"TICKETS_TOKEN": "${ANTHROPIC_API_KEY}"}
    row = perform(backend, tmp_path / "2", "true", mcp_servers=SERVERS, variables=nested)
    assert (row["status"], row["error_code"]) == ("failed", "environment_invalid")


def test_both_programs_are_told_where_their_servers_are() -> None:
    servers = read_environment({"environment": {"mcp_servers": SERVERS}}).servers
    [content] = CODEX.mcp_files(PATHS, servers).values()
    assert tomllib.loads(content.decode())["mcp_servers"] == {
        "tickets": {"command": "npx", "args": ["-y", 'a "b"\\'], "env_vars": ["TICKETS_TOKEN"]},
        "docs": {
            "url": "https://docs.example.com/mcp",
            "bearer_token_env_var": "TICKETS_TOKEN",
        },
    }
    [path] = CLAUDE.mcp_files(PATHS, servers)
    command = CLAUDE.command(PATHS, AgentRequest("claude", has_servers=True))
    assert command[command.index("--mcp-config") + 1] == path
    assert "--strict-mcp-config" in command
    assert "--mcp-config" not in CLAUDE.command(PATHS, AgentRequest("claude"))
    assert list(CODEX.mcp_files(PATHS, servers)) == ["/home/user/.codex/config.toml"]


@pytest.mark.parametrize(
    ("environment", "refusal"),
    [
        ({"mcp_servers": {"a": {}}}, "mcp_servers needs either a command or a url"),
        ({"mcp_servers": {"a": {"command": "x", "port": 1}}}, "mcp_servers has an unknown key"),
        ({"mcp_servers": {"a": {"command": "${ANTHROPIC_API_KEY}"}}}, "must not contain"),
        ({"mcp_servers": {"a": {"url": "file:///etc/passwd"}}}, "must be an address"),
        ({"mcp_servers": {"a": {"url": "https://x.example:99999/"}}}, "ort"),
        ({"mcp_servers": {"a b": {"command": "x"}}}, "mcp_servers is not valid"),
        ({"network": {"policy": "some"}}, "network is not valid"),
        ({"network": {"policy": "none", "hosts": ["a.example"]}}, "policy allow-list only"),
        ({"network": {"policy": "allow-list", "hosts": ["https://a.example"]}}, "must be a host"),
        ({"network": {"policy": "allow-list", "hosts": ["a.example:99999"]}}, "must be a host"),
        ({"memory_megabytes": 1}, "memory_megabytes is not valid"),
        ({"cpus": 0}, "cpus is not valid"),
        ({"cpus": 1.5}, "cpus is not valid"),
    ],
)
def test_what_is_not_possible_is_refused(environment: Any, refusal: str) -> None:
    with pytest.raises(ValueError, match=refusal):
        checked_settings({"environment": environment})


@pytest.mark.local_only("nothing limits the network there")
@pytest.mark.not_isolated("the network can be limited there")
def test_a_network_that_cannot_be_limited_is_refused(backend: Backend, tmp_path: Path) -> None:
    row = perform(backend, tmp_path, "true", network={"policy": "none"})
    assert (row["status"], row["error_code"]) == ("failed", "network_policy_refused")
    assert "SANDBOX=isolated" in row["error"]


@pytest.mark.cloud_only("E2B limits it")
def test_e2b_is_told_which_hosts_may_be_reached(backend: Backend, tmp_path: Path) -> None:
    network = {"policy": "allow-list", "hosts": ["packages.example.com:443"]}
    row = perform(backend, tmp_path, "true", network=network)
    assert row["status"] == "completed", row["error"]
    assert backend.place.cloud
    asked = json.loads(backend.place.cloud.requests("create")[-1]["body"])["network"]
    assert asked == {"allowOut": ["packages.example.com"], "denyOut": ["0.0.0.0/0"]}
    refused = perform(backend, tmp_path / "other", "true", memory_megabytes=500)
    assert refused["error_code"] == "environment_invalid"
    refused = perform(backend, tmp_path / "third", "true", cpus=1)
    assert refused["error_code"] == "environment_invalid"
    assert "the template decides" in refused["error"]


@pytest.mark.local_only("the limits of isolated sandboxes are the same ones")
def test_a_project_can_lower_the_memory_of_its_tasks(backend: Backend, tmp_path: Path) -> None:
    prompt = "python3 -c 'import time; b = bytearray(400_000_000); time.sleep(30)'"
    row = perform(backend, tmp_path, prompt, memory_megabytes=200)
    assert (row["status"], row["error_code"]) == ("failed", "sandbox_limit_exceeded")


@pytest.mark.local_only("in the cloud the template decides")
@pytest.mark.isolated_too("it is set before the view is built")
def test_a_project_limits_the_processors_of_its_tasks(backend: Backend, tmp_path: Path) -> None:
    setup = 'nproc >"$HOME/processors"'
    row = perform(backend, tmp_path, 'nproc; cat "$HOME/processors"', setup=setup, cpus=1)
    assert row["status"] == "completed", row["error"]
    assert backend.output(row["id"]) == "1\n1\n"
    more = perform(backend, tmp_path / "more", "nproc", cpus=1_000)
    assert backend.output(more["id"]) == f"{len(os.sched_getaffinity(0))}\n"


def allowed(mode: str, hosts: tuple[str, ...], **settings: Any) -> set[str]:
    """Return the hosts that an isolated sandbox of a project may reach, of some."""
    request = SandboxRequest(
        *(1, "user", 1, 60.0),
        repo_urls=("https://git.example/o/r",),
        model_hosts=("model.example",),
        network=NetworkPolicy(mode, hosts) if mode else None,
    )
    chosen = Settings.model_validate({"sandbox": "isolated", **settings})
    rules = network_rules(chosen, request, Registries())
    names = ("git.example", "model.example", "a.example", "b.wide.example", "other.example")
    places = [Place("https", name, None) for name in names]
    return {place.host for place in places if rules.allows_name(place)}


def test_a_project_narrows_the_network_of_isolated_sandboxes_and_never_widens_it() -> None:
    always = {"git.example", "model.example"}
    listed = {
        "isolated_network": "allow-list",
        "isolated_allowed_hosts": "a.example,*.wide.example",
    }
    everything = {"isolated_network": "open"}
    assert allowed("", (), **listed) == {*always, "a.example", "b.wide.example"}
    assert allowed("none", (), **listed) == always
    assert allowed("allow-list", ("a.example:443",), **listed) == {*always, "a.example"}
    wide = allowed("allow-list", ("*.wide.example",), **listed)
    assert wide == {*always, "b.wide.example"}
    assert allowed("allow-list", ("other.example",), **everything) == {*always, "other.example"}
    assert "other.example" in allowed("open", (), **everything)
    for mode, hosts in (("open", ()), ("allow-list", ("other.example",))):
        with pytest.raises(SandboxError) as refused:
            allowed(mode, hosts, **listed)
        assert refused.value.code == "network_policy_refused"
