"""Tasks over several repositories: each has its own exact result and its own pull request."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.support.backends import USER, Repository, Row, git
from tests.support.github.app import SECRET, WebhookSender
from tests.support.github.names import TOKEN
from tests.support.github.pulls import ended
from tests.support.places import Place
from tests.support.pull_requests import Hosted, open_hub

EXACT = r"""
for name in */; do (
    cd "$name" && printf 'one\r\ntwo\n' >dos.txt && printf '\000\001\377' >image.bin
    printf 'caf\351' >"$name.txt" 2>/dev/null || printf 'caf\351' >latin.txt
    chmod +x one.txt; git mv two.txt renamed.txt; ln -s one.txt link; echo "${name%/}" >name.txt
    git add --all && echo "tree $(git write-tree)"
); done
"""
SAME_IN_THE_CLOUD = pytest.mark.cloud_with_all("it is about requests, not about the sandbox")
ONE_MORE = "echo more >>{}/one.txt"


@pytest.fixture(scope="module")
def three(
    place: Place, small_origin: Repository, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[list[Hosted]]:
    """Provide three repositories on the fake GitHub, with a server that receives deliveries."""
    own = {"github_token": TOKEN, "github_webhook_secret": SECRET}
    with open_hub(tmp_path_factory.mktemp("three"), place, **own) as hub:
        yield [hub.host(small_origin) for _ in range(3)]


def names(repositories: Sequence[Hosted]) -> list[str]:
    return [one.name.partition("/")[2] for one in repositories]


def start(three: Sequence[Hosted], script: str) -> int:
    """Run a script as a task over all repositories; return the task's id."""
    return three[0].task(script, repositories=[{"repo_url": one.url} for one in three[1:]])


def repositories_of(hosted: Hosted, task_id: int) -> list[Row]:
    found: list[Row] = hosted.row(task_id)["repositories"]
    return found


def new_pulls(three: Sequence[Hosted], before: Sequence[int]) -> list[Row]:
    """Return the one pull request that each repository has more than before."""
    made = []
    for hosted, count in zip(three, before, strict=True):
        pull, *_ = hosted.pulls
        assert len(hosted.pulls) == count + 1
        made.append({"number": pull.number, "body": pull.body, "head": pull.head})
    return made


@pytest.mark.cloud_with_all("the scripts are the same")
def test_three_repositories_get_three_exact_and_linked_pull_requests(
    three: list[Hosted], tmp_path: Path
) -> None:
    before = [len(one.pulls) for one in three]
    task_id = start(three, EXACT)
    backend = three[0].backend
    trees = re.findall(r"tree ([0-9a-f]{40})", backend.output(task_id))
    rows, status = repositories_of(three[0], task_id), backend.status(task_id)["repositories"]
    assert [row["name"] for row in rows] == names(three)
    assert [row["tree_hash"] for row in rows] == trees
    assert len(set(trees)) == 3
    assert [row["branch"] for row in rows] == ["main"] * 3
    texts = {"git_diff", "git_patch"}
    assert status == [{k: v for k, v in row.items() if k not in texts} for row in rows]
    for place, (row, tree) in enumerate(zip(rows, trees, strict=True)):
        clone = tmp_path / str(place)
        git(three[place].bare, "clone", "--quiet", "--", ".", str(clone))
        git(clone, "am", "--quiet", stdin=row["git_patch"].encode())
        assert git(clone, "rev-parse", "HEAD^{tree}") == tree
        address = f"/git-diff/{task_id}?repository={row['name']}"
        assert backend.get(address)["git_diff"] == row["git_diff"]
    assert backend.patch(task_id).decode() == rows[0]["git_patch"]
    clones = [e["data"] for e in backend.events(task_id) if e["kind"] == "git"]
    assert [one["repository"] for one in clones] == names(three) * 2

    answer = three[0].created(task_id)
    again = three[0].created(task_id)
    made = answer["pull_requests"]
    assert [one["repository"] for one in made] == names(three)
    assert [one["created"] for one in made] == [True] * 3
    assert [one["created"] for one in again["pull_requests"]] == [False] * 3
    assert [one["warnings"] for one in made] == [[]] * 3
    assert answer["pr_url"] == made[0]["pr_url"]
    pulls = new_pulls(three, before)
    for place, (hosted, pull, tree) in enumerate(zip(three, pulls, trees, strict=True)):
        assert hosted.rev(f"{made[place]['branch']}^{{tree}}") == tree
        others = [one["pr_url"] for n, one in enumerate(made) if n != place]
        assert re.findall(r"^- (http\S+)$", pull["body"], re.MULTILINE) == others
        assert repositories_of(hosted, task_id)[place]["pr_url"] == made[place]["pr_url"]


@SAME_IN_THE_CLOUD
def test_a_pull_request_may_be_created_in_one_repository_after_the_other(
    three: list[Hosted],
) -> None:
    before = [len(one.pulls) for one in three]
    task_id = start(three, "for name in */; do echo more >>$name/one.txt; done")
    for name in names(three):
        answer = three[0].created(task_id, repository=name)
        assert [one["repository"] for one in answer["pull_requests"]] == [name]
    urls = [one["pr_url"] for one in repositories_of(three[0], task_id)]
    for place, pull in enumerate(new_pulls(three, before)):
        assert all((url in pull["body"]) == (n != place) for n, url in enumerate(urls))
    last = three[2].pulls[0]
    delivery = ended("closed", urls[2], number=last.number, branch=f"async-code/task-{task_id}")
    message = WebhookSender(three[0].backend.app).message(
        "pull_request", delivery, f"end-{task_id}"
    )
    assert message == "The pull request is closed; tasks updated: 1."
    states = [one["pr_state"] for one in repositories_of(three[0], task_id)]
    assert states == ["open", "open", "closed"]


