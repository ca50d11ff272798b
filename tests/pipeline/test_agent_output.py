"""Tests of the output of an agent, its end, and the processes that it leaves."""

from __future__ import annotations

import json
import os
from dataclasses import replace

import psutil
import pytest

from tests.support.backends import SHELL_AGENT, Backend, Open, Repository, shell_agent
from tests.support.live_server import is_alive
from tests.support.waiting import eventually
from utils.agents.claude import ClaudeReader

pytestmark = pytest.mark.cloud_with_all("tests/sandboxes/e2b has the cloud's own ways of output")

WORK = "echo kept >kept.txt\n"
CHARACTERS = "aé€\U0001f98a"


def test_five_megabytes_are_cut_at_the_limit_with_a_note(
    open_with: Open, sample: Repository
) -> None:
    backend = open_with(max_output_bytes=100_000)
    with shell_agent():
        task = backend.complete("yes 0123456 | head -c 5000000; echo b >a; echo late >&2", sample)
    output = backend.output(task["id"])
    assert 100_000 <= len(output) < 200_000
    # The two streams have no common order.
    note = "[output after 100000 bytes (MAX_OUTPUT_BYTES) is not stored]\n"
    assert backend.output(task["id"], "stderr").replace("late\n", "") == note
    assert task["changed_files"] == ["a"]


def test_results_count_against_the_limit_too(open_with: Open, sample: Repository) -> None:
    backend = open_with(max_output_bytes=10_000)
    with shell_agent():
        task = backend.complete("yes 'result: done' | head -n 5000", sample)
    events = backend.get(f"/tasks/{task['id']}/events?limit=1000")["events"]
    assert len(events) < 200
    assert task["chat_messages"][-1]["content"] == "done"


def test_a_token_at_the_cut_of_a_long_line_is_removed(shell: Backend, sample: Repository) -> None:
    token = "tok_ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    fill = "head -c {} /dev/zero | tr '\\0' {}"
    line = f"{fill.format(32_750, 'y')}; printf {token}; {fill.format(120_000, 'z')}"
    task = shell.complete(line, sample, github_token=token)
    output = shell.output(task["id"])
    assert "[redacted]" in output
    assert "tok_" not in output
    assert "WXYZ" not in output
    assert output.endswith("z" * 120_000)


def test_all_of_the_output_is_stored_below_the_limit(shell: Backend, sample: Repository) -> None:
    task = shell.complete("seq 100000", sample)
    assert shell.output(task["id"]) == "".join(f"{n}\n" for n in range(1, 100_001))


def test_characters_that_come_in_pieces_stay_whole(shell: Backend, sample: Repository) -> None:
    pieces = "".join(f"printf '\\{byte:03o}'; sleep 0.02\n" for byte in CHARACTERS.encode())
    assert shell.output(shell.complete(pieces, sample)["id"]) == CHARACTERS


def test_bytes_that_are_no_text_are_marked(shell: Backend, sample: Repository) -> None:
    task = shell.complete("printf 'a\\351b\\000c\\355\\240\\200\\n\\303'", sample)
    output = shell.output(task["id"])
    assert output.startswith("a�b")
    assert output.endswith("\n�")


def test_a_line_of_a_megabyte_is_kept(shell: Backend, sample: Repository) -> None:
    task = shell.complete("head -c 1000000 /dev/zero | tr '\\0' z; echo end", sample)
    assert shell.output(task["id"]) == "z" * 1_000_000 + "end\n"


def test_progress_lines_and_both_streams_are_kept(shell: Backend, sample: Repository) -> None:
    task = shell.complete("printf '10%%\\r20%%\\r'; echo oops >&2; printf 'done'", sample)
    assert shell.output(task["id"]) == "10%\r20%\rdone"
    assert shell.output(task["id"], "stderr") == "oops\n"


def test_output_comes_while_the_agent_works(shell: Backend, sample: Repository) -> None:
    task_id = shell.start(
        "echo early; for i in $(seq 200); do [ -e go ] || sleep 0.1; done", sample
    )
    eventually(lambda: shell.output(task_id) == "early\n")
    assert shell.status(task_id)["status"] == "running"
    [sandbox] = shell.sandboxes
    (sandbox.repository / "go").touch()
    assert shell.wait(task_id)["status"] == "completed"


