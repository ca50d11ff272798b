"""Changes are kept whatever an agent does to its home and to our folder."""

from __future__ import annotations

import pytest

from tests.support.backends import Backend, Repository

pytestmark = pytest.mark.cloud_with_all(
    "the script is the same, and test_changes has a sample in the cloud"
)

WORK = 'work=$(dirname "$0"); '
EMPTY = f'{WORK}rm -rf "$work"/*; '
OURS = "result alone git_config commit_message capture.sh"
RESULTS = "unusual add_errors changes objects left_out made head"
PROFILES = "~/.bash_profile ~/.bash_login ~/.profile ~/.bashrc ~/.bash_logout"
DAMAGES = {
    "our folder is removed": f'{WORK}rm -rf "$work"',
    "a file in place of our folder": f'{WORK}rm -rf "$work"; touch "$work"',
    "a FIFO in place of our folder": f'{WORK}rm -rf "$work"; mkfifo "$work"',
    "a loop in place of our folder": f'{WORK}rm -rf "$work"; ln -s "$work" "$work"',
    # The files first: only root may change those of a locked folder.
    "our folder is locked": f'{WORK}find "$work" -depth -exec chmod 000 {{}} +',
    "our files are FIFOs": f'{EMPTY}for n in {OURS}; do mkfifo "$work/$n"; done',
    "our files are loops": f'{EMPTY}for n in {OURS}; do ln -s "$n" "$work/$n"; done',
    "our files are folders": f'{EMPTY}for n in {OURS}; do mkdir -p "$work/$n/x"; done',
    "results are FIFOs": f'{WORK}mkdir -p "$work/result"; for n in {RESULTS}; do '
    'mkfifo "$work/result/$n"; done',
    "results are folders": f'{WORK}for n in {RESULTS}; do mkdir -p "$work/result/$n/x"; done',
    "scripts are replaced": f"{WORK}for n in capture stage commit bundle clone; do "
    'echo "exit 3" >"$work/$n.sh"; done',
    "the home is locked": "chmod 000 ~",
    "the repository is locked": "chmod 000 .",
    "the profile ends the shell": f"for n in {PROFILES}; do echo 'exit 3' >$n; done",
    "the profile waits": f"for n in {PROFILES}; do echo 'sleep 1000' >$n; done",
    "everything in the home is removed": "find ~ -mindepth 1 -maxdepth 1 ! -name repository "
    "-exec rm -rf {} +",
}


@pytest.mark.parametrize("case", DAMAGES)
def test_the_changes_are_kept_whatever_the_agent_does_to_its_home(
    shell: Backend, sample: Repository, case: str
) -> None:
    task = shell.complete(f"echo made >made.txt; echo hello; {DAMAGES[case]}", sample)
    assert task["changed_files"] == ["made.txt"]
    # In the cloud the output is a file, which an agent may remove before anybody has read it.
    if not (shell.place.cloud and "rm -rf" in DAMAGES[case]):
        assert shell.output(task["id"]).startswith("hello\n")


def test_a_repository_that_became_a_link_is_named_as_the_reason(
    shell: Backend, sample: Repository
) -> None:
    task = shell.perform("cd ..; mv repository other; ln -s other repository", sample)
    assert (task["status"], task["error_code"]) == ("failed", "capture_failed")
    assert "a link has replaced the folder of the repository" in task["error"]
