"""No token that makes a pull request is left anywhere, whoever's it is and however it ends."""

from __future__ import annotations

import base64
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.fakes.github.state import App
from tests.push.test_secrecy import RECORDER
from tests.support.backends import USER, Repository
from tests.support.github.keys import PERMISSIONS, app_key, pem, public_pem
from tests.support.github.names import LOGIN
from tests.support.places import Place
from tests.support.pull_requests import SCRIPT, Hosted, Hub, open_hub
from tests.support.stored_files import stored_files

pytestmark = pytest.mark.cloud_with_all("a pull request is made from what is stored")

GIVEN, STORED, SERVERS = "ghp_given/1+a2b3", "ghp_stored/4+c5d6", "ghp_servers/7+e8f9"
KEY = app_key()
SETTINGS = {
    "github_token": SERVERS,
    "github_app_id": "4711",
    "github_app_private_key": pem(KEY),
    "log_level": "DEBUG",
}
NOBODY_LISTENS = 1  # a port that is never given out


class Watched:
    """A backend whose tokens are looked for, and the calls of all programs that it starts."""

    def __init__(self, hub: Hub, record: Path) -> None:
        self.hub = hub
        self.record = record
        self.answers: list[object] = []

    def make(self, hosted: Hosted, task_id: int, wanted: str | None, sent: str | None) -> None:
        """Fail in each way, make the pull request, fail again; git takes the wanted token alone."""
        tokens, name = hosted.server.tokens, hosted.name.partition("/")[2]
        tokens[name] = "another token"
        assert self.refused(hosted, task_id, sent) == "github_token_refused"
        if wanted is None:
            tokens.pop(name)
        else:
            tokens[name] = wanted
        hosted.github.git_port = NOBODY_LISTENS
        assert self.refused(hosted, task_id, sent) == "repo_unreachable"
        hosted.github.git_port = hosted.server.port
        for failure, code in (
            ("bad_credentials", "github_token_refused"),
            ("reset", "github_unavailable"),
        ):
            hosted.github.fail(failure, on="POST .*/pulls")
            assert self.refused(hosted, task_id, sent) == code
            hosted.github.failing.clear()
        self.answers.append(hosted.created(task_id, github_token=sent))
        hosted.github.fail("bad_credentials", on="PATCH")
        assert self.refused(hosted, task_id, sent, "Another title") == "github_token_refused"
        hosted.github.failing.clear()

    def refused(
        self, hosted: Hosted, task_id: int, sent: str | None, title: str | None = None
    ) -> str:
        """Ask for what is refused; return the code."""
        answer = hosted.create(task_id, github_token=sent, title=title)
        assert answer["http_status"] in {403, 503}, answer
        self.answers.append(answer)
        return str(answer["code"])

    def needles(self) -> set[bytes]:
        """Return every token that was sent to GitHub, in each form that it may have."""
        sent = {one.token for one in self.hub.github.requests if one.token}
        assert sent > {GIVEN, STORED, SERVERS}
        forms = {text for token in sent for text in (token, quote(token, safe=""))}
        forms |= {base64.b64encode(f"x-access-token:{token}".encode()).decode() for token in sent}
        return {*(form.encode() for form in forms), pem(KEY).splitlines()[1].encode()}


@contextmanager
def watched(folder: Path, place: Place) -> Iterator[Watched]:
    """Open a backend with recorders before git and sh, and a folder for what is temporary."""
    tools, temporary, record = (folder / name for name in ("tools", "temporary", "record"))
    path = os.environ["PATH"]
    tools.mkdir()
    temporary.mkdir()
    for name in ("git", "sh"):
        text = RECORDER.replace("RECORD", str(record)).replace("REST", path).replace("NAME", name)
        (tools / name).write_text(text)
        (tools / name).chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{tools}:{path}")
        patch.setenv("TMPDIR", str(temporary))
        patch.setattr(tempfile, "tempdir", None)
        with open_hub(folder, place, **SETTINGS) as hub:
            for token in (GIVEN, STORED, SERVERS):
                hub.github.add_token(token, LOGIN)
            yield Watched(hub, record)


def make_with_all_tokens(seen: Watched, origin: Repository) -> None:
    """Make a pull request with the token of the App, the server, the user, and the request."""
    hub = seen.hub
    repositories = [hub.host(origin) for _ in range(4)]
    hub.server.tokens.clear()
    started = [hub.backend.start(SCRIPT, hosted.url) for hosted in repositories]
    for task_id in started:
        assert hub.backend.wait(task_id)["status"] == "completed"
    installed = {repositories[0].name: 77}
    hub.github.apps["4711"] = App("4711", public_pem(KEY), installed, dict(PERMISSIONS))
    wanted = (None, SERVERS, STORED, GIVEN)
    for hosted, task_id, token in zip(repositories, started, wanted, strict=True):
        if token == STORED:
            client = hub.backend.app.test_client()
            profile = {"github_token": STORED}
            answer = client.put("/users/me", json=profile, headers={"X-User-ID": USER})
            seen.answers.append(answer.get_json())
        seen.make(hosted, task_id, token, GIVEN if token == GIVEN else None)
        for path in (f"/tasks/{task_id}", f"/tasks/{task_id}/events", "/users/me", "/tasks"):
            seen.answers.append(hub.backend.get(path))


def test_no_token_is_left_anywhere(
    place: Place, small_origin: Repository, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with watched(tmp_path, place) as seen:
        make_with_all_tokens(seen, small_origin)
        found = {"calls": seen.record.read_bytes(), "answers": repr(seen.answers).encode()}
        for folder in (seen.hub.backend.folder, tmp_path / "temporary"):
            found |= {str(path): content for path, content in stored_files(folder).items()}
        if place.project:
            found["rows"] = place.project.dump()
        needles = seen.needles()
        sealed = seen.hub.services.database.get_profile(USER).github_token
        assert list((seen.hub.backend.folder / "pushes").iterdir()) == []
    found["log"] = "".join(capfd.readouterr()).encode()
    assert found["calls"].count(b"\npush\n--porcelain\n") == 4
    assert found["log"].count(b"pull_request.published") == 4
    assert sealed
    assert any(sealed.encode() in data for data in found.values())
    leaks = [(name, one) for name, data in found.items() for one in needles if one in data]
    assert leaks == []
