// One task: where it is, what the agent says and does, and what it changed.
import { asksForPull, isPullDue, pullFailure } from "../lib/automatic_pull.js";
import { agentTitle } from "../lib/config.js";
import { parseDiff } from "../lib/diff_text.js";
import {
  age, dollars, firstLine, fullTime, repositoryName, seconds, secondsBetween, shortNumber,
} from "../lib/format.js";
import { Fragment, html, useEffect, useMemo, useState } from "../lib/html.js";
import { cancelTask, deleteTask, startAgain } from "../lib/task_actions.js";
import { hasPlan, isActive, useTask } from "../lib/task_state.js";
import { Changes } from "./changes.js";
import { Composer } from "./composer.js";
import { Log } from "./log.js";
import { Confirmation, Notice, Prompt, Status, useAction } from "./parts.js";
import { PullRequest } from "./pull_request.js";
import { RepositoryChanges } from "./repositories.js";
import { Tabs } from "./tabs.js";
import { Timeline } from "./timeline.js";

function usageText(task, log) {
  const usage = task.execution_metadata?.usage ?? log.usage;
  const cost = dollars(task.execution_metadata?.cost_usd ?? log.usage?.cost_usd);
  const tokens = usage && (usage.input_tokens || usage.output_tokens)
    ? `${shortNumber(usage.input_tokens ?? 0)} tokens in, ${
      shortNumber(usage.output_tokens ?? 0)} out` : null;
  return [tokens, cost].filter(Boolean).join(" · ");
}

function pullText(task, log) {
  if (isPullDue(task, log)) return "Pull request is being opened";
  return isActive(task) && asksForPull(task) ? "Pull request when done" : null;
}