@pytest.mark.local_only("the output is read alike, wherever the task runs")
def test_the_line_that_a_cancelled_agent_had_begun_is_kept(
    shell: Backend, sample: Repository
) -> None:
    task_id = shell.start("printf 'begun\\nhalf'; sleep 600", sample)
    eventually(lambda: shell.output(task_id) == "begun\n")
    assert shell.post(f"/tasks/{task_id}/cancel")["http_status"] == 200
    assert shell.wait(task_id)["status"] == "cancelled"
    assert shell.output(task_id) == "begun\nhalf"


@pytest.mark.parametrize(
    ("end", "exit_code"),
    [
        ("exit 1", 1),
        ("exit 201", 201),
        ("exit 255", 255),
        ("kill -9 $$", 137),
        ("kill -TERM $$", 143),
        ("kill -9 0", 137),
        ("kill -TERM 0", 143),
    ],
)
def test_an_agent_that_fails_keeps_its_work(
    shell: Backend, sample: Repository, end: str, exit_code: int
) -> None:
    task = shell.perform(f"{WORK}echo 'the reason' >&2\n{end}", sample)
    assert (task["status"], task["error_code"]) == ("failed", "agent_failed")
    assert task["error_stage"] == "agent"
    assert task["error"].endswith(": the reason")
    assert task["execution_metadata"]["agent_exit_code"] == exit_code
    assert task["changed_files"] == ["kept.txt"]
    assert "+kept" in task["git_diff"]


def counts(backend: Backend) -> dict[str, float]:
    text = backend.app.test_client().get("/metrics").get_data(as_text=True)
    samples = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
    return {name: float(count) for name, _, count in samples}


@pytest.mark.local_only("results are stored alike, wherever the task ran")
def test_tasks_that_ended_are_counted_once_in_the_metrics(
    shell: Backend, sample: Repository
) -> None:
    usage = {"usage": {"input_tokens": 7, "output_tokens": 2}, "total_cost_usd": 0.25}
    result = {"type": "result", "subtype": "success", "is_error": False, "result": "ok", **usage}
    before = counts(shell)
    shell.perform("exit 3", sample)
    with shell_agent(replace(SHELL_AGENT, reader=ClaudeReader)):
        shell.complete(f"echo '{json.dumps(result)}'", sample)
    after = counts(shell)
    for name, more in {
        'tasks_ended_total{agent="claude",status="failed"}': 1,
        'tasks_failed_total{error_code="agent_failed"}': 1,
        'agent_tokens_total{agent="claude",kind="input_tokens"}': 7,
        'agent_cost_usd_total{agent="claude"}': 0.25,
        'stage_seconds_count{stage="cloning"}': 2,
        'stage_seconds_count{stage="agent"}': 2,
        'stage_seconds_count{stage="capturing"}': 2,
    }.items():
        sample_name = f"async_code_{name}"
        assert after[sample_name] == before.get(sample_name, 0) + more


def test_agents_that_take_too_long_keep_their_work_even_in_the_middle_of_git(
    open_with: Open, sample: Repository
) -> None:
    # Long enough for the start of the agent on a slow machine.
    backend = open_with(agent_timeout_seconds=3)
    endings = ("echo working\nsleep 600", ": >.git/index.lock\ntrap '' TERM INT\nsleep 600")
    with shell_agent():
        started = [backend.start(f"{WORK}{ending}", sample) for ending in endings]
        tasks = [backend.wait(task_id) for task_id in started]
    for task in tasks:
        assert (task["status"], task["error_code"]) == ("failed", "agent_timeout")
        assert "AGENT_TIMEOUT_SECONDS" in task["error"]
        assert task["changed_files"] == ["kept.txt"]
    assert backend.output(started[0]) == "working\n"


