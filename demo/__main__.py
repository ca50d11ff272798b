"""Runs the demonstration; the exit code tells how the task ended."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace

from demo.agent import AgentError, choose_agent, keys_of
from demo.client import ApiError, Client, NoAnswerError
from demo.console import Console
from demo.follow import Follower
from demo.options import ROOT, Options, parse
from demo.report import Report, next_steps
from demo.repository import RepositoryError, allowed_hosts, check_folder, require_git
from demo.restart import show_restart
from demo.sample import BRANCH, ensure_sample
from demo.server import Server, ServerError

# Always the same user, so that earlier results stay readable: the one whom the page signs in
# where a bare user id is believed.
USER_ID = "123e4567-e89b-12d3-a456-426614174000"

STEP_SECONDS = "0.3"
"""The time for each step of the scripted agent on a terminal, where somebody watches it."""

EXIT_FAILED = 1


class Demonstration:
    """Starts a server, runs one task and prints its diff."""

    def __init__(self, options: Options, console: Console, environment: Mapping[str, str]) -> None:
        serves = console.live if options.keep_serving is None else options.keep_serving
        self._options = replace(options, keep_serving=serves)
        self._console = console
        self._environment = environment

    def run(self) -> int:
        """Run the demonstration, stop the server in any case, and return the exit code."""
        repo, branch = self._repository()
        inherited = {k: v for k, v in self._environment.items() if k != self._options.token_env}
        agent = choose_agent(
            self._options.agent,
            keys_of(self._environment, ROOT / ".env"),
            self._environment.get("PATH"),
            is_remote="://" in repo,
        )
        variables = {**agent.variables, "ALLOWED_GIT_HOSTS": allowed_hosts(repo)}
        if self._console.live:
            variables["SCRIPTED_STEP_SECONDS"] = STEP_SECONDS
        with Server(self._options.data_dir, inherited, variables) as server:
            self._console.progress("  Starting the server")
            server.wait_ready()
            log_path = self._options.shown(server.log_path)
            self._console.line(f"Server  {server.url}, its log is {log_path}")
            if agent.note:
                self._console.line(f"Agent   {agent.note}")
            # Close the client first: the server would wait for its open connection.
            with contextlib.closing(server.client()) as client:
                try:
                    client.sign_in(USER_ID)
                    succeeded = self._run_tasks(client, server, repo, branch)
                except NoAnswerError as error:
                    log = server.log_tail()
                    raise ServerError(
                        f"The server stopped during the task: {error}. Its log ends:\n{log}"
                    ) from error
            self._keep_serving(server)
        return 0 if succeeded else EXIT_FAILED

    def _repository(self) -> tuple[str, str | None]:
        options = self._options
        require_git()
        if options.repo is not None:
            check_folder(options.repo)
            return options.repo, options.branch
        sample = ensure_sample(
            options.data_dir / "sample-repository", self._environment.get("PATH", os.defpath)
        )
        return str(sample), options.branch or BRANCH

    def _run_tasks(self, client: Client, server: Server, repo: str, branch: str | None) -> bool:
        task_id = self._start_task(client, repo, branch)
        with self._cancelling(client, task_id):
            follower = Follower(client, self._console, task_id)
            status = follower.follow()
        report = Report(self._console, client.get(f"/api/tasks/{task_id}")["task"])
        if status != "completed":
            report.failure(follower.log)
            return False
        report.result()
        succeeded = True
        if self._console.live and self._options.shows_restart:
            succeeded = self._show_restart(client, server, repo, branch, task_id)
        self._console.line()
        for line in next_steps(self._options, repo, task_id, USER_ID, server.url):
            self._console.line(line)
        return succeeded

    def _show_restart(
        self, client: Client, server: Server, repo: str, branch: str | None, first_id: int
    ) -> bool:
        self._console.line()
        self._console.line("The same again, but now the server is killed on the way", "bold")
        self._console.line()
        task_id = self._start_task(client, repo, branch)
        with self._cancelling(client, task_id):
            return show_restart(self._console, server, client, task_id, first_id)

    @contextlib.contextmanager
    def _cancelling(self, client: Client, task_id: int) -> Iterator[None]:
        try:
            yield
        except KeyboardInterrupt:
            self._cancel(client, task_id)
            raise

    def _start_task(self, client: Client, repo: str, branch: str | None) -> int:
        body = {"prompt": self._options.prompt, "repo_url": repo}
        if branch:
            body["branch"] = branch
        if self._options.agent:
            body["model"] = self._options.agent
        if self._options.token:
            body["github_token"] = self._options.token
        task_id = int(client.post("/api/start-task", body)["task_id"])
        prompt = self._options.prompt.replace("\n", "\n        ")
        self._console.line(f"Task {task_id}  {prompt}")
        where = f"branch {branch}" if branch else "the default branch"
        self._console.line(f"        on {where} of {self._options.shown(repo)}")
        self._console.line()
        return task_id

    def _cancel(self, client: Client, task_id: int) -> None:
        self._console.line(f"Cancelling task {task_id}")
        client.close()
        try:
            client.post(f"/api/tasks/{task_id}/cancel")
        except (ApiError, NoAnswerError) as error:
            self._console.line(f"Could not cancel the task: {error}", "red")

    def _keep_serving(self, server: Server) -> None:
        if self._options.keep_serving:
            self._console.line()
            self._console.line(f"Serving {server.url}. Press Ctrl-C to stop.", "bold")
            with contextlib.suppress(KeyboardInterrupt):
                server.wait()


def _explain(error: Exception, options: Options) -> str:
    if isinstance(error, subprocess.CalledProcessError):
        said = (error.stderr or "").strip().splitlines()
        reason = said[-1] if said else f"git ended with code {error.returncode}"
    else:
        reason = getattr(error, "strerror", None) or type(error).__name__
    return (
        f"The folder {options.data_dir} cannot be used: {reason}. Choose one that you can write, "
        "with free space: --data-dir FOLDER"
    )


def main() -> int:
    """Run the demonstration with the arguments of the command line."""
    options = parse(sys.argv[1:], os.environ)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    os.umask(0o077)
    console = Console(sys.stdout, os.environ)
    try:
        return Demonstration(options, console, os.environ).run()
    except KeyboardInterrupt:
        console.progress("")
        raise
    except (ServerError, ApiError, RepositoryError, AgentError) as error:
        console.line(str(error), "red")
        return EXIT_FAILED
    except BrokenPipeError:
        # The reader has closed the pipe, as `| head` does; no more output is possible.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILED
    except (OSError, subprocess.SubprocessError) as error:
        console.line(_explain(error, options), "red")
        return EXIT_FAILED


if __name__ == "__main__":
    sys.exit(main())