function Facts({ task, log }) {
  const usage = usageText(task, log);
  const pull = pullText(task, log);
  const time = task.started_at && seconds(secondsBetween(task.started_at, task.completed_at));
  return html`<p class="facts">
    <${Status} status=${task.status} />
    <span class="repository">${(task.repositories ?? [task])
      .map((one) => repositoryName(one.repo_url)).join(", ")}</span>
    ${task.branch && html`<span>${task.branch}</span>`}
    <span>${agentTitle(task.agent)}</span>
    ${task.execution_metadata?.agent_model && html`<span>${
      task.execution_metadata.agent_model}</span>`}
    ${task.execution_metadata?.simulated && html`<span class="badge">Simulated</span>`}
    ${pull && html`<span class="badge">${pull}</span>`}
    ${!isActive(task) && time && html`<span>${time}</span>`}
    ${usage && html`<span>${usage}</span>`}
    <time datetime=${task.created_at} title=${fullTime(task.created_at)}>${
      age(task.created_at)}</time>
    <span class="number">#${task.id}</span>
    ${task.group_id && html`<a href="/groups/${task.group_id}">Comparison</a>`}
    ${(task.repositories ?? [task]).map((one) => one.pr_number && html`<a href=${one.pr_url}
      target="_blank" rel="noopener noreferrer">Pull request ${one.name} #${one.pr_number}</a>`)}
  </p>`;
}

function CancelQuestion({ task, reload, onClose }) {
  return html`<${Confirmation} title="Cancel this task?" confirm="Cancel task"
    text="The agent is stopped. What it has changed until now is kept."
    dismiss="Let it work" onClose=${onClose}
    onConfirm=${async () => { await cancelTask(task); reload(); }} />`;
}

function DeleteQuestion({ task, onClose }) {
  return html`<${Confirmation} title="Delete this task?" confirm="Delete task"
    text="Its diff, patch and log are deleted too. Branches and pull requests stay."
    onClose=${onClose} onConfirm=${() => deleteTask(task)} />`;
}

function Actions({ task, turns, reload }) {
  // A question stays what it was when the task ends meanwhile.
  const [asked, setAsked] = useState(null);
  const close = () => setAsked(null);
  const retry = useAction(() => startAgain(task, turns));
  return html`<div class="buttons">
    ${isActive(task)
      ? html`<button type="button" class="danger-quiet" onClick=${() => setAsked("cancel")}>
          Cancel task</button>`
      : html`<button type="button" disabled=${retry.isBusy} onClick=${() => retry.run()}>
          Start again</button>`}
    ${!isActive(task) && html`<button type="button" class="danger-quiet"
      onClick=${() => setAsked("delete")}>Delete task</button>`}
    ${retry.error && html`<${Notice}>${retry.error.message}</${Notice}>`}
    ${asked === "cancel"
      && html`<${CancelQuestion} task=${task} reload=${reload} onClose=${close} />`}
    ${asked === "delete" && html`<${DeleteQuestion} task=${task} onClose=${close} />`}
  </div>`;
}

function Failure({ task }) {
  if (!task.error) return null;
  const stage = task.error_stage ? ` (${task.error_stage})` : "";
  return html`<${Notice} kind=${task.status === "cancelled" ? "info" : "error"}>
    <p>${task.error}</p><p class="muted">${task.error_code}${stage}</p></${Notice}>`;
}

function PullFailure({ task, log }) {
  const failure = pullFailure(task, log);
  return failure && html`<${Notice} kind="warning"><p>${failure.message}</p>
    <p class="muted"><a href="/docs/errors.md#${failure.code}" target="_blank" rel="noopener">${
      failure.code}</a></p></${Notice}>`;
}

// Told to readers of the screen when it changes; the log itself would be too much.
function Announcement({ task, log }) {
  const stage = log.stages.at(-1)?.stage;
  const words = { cloning: "Cloning the repository", setup: "Preparing the sandbox",
    agent: "The agent is at work",
    capturing: "Reading the changes" };
  const text = isActive(task) ? words[stage] ?? "Queued" : `The task has ended: ${task.status}`;
  return html`<p class="only-read" role="status">${text}</p>`;
}

function changedFiles(task) {
  return (task.repositories ?? [task]).reduce(
    (sum, one) => sum + (one.changed_files?.length ?? 0), 0);
}

export function Task({ id }) {
  const { task, turns, log, error, trouble, reload } = useTask(id);
  const files = useMemo(() => parseDiff(task?.git_diff), [task?.git_diff]);
  useEffect(() => {
    document.title = task ? `#${id} ${firstLine(task.prompt)} · Async Code` : `#${id} · Async Code`;
  }, [id, task?.prompt]);
  if (error) {
    return html`<h1>Task #${id}</h1><${Notice}>${error.message}</${Notice}>
      <p><a href="/">Go to your tasks</a></p>`;
  }
  if (!task) {
    return html`<h1>Task #${id}</h1>${trouble
      ? html`<${Notice}>${trouble.message} Trying again.</${Notice}>`
      : html`<p class="muted" role="status">Loading the task</p>`}`;
  }
  const tabs = [
    { name: "log", title: "Log",
      body: html`<${Log} log=${log} isActive=${isActive(task)} messages=${task.chat_messages}
          turns=${turns} />
        <${Composer} task=${task} turns=${turns} reload=${reload} />` },
    { name: "changes", title: "Changes", count: changedFiles(task) || files.length,
      body: task.repositories
        ? html`<${RepositoryChanges} task=${task} isPlan=${hasPlan(task, turns)} />`
        : html`<${Changes} files=${files} task=${task} isPlan=${hasPlan(task, turns)} />` },
    { name: "pull-request", title: "Pull request",
      body: html`<${PullRequest} task=${task} turns=${turns} reload=${reload} />` },
  ];
  return html`<${Fragment}>
    <header class="task-head">
      <div><${Prompt} text=${task.prompt} /><${Facts} task=${task} log=${log} /></div>
      <${Actions} task=${task} turns=${turns} reload=${reload} />
    </header>
    <${Announcement} task=${task} log=${log} />
    <${Timeline} task=${task} stages=${log.stages} />
    ${trouble && html`<${Notice} kind="warning">${trouble.message} Trying again.</${Notice}>`}
    <${Failure} task=${task} /><${PullFailure} task=${task} log=${log} />
    <${Tabs} tabs=${tabs} label="Parts of the task" />
  </${Fragment}>`;
}
