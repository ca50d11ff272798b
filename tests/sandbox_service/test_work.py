"""Users run commands and keep files in sandboxes of every kind."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.sandbox_service.api import Sandboxes
from tests.support.backends import Backend, Repository

pytestmark = pytest.mark.isolated_too("commands and files of users are what it isolates")

SECRET = "correct-horse-battery-staple"


@pytest.fixture(scope="module")
def sandboxes(backend: Backend) -> Sandboxes:
    return Sandboxes(backend.app)


@pytest.fixture(scope="module")
def box(sandboxes: Sandboxes) -> int:
    """Provide a sandbox that the tests of the module share."""
    return sandboxes.create(environment={"GREETING": f"it's\n{SECRET}"})


def test_a_command_tells_what_it_printed_and_how_it_ended(sandboxes: Sandboxes, box: int) -> None:
    reply = sandboxes.execute(box, ["sh", "-c", 'printf "%s" "$1"; echo bad >&2; exit 3', "x", "é"])
    assert reply.status == 200
    assert (reply.json["stdout"], reply.json["stderr"]) == ("é", "bad\n")
    assert (reply.json["exit_code"], reply.json["truncated"]) == (3, False)
    assert sandboxes.output(box, "echo $((1 + 1)) | cat; cat") == "2\n"
    assert sandboxes.execute(box, ["no-such-program"]).json["exit_code"] == 127
    cut = sandboxes.execute(box, "head -c 3000000 /dev/zero | tr '\\0' x").json
    assert (cut["exit_code"], cut["truncated"]) == (0, True)
    assert len(cut["stdout"]) < 1_100_000


def test_variables_reach_commands_and_nothing_else(
    sandboxes: Sandboxes, box: int, backend: Backend
) -> None:
    print_both = 'printf "%s|%s" "$GREETING" "$OWN"; tr "\\0" "\\n" </proc/$$/cmdline'
    output = sandboxes.output(box, print_both, environment={"OWN": "$(id) '`\""})
    assert output.startswith(f"it's\n{SECRET}|$(id) '`\"")
    assert output.count(SECRET) == 1
    assert sandboxes.output(box, 'echo "${OWN-none}"') == "none\n"
    # A preloaded library would run around the command, outside of an isolated sandbox.
    sandboxes.execute(box, ["true"], environment={"LD_PRELOAD": "/nowhere/evil.so"})
    assert SECRET not in str(sandboxes.send("GET", f"/{box}/operations").json)
    assert SECRET not in str(sandboxes.row(box))
    stored = (path for path in backend.folder.glob("async-code.db*"))
    assert not any(SECRET.encode() in path.read_bytes() for path in stored)


def test_a_command_runs_in_the_folder_that_was_asked_for(sandboxes: Sandboxes, box: int) -> None:
    home = sandboxes.output(box, "mkdir -p 'a b' && pwd").strip()
    assert sandboxes.output(box, ["pwd"], cwd="a b") == f"{home}/a b\n"
    missing = sandboxes.execute(box, ["pwd"], cwd="missing").json
    assert missing["exit_code"] not in {0, None}


def test_a_command_that_takes_too_long_is_ended_and_its_output_told(
    sandboxes: Sandboxes, box: int
) -> None:
    reply = sandboxes.execute(box, "echo begun; sleep 60; echo done", timeout_seconds=1)
    assert (reply.status, reply.json["code"]) == (504, "command_timeout")
    assert reply.json["stdout"] == "begun\n"
    operation = sandboxes.send("GET", f"/{box}/operations?limit=1").json["operations"][0]
    assert (operation["kind"], operation["error_code"]) == ("execute", "command_timeout")
    assert "sleep 60" in operation["command"]
    assert sandboxes.execute(box, ["true"], timeout_seconds=10**6).status == 400


def test_files_are_written_listed_read_and_removed(sandboxes: Sandboxes, box: int) -> None:
    content = bytes(range(256))
    assert sandboxes.send("PUT", f"/{box}/files/deep/er/näme", data=content).status == 200
    assert sandboxes.send("GET", f"/{box}/files/deep/er/näme").content == content
    [entry] = sandboxes.send("GET", f"/{box}/files?path=deep/er").json["files"]
    assert (entry["name"], entry["kind"], entry["size_bytes"]) == ("näme", "file", 256)
    [folder] = sandboxes.send("GET", f"/{box}/files?path=deep").json["files"]
    assert (folder["name"], folder["kind"]) == ("er", "folder")
    assert sandboxes.output(box, ["cat", "deep/er/näme"], timeout_seconds=9)
    assert sandboxes.send("DELETE", f"/{box}/files/deep").status == 204
    for method in ("GET", "DELETE"):
        assert sandboxes.send(method, f"/{box}/files/deep").status == 404
    assert sandboxes.send("GET", f"/{box}/files?path=deep").status == 404
    sandboxes.output(box, "head -c 1100000 /dev/zero >large")
    assert sandboxes.send("GET", f"/{box}/files/large").json["code"] == "sandbox_file_too_large"


@pytest.mark.parametrize("path", ["../outside", "a/../../outside", "/etc/passwd", "a/%0Ab", "."])
def test_paths_lead_nowhere_else(sandboxes: Sandboxes, box: int, path: str) -> None:
    for method in ("GET", "PUT", "DELETE"):
        assert sandboxes.send(method, f"/{box}/files/{path}").status in {400, 404, 308}


@pytest.mark.local_only("a cloud sandbox is another machine")
@pytest.mark.parametrize("link", ["{outside}", "{outside}/inner"])
def test_the_server_follows_no_link_out_of_a_sandbox_on_its_machine(
    sandboxes: Sandboxes, box: int, tmp_path: Path, link: str
) -> None:
    outside = tmp_path / "outside"
    (outside / "inner").mkdir(parents=True)
    for folder in (outside, outside / "inner"):
        (folder / "file").write_text("untouched")
    sandboxes.output(box, ["ln", "-sfn", link.format(outside=outside), "link"])
    assert sandboxes.send("GET", f"/{box}/files/link/file").status == 404
    assert sandboxes.send("GET", f"/{box}/files?path=link").status == 404
    assert sandboxes.send("DELETE", f"/{box}/files/link/file").status == 404
    assert sandboxes.send("PUT", f"/{box}/files/link/file", data=b"changed").status == 200
    assert [path.read_text() for path in outside.rglob("file")] == ["untouched"] * 2
    sandboxes.output(box, ["rm", "-rf", "link"])


def test_a_repository_is_cloned_under_its_name(sandboxes: Sandboxes, sample: Repository) -> None:
    box = sandboxes.create(repo_url=sample.url, branch="main", name="mine")
    [stored] = sandboxes.row(box)["repositories"]
    assert stored == {
        "name": "mine",
        "repo_url": sample.url,
        "branch": "main",
        "base_commit": sample.head,
    }
    head = sandboxes.output(box, ["git", "-C", "mine", "rev-parse", "HEAD"])
    assert head.strip() == sample.head
    sandboxes.end(box)


def test_a_sandbox_tells_what_it_uses(sandboxes: Sandboxes, box: int) -> None:
    metrics = sandboxes.send("GET", f"/{box}/metrics").json["metrics"]
    assert metrics["disk_used_bytes"] > 0
    assert metrics["disk_total_bytes"] > metrics["disk_used_bytes"]
