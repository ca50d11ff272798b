"""Sends the HTTP requests of the demonstration over one kept-alive connection."""

from __future__ import annotations

import http.client
import json
from typing import Any

Json = dict[str, Any]


class ApiError(Exception):
    """The server returned an error status."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class NoAnswerError(Exception):
    """The server did not respond."""


class Client:
    """Sends and receives JSON. Connects directly, even if the environment names a proxy.

    Every call raises `ApiError` for an error response and `NoAnswerError` for none.
    """

    def __init__(self, host: str, port: int) -> None:
        self._address = (host, port)
        self._connection = http.client.HTTPConnection(host, port, timeout=30)
        self._headers = {"Content-Type": "application/json"}

    def sign_in(self, user_id: str) -> str:
        """Get a token for the user, use it for later requests, and return it."""
        token = str(self.post("/api/auth/token", {"user_id": user_id})["access_token"])
        self._headers["Authorization"] = f"Bearer {token}"
        return token

    def use_key(self, key: str) -> None:
        """Use an API key for later requests."""
        self._headers["Authorization"] = f"Bearer {key}"

    def get(self, path: str) -> Json:
        """Return the response to a GET request."""
        return self._call("GET", path, None)

    def post(self, path: str, body: Json | None = None) -> Json:
        """Send a POST request, with an empty object if there is no body; return the response."""
        return self._call("POST", path, json.dumps(body or {}))

    def close(self) -> None:
        """Close the connection; the next call opens a new one."""
        self._connection.close()
        # An interrupted request may still be in its buffer and must not precede the next one.
        self._connection = http.client.HTTPConnection(*self._address, timeout=30)

    def _call(self, method: str, path: str, body: str | None) -> Json:
        try:
            self._connection.request(method, path, body, self._headers)
            response = self._connection.getresponse()
            content = response.read()
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            raise NoAnswerError(f"no response to {method} {path}") from error
        answer = _decoded(content)
        if response.status >= http.client.BAD_REQUEST:
            code = str(answer.get("code", response.status))
            raise ApiError(response.status, code, str(answer.get("error", response.reason)))
        return answer


def _decoded(content: bytes) -> Json:
    try:
        answer = json.loads(content)
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) else {}
