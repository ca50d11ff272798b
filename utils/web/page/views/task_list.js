// All tasks of the user, with what changes while one looks at them.
import { agentTitle } from "../lib/config.js";
import { useCost } from "../lib/costs.js";
import { age, dollars, fullTime, repositoryName } from "../lib/format.js";
import { html, pure, useEffect, useState } from "../lib/html.js";
import { useTaskList } from "../lib/task_feed.js";
import { Notice, Status, useAction } from "./parts.js";

const STAGE_WORDS = { cloning: "Cloning", agent: "Agent at work", capturing: "Reading changes" };
const FILTERS = [["", "All"], ["running", "Running"], ["pending", "Queued"],
  ["completed", "Completed"], ["failed", "Failed"], ["cancelled", "Cancelled"]];
const TYPING_MILLISECONDS = 250;

function liveNote(task) {
  if (task.status === "running") return STAGE_WORDS[task.stage];
  if (task.status !== "pending") return null;
  const position = task.queue_position ? `Number ${task.queue_position} in the queue` : null;
  return [position, task.waiting_reason].filter(Boolean).join(" · ") || null;
}

function Cost({ task }) {
  const { place, cost } = useCost(task);
  return html`<span ref=${place} class="cost">${dollars(cost)}</span>`;
}

const Row = pure(({ task }) => {
  const note = liveNote(task);
  const text = task.chat_messages?.[0]?.content ?? task.prompt;
  return html`<li class="task-row">
    <a href="/tasks/${task.id}">
      <span class="task-prompt">${text}</span>
      <span class="task-facts">
        <${Status} status=${task.status} />
        ${note && html`<span class="live-note">${note}</span>`}
        <span class="repository">${repositoryName(task.repo_url)}</span>
        <span>${agentTitle(task.agent)}</span>
        <${Cost} task=${task} />
        <time datetime=${task.created_at} title=${fullTime(task.created_at)}>${
          age(task.created_at)}</time>
        ${task.pr_number && html`<span class="badge">Pull request #${task.pr_number}</span>`}
        ${task.group_id && html`<span class="badge">Compared</span>`}
        <span class="number">#${task.id}</span>
      </span>
    </a>
  </li>`;
});

function Filters({ status, onStatus, text, onText }) {
  return html`<div class="filters">
    <input type="search" aria-label="Search in prompts" placeholder="Search in prompts" value=${text}
      onInput=${(event) => onText(event.target.value)} />
    <select aria-label="Status" value=${status}
      onChange=${(event) => onStatus(event.target.value)}>
      ${FILTERS.map(([value, title]) => html`<option value=${value}>${title}</option>`)}
    </select>
  </div>`;
}

export function TaskList() {
  const [status, setStatus] = useState("");
  const [typed, setTyped] = useState("");
  const [text, setText] = useState("");
  useEffect(() => {
    const timer = setTimeout(() => setText(typed.trim()), TYPING_MILLISECONDS);
    return () => clearTimeout(timer);
  }, [typed]);
  const list = useTaskList({ status, text });
  const more = useAction(list.more);
  const isFiltered = status || text;
  return html`<section aria-labelledby="tasks-title" class="tasks">
    <div class="section-head">
      <h2 id="tasks-title">Tasks ${list.isLoaded && html`<span class="muted count">${
        list.total}</span>`}</h2>
      <${Filters} status=${status} onStatus=${setStatus} text=${typed} onText=${setTyped} />
    </div>
    ${list.error && html`<${Notice}>${list.error.message}</${Notice}>`}
    ${list.isLoaded && !list.tasks.length && html`<p class="empty">${isFiltered
      ? "No task matches." : "No tasks yet. Start the first one above."}</p>`}
    <ul class="task-list">${list.tasks.map((task) => html`<${Row} task=${task} key=${task.id} />`)}
    </ul>
    ${more.error && html`<${Notice}>${more.error.message}</${Notice}>`}
    ${list.cursor && html`<button type="button" class="wide" disabled=${more.isBusy}
      onClick=${() => more.run()}>Show older tasks</button>`}
  </section>`;
}
