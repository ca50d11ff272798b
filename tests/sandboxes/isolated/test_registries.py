"""The package registries of this machine's npm and pip can be used in isolated sandboxes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.places import require_isolation
from tests.support.waiting import PATIENCE_SECONDS
from utils.config.settings import Settings
from utils.models.environments import NetworkPolicy
from utils.sandboxes.isolated import registries
from utils.sandboxes.isolated.provider import network_rules, registries_of
from utils.sandboxes.isolated.registries import find_registries
from utils.sandboxes.protocol import SandboxRequest

REQUEST = SandboxRequest(1, "user", 1, 60)


@pytest.fixture(autouse=True)
def _nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Take the place of an operator who has set nothing up."""
    require_isolation()
    for name in ("NPM_CONFIG_USERCONFIG", "NPM_CONFIG_GLOBALCONFIG", "PIP_CONFIG_FILE"):
        (tmp_path / name).touch()
        monkeypatch.setenv(name, str(tmp_path / name))
    for name in ("NPM_CONFIG_REGISTRY", "PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(registries, "ANSWER_SECONDS", PATIENCE_SECONDS)
    find_registries.cache_clear()
    yield
    find_registries.cache_clear()


def settings(tmp_path: Path, **changes: object) -> Settings:
    return Settings.model_validate({"data_dir": tmp_path, "sandbox": "isolated", **changes})


def test_registries_that_the_programs_use_by_themselves_are_allowed(tmp_path: Path) -> None:
    found = registries_of(settings(tmp_path))
    # That of npm, the index of pip, and the host of its files.
    assert len(found.usual) == 3
    assert (found.chosen, found.environment) == ((), ())
    rules = network_rules(settings(tmp_path), REQUEST, found)
    assert set(found.usual) <= set(rules.public)
    assert not set(found.usual) & set(rules.named)
    narrow = replace(REQUEST, network=NetworkPolicy("allow-list", ()))
    assert network_rules(settings(tmp_path), narrow, found).public == ()
    assert registries_of(settings(tmp_path, isolated_network="none")).usual == ()
    assert registries_of(settings(tmp_path, isolated_allow_registries=False)).usual == ()


def test_registries_of_the_operator_are_used_without_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NPM_CONFIG_REGISTRY", "http://npm.internal.example:4873/")
    (tmp_path / "pip.conf").write_text(
        "[global]\nindex-url = https://files.example/simple\n"
        "extra-index-url =\n  https://one.example/simple\n  https://me:secret@two.example/simple\n"
    )
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))
    monkeypatch.setenv("PIP_INDEX_URL", "https://variable.example/simple")
    found = registries_of(settings(tmp_path))
    assert found.chosen == ("npm.internal.example:4873", "variable.example", "one.example")
    assert dict(found.environment) == {
        "npm_config_registry": "http://npm.internal.example:4873/",
        "PIP_INDEX_URL": "https://variable.example/simple",
        "PIP_EXTRA_INDEX_URL": "https://one.example/simple",
    }
    assert set(found.chosen) <= set(network_rules(settings(tmp_path), REQUEST, found).named)