def test_processes_that_an_agent_leaves_behind_are_ended(
    shell: Backend, sample: Repository
) -> None:
    # Processes of other test runs on this machine do not belong to this task.
    stray = f"sleep 4321.{os.getpid()}"
    strays = (
        f"{stray} & setsid {stray} & (setsid sh -c 'trap \"\" TERM; {stray}; :' &)\n"
        f"nohup {stray} >/dev/null 2>&1 &\n"
    )
    task = shell.complete(f"{strays}{WORK}", sample)
    assert task["changed_files"] == ["kept.txt"]
    # A cloud sandbox is no longer listed as soon as its end begins.
    eventually(lambda: not any(map(is_alive, running(stray))))
    assert shell.sandboxes == []


def running(command: str) -> list[psutil.Process]:
    processes = psutil.process_iter(["cmdline"])
    return [process for process in processes if process.info["cmdline"] == command.split()]


def test_a_process_that_holds_the_output_open_does_not_hold_the_task(
    shell: Backend, sample: Repository
) -> None:
    task = shell.complete(f"setsid sleep 4322 &\n{WORK}", sample)
    assert task["changed_files"] == ["kept.txt"]


def test_a_folder_without_permissions_is_removed(shell: Backend, sample: Repository) -> None:
    shell.complete(
        f"{WORK}mkdir -p ../tmp/a/b; touch ../tmp/a/b/c; chmod 000 ../tmp/a/b ../tmp/a", sample
    )
    assert shell.sandboxes == []


def test_an_agent_that_removes_its_own_folder_ends_in_words(
    shell: Backend, sample: Repository
) -> None:
    task = shell.perform('echo working; rm -rf "$PWD"', sample)
    assert (task["status"], task["error_code"]) == ("failed", "capture_failed")
    assert shell.output(task["id"]) == "working\n"


def test_a_patch_over_the_limit_is_left_out_and_the_rest_is_kept(
    open_with: Open, sample: Repository
) -> None:
    script = "for i in $(seq 20); do echo $i >f$i; done; printf 'one\\ntwo\\n' >small.txt"
    backend = open_with(max_patch_bytes=600)
    with shell_agent():
        task = backend.complete(script, sample)
    assert (task["git_diff"], task["git_patch"], task["has_patch"]) == (None, None, False)
    metadata = task["execution_metadata"]
    assert len(task["changed_files"]) == metadata["files_changed"] == 21
    assert metadata["additions"] == 22
    assert all("MAX_PATCH_BYTES (600)" in note for note in metadata["notes"])
    assert len(metadata["notes"]) == 2


def test_a_large_history_with_a_small_result_is_kept_as_one_commit(
    open_with: Open, sample: Repository
) -> None:
    script = "seq 3000 >a; git add a; git commit -qm Large; echo small >a"
    backend = open_with(max_patch_bytes=5_000)
    with shell_agent():
        task = backend.complete(script, sample)
    assert task["git_patch"].count("\nSubject: ") == 1
    assert task["execution_metadata"]["notes"] == []


def test_file_changes_are_bounded_in_number_and_size(open_with: Open, sample: Repository) -> None:
    script = "seq 1000 >a_large; rm README.md; ln -s x b_link; printf '\\000\\001' >b_binary\n"
    script += "for i in $(seq 20); do echo $i >file$i; done"
    backend = open_with(max_file_changes=6, max_file_change_bytes=1000)
    with shell_agent():
        task = backend.complete(script, sample)
    changes = {c["filename"]: c for c in task["execution_metadata"]["file_changes"]}
    assert len(changes) == 6
    assert changes["README.md"]["after"] == "FILE_DELETED"
    assert changes["README.md"]["before"] == "First.\n"
    assert (changes["a_large"]["before"], changes["a_large"]["after"]) == (
        "FILE_NOT_EXISTS",
        "FILE_TOO_LARGE",
    )
    assert changes["b_binary"]["after"] == "FILE_BINARY (2 bytes)"
    assert changes["b_link"]["after"] == "x"
    assert task["execution_metadata"]["notes"] == [
        "Contents are stored for the first 6 of 24 files."
    ]
