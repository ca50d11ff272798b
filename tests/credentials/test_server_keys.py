"""Keys of the server are stored privately and must be valid."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.backends import Open, Repository, shell_agent
from tests.support.waiting import eventually
from utils.config.settings import Settings, inherited_environment, proxies_with_password
from utils.credentials.vault import Vault, load_or_create_key
from utils.errors import ConfigurationError

JWT_SECRET = "marked-signing-key-0123456789abcdef"


def test_an_agent_that_prints_the_servers_keys_prints_nothing(
    open_with: Open, sample: Repository
) -> None:
    backend = open_with(jwt_secret=JWT_SECRET)
    made = (backend.folder / "secret_key").read_text()
    with shell_agent():
        task = backend.complete(f"echo {JWT_SECRET}; echo {made}", sample)
    assert backend.output(task["id"]) == "[redacted]\n[redacted]\n"


@pytest.mark.parametrize("content", ["", "short", " " * 64])
def test_a_key_file_without_a_key_stops_the_start(tmp_path: Path, content: str) -> None:
    (tmp_path / "secret_key").write_text(content)
    with pytest.raises(ConfigurationError, match="shorter than 32"):
        Vault.open(Settings(_env_file=None, data_dir=tmp_path))


def test_a_key_is_made_once_and_for_this_user_only(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "key"
    first = load_or_create_key(path)
    assert load_or_create_key(path) == first
    assert path.stat().st_mode & 0o777 == 0o600
    assert [entry.name for entry in path.parent.iterdir()] == ["key"]


def test_a_proxy_with_a_password_is_for_our_git_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://user:proxy-password@proxy.example:3128")
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.example:3128")
    assert "HTTPS_PROXY" not in inherited_environment()
    assert inherited_environment()["HTTP_PROXY"] == "http://proxy.example:3128"
    assert set(proxies_with_password()) == {"HTTPS_PROXY"}
    assert "proxy-password" in Settings(_env_file=None).secrets


def test_log_lines_of_a_task_carry_no_request(
    quiet: None, open_with: Open, sample: Repository, capsys: pytest.CaptureFixture[str]
) -> None:
    backend = open_with(log_format="json", log_level="INFO")
    backend.complete("script:\nprint hello", sample)
    seen = ""

    def ended() -> list[str]:
        nonlocal seen
        seen += capsys.readouterr().err
        return [line for line in seen.splitlines() if '"task.ended"' in line]

    (line,) = eventually(ended)
    assert '"task_id"' in line
    assert "request_id" not in line
