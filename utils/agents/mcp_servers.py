"""Writes the MCP servers of a project in the two formats that the agents' programs read.

The files hold names of variables, never values: the programs read those in their own environment.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from utils.models.environments import McpServer
from utils.models.tasks import Json


def json_file(servers: Sequence[McpServer]) -> bytes:
    """Return a file with `mcpServers`; its reader replaces `${NAME}` by the value of a variable."""
    document = {"mcpServers": {server.name: _json_entry(server) for server in servers}}
    return json.dumps(document, indent=1).encode()


def _json_entry(server: McpServer) -> Json:
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


def toml_file(servers: Sequence[McpServer]) -> bytes:
    """Return a file with a table of `mcp_servers` for each; its reader looks up named variables."""
    lines = [line for server in servers for line in _toml_lines(server)]
    return "\n".join([*lines, ""]).encode()


def _toml_lines(server: McpServer) -> Iterator[str]:
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
