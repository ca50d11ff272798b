"""Tests what a command says about `.env` and the proxies before it does anything."""

from __future__ import annotations

import codecs
import os
from pathlib import Path

import httpx
import pytest

from utils.config.proxies import prepare_proxies
from utils.config.startup import read_settings, setting_warnings
from utils.errors import ConfigurationError

PASSWORD = "marked4711"


@pytest.fixture
def env_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Provide the path of the `.env` that is read."""
    monkeypatch.chdir(tmp_path)
    before = os.umask(0o077)
    os.umask(before)
    monkeypatch.setattr(os, "environ", dict(os.environ))
    return tmp_path / ".env"


def test_names_that_look_like_settings_are_named_with_the_right_one(
    env_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    env_file.write_text(
        "E2B_APIKEY=e2b_1\nPROT=80\nSUPABASE_KEY=x\nDATABSE_URL=x\nHTTPS_PROXY=http://p:1\n"
        "PORT=8001\nMY_OWN_PROGRAM=1\nCOMPOSE_PROJECT_NAME=x\nexport LOG_LEVEL=debug\n"
    )
    monkeypatch.setenv("ANTHROPIC_APIKEY", "x")
    said = "\n".join(setting_warnings())
    assert "E2B_APIKEY in .env is no setting. Do you mean E2B_API_KEY?" in said
    assert "PROT in .env is no setting. Do you mean PORT?" in said
    assert "Do you mean SUPABASE_SERVICE_ROLE_KEY?" in said
    assert "Do you mean DATABASE_URL?" in said
    assert "HTTPS_PROXY in .env has no effect" in said
    assert "variable ANTHROPIC_APIKEY is no setting. Do you mean ANTHROPIC_API_KEY?" in said
    for name in ("MY_OWN", "COMPOSE", "LOG_LEVEL", "PORT in"):
        assert name not in said


def test_lines_that_cannot_be_read_are_named_with_their_number(env_file: Path) -> None:
    env_file.write_text(f"PORT=8001\n{PASSWORD} is the password\n\nE2B_API_KEY\n")
    assert setting_warnings() == [
        "line 2 of .env cannot be read. Write NAME=value.",
        "line 4 of .env cannot be read. Write NAME=value.",
    ]


@pytest.mark.parametrize("mark", [b"", codecs.BOM_UTF8])
def test_an_env_file_of_an_editor_of_windows_is_read(env_file: Path, mark: bytes) -> None:
    env_file.write_bytes(mark + b"PORT=8001\r\nLOG_LEVEL=debug\r\n")
    settings = read_settings()
    assert (settings.port, settings.log_level) == (8001, "DEBUG")
    assert setting_warnings() == []


def test_an_env_file_that_is_no_text_is_named(env_file: Path) -> None:
    env_file.write_text("PORT=8001", encoding="utf-16")
    with pytest.raises(ConfigurationError, match=r"\.env is not UTF-8 text"):
        read_settings()


@pytest.mark.parametrize(
    ("given", "form"),
    [
        ("proxy.example:3128", "http://proxy.example:3128"),
        (' "http://proxy.example:3128/" ', "http://proxy.example:3128"),
        ("http:/proxy.example", "http://proxy.example"),
        ("HTTP://proxy.example:3128", "http://proxy.example:3128"),
        (f"http://user:{PASSWORD}@#1@proxy:1", f"http://user:{PASSWORD}%40%231@proxy:1"),
        ("http://[::1]:3128", "http://[::1]:3128"),
        ("socks5h://127.0.0.1:1080", "socks5h://127.0.0.1:1080"),
        ("none", None),
        ("", None),
    ],
)
def test_a_proxy_is_brought_to_the_form_that_libraries_take(given: str, form: str | None) -> None:
    environment = {"https_proxy": given, "NO_PROXY": ""}
    prepare_proxies(environment)
    assert environment.get("https_proxy") == form


@pytest.mark.parametrize(
    "given", [f"http://u:{PASSWORD}@proxy:port", "socks4://proxy:1", "http://proxy:99999", "a b"]
)
def test_another_proxy_is_refused_by_its_name(given: str) -> None:
    with pytest.raises(ConfigurationError, match="ALL_PROXY") as refused:
        prepare_proxies({"ALL_PROXY": given})
    assert PASSWORD not in refused.value.message


@pytest.mark.parametrize(
    "exceptions",
    ["localhost,127.0.0.0/8,::1", "[::1], [fd00::1]:8080", "fe80::/10 *.corp.example", "*"],
)
def test_exceptions_of_desktops_do_not_break_the_http_client(
    exceptions: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", exceptions)
    monkeypatch.setenv("HTTPS_PROXY", " proxy.example:3128\n")
    pytest.importorskip("socksio")
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:1080")
    prepare_proxies(os.environ)
    httpx.Client().close()