@SAME_IN_THE_CLOUD
def test_only_repositories_with_changes_get_a_pull_request(three: list[Hosted]) -> None:
    before = [len(one.pulls) for one in three]
    task_id = start(three, ONE_MORE.format(names(three)[1]))
    rows = repositories_of(three[0], task_id)
    assert [row["changed_files"] for row in rows] == [[], ["one.txt"], []]
    assert [row["has_patch"] for row in rows] == [False, True, False]
    answer = three[0].created(task_id)
    assert [one["repository"] for one in answer["pull_requests"]] == names(three)[1:2]
    assert [len(one.pulls) for one in three] == [before[0], before[1] + 1, before[2]]
    assert three[0].refusal(task_id, repository=names(three)[0]) == (409, "no_changes")
    assert three[0].refusal(task_id, repository="other") == (404, "not_found")


@SAME_IN_THE_CLOUD
def test_a_refusal_in_one_repository_comes_before_anything_is_pushed(three: list[Hosted]) -> None:
    before = [len(one.pulls) for one in three]
    last = names(three)[2]
    folder = f"{last}/.github/workflows"
    script = f"echo 1 >{names(three)[0]}/a; mkdir -p {folder}; echo 1 >{folder}/a.yml"
    task_id = start(three, script)
    answer = three[0].create(task_id)
    assert (answer["http_status"], answer["code"]) == (409, "workflow_changes")
    assert answer["error"].startswith(f"{last}: ")
    assert [len(one.pulls) for one in three] == before


@pytest.mark.cloud_with_all("the scripts are the same")
def test_what_could_be_read_is_kept_when_a_repository_was_damaged(three: list[Hosted]) -> None:
    first, second, third = names(three)
    script = f"rm -rf {second}/.git; echo 1 >{first}/a; echo 1 >{third}/a"
    backend = three[0].backend
    urls = [{"repo_url": one.url} for one in three]
    row = backend.perform(script, three[0].url, github_token=TOKEN, repositories=urls)
    assert (row["status"], row["error_stage"]) == ("failed", "capturing")
    assert row["error"].startswith(f"{second}: ")
    found = [one.get("changed_files") for one in row["repositories"]]
    assert found == [["a"], None, ["a"]]


@pytest.mark.cloud_with_all("tests/repositories/test_stops.py has one there")
def test_a_later_turn_goes_on_in_all_repositories(three: list[Hosted]) -> None:
    before = [len(one.pulls) for one in three]
    first, second, third = names(three)
    # One command: the agent, a shell, is message the conversation so far as well.
    task_id = start(three, f"sh -c 'echo 1 >{first}/turn.txt; echo 1 >{second}/turn.txt'")
    three[0].created(task_id)
    backend = three[0].backend
    content = f"cat */turn.txt; echo 2 >>{second}/turn.txt; echo 2 >{third}/turn.txt"
    body = {"role": "user", "content": content, "run": True, "github_token": TOKEN}
    assert backend.post(f"/tasks/{task_id}/chat", **body)["http_status"] == 200
    row = backend.wait(task_id)
    assert row["status"] == "completed", row["error"]
    assert backend.output(task_id) == "1\n1\n"
    assert [one["changed_files"] for one in row["repositories"]] == [["turn.txt"]] * 3
    turn = backend.get(f"/tasks/{task_id}/turns")["turns"][1]
    assert (turn["files"], turn["additions"]) == (2, 2)
    diff = backend.get(f"/tasks/{task_id}/turns/2/diff")["git_diff"]
    assert re.findall(r"^# (\S+)$", diff, re.MULTILINE) == [second, third]
    made = three[0].created(task_id)["pull_requests"]
    assert [one["created"] for one in made] == [False, False, True]
    new_pulls(three, before)
    for hosted, pull, one in zip(three, made, row["repositories"], strict=True):
        assert hosted.rev(f"{pull['branch']}^{{tree}}") == one["tree_hash"]


@SAME_IN_THE_CLOUD
def test_repositories_of_others_are_not_found(three: list[Hosted]) -> None:
    task_id = start(three, ONE_MORE.format(names(three)[1]))
    client = three[0].backend.app.test_client()
    stranger = {"X-User-ID": USER[:-1] + "b"}
    for path in (
        f"/tasks/{task_id}",
        f"/task-status/{task_id}",
        f"/git-diff/{task_id}?repository={names(three)[1]}",
        f"/tasks/{task_id}/patch?repository={names(three)[1]}",
    ):
        assert client.get(path, headers=stranger).status_code == 404
        assert client.get(path, headers={"X-User-ID": USER}).status_code == 200
    body = {"repository": names(three)[1]}
    made = client.post(f"/create-pr/{task_id}", json=body, headers=stranger)
    assert made.status_code == 404
