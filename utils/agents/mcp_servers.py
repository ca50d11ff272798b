"""Writes the MCP servers of a project in the formats of the agents' programs.

The files hold names of variables, never values: the programs read those in their own environment.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence

from utils.models.environments import McpServer
from utils.models.tasks import Json
from utils.sandboxes.protocol import SandboxPaths

CLAUDE_FILE = "mcp.json"
"""The file for `claude --mcp-config`, in the work folder."""

CODEX_FILE = ".codex/config.toml"


def claude_files(paths: SandboxPaths, servers: Sequence[McpServer]) -> Mapping[str, bytes]:
    """Return the file of Claude Code, which puts the values of variables in place of `${NAME}`."""
    document = {"mcpServers": {server.name: _claude_entry(server) for server in servers}}
    return {f"{paths.work}/{CLAUDE_FILE}": json.dumps(document, indent=1).encode()}


def _claude_entry(server: McpServer) -> Json:
    if not server.url:
        return {
            "type": "stdio",
            "command": server.command,
            "args": list(server.arguments),
            "env": {name: f"${{{name}}}" for name in server.variables},
        }
    token = server.token_variable
    headers = {"Authorization": f"Bearer ${{{token}}}"} if token else {}
    return {"type": "http", "url": server.url, "headers": headers}


def codex_files(paths: SandboxPaths, servers: Sequence[McpServer]) -> Mapping[str, bytes]:
    """Return the configuration of Codex."""
    lines = [line for server in servers for line in _codex_lines(server)]
    return {f"{paths.home}/{CODEX_FILE}": "\n".join([*lines, ""]).encode()}


def _codex_lines(server: McpServer) -> Iterator[str]:
    # The texts of JSON are texts of TOML as well.
    yield f"[mcp_servers.{json.dumps(server.name)}]"
    if server.url:
        yield f"url = {json.dumps(server.url)}"
        if server.token_variable:
            yield f"bearer_token_env_var = {json.dumps(server.token_variable)}"
        return
    yield f"command = {json.dumps(server.command)}"
    yield f"args = {json.dumps(list(server.arguments))}"
    yield f"env_vars = {json.dumps(list(server.variables))}"
