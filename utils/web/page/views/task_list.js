// All tasks of the user, with what changes while one looks at them.
import { agentTitle } from "../lib/config.js";
import { age, dollars, fullTime, repositoryName } from "../lib/format.js";
import { html, pure, useEffect, useState } from "../lib/html.js";
import { useTaskList } from "../lib/task_feed.js";
import { changeQuery, currentQuery } from "../lib/router.js";
import { Notice, Status, useAction, useTicks } from "./parts.js";

const STAGE_WORDS = { cloning: "Cloning", setup: "Preparing", agent: "Agent at work",
  capturing: "Reading changes" };
const FILTERS = [["", "Any status"], ["running", "Running"], ["pending", "Queued"],
  ["completed", "Completed"], ["failed", "Failed"], ["cancelled", "Cancelled"]];
const TYPING_MILLISECONDS = 250;
const AGE_MILLISECONDS = 60_000;

function liveNote(task) {
  if (task.status === "running") return STAGE_WORDS[task.stage];
  if (task.status !== "pending") return null;
  const position = task.queue_position ? `Number ${task.queue_position} in the queue` : null;
  return [position, task.waiting_reason].filter(Boolean).join(" · ") || null;
}

const Row = pure(({ task }) => {
  const note = liveNote(task);
  const text = task.chat_messages?.[0]?.content ?? task.prompt;
  const cost = dollars(task.cost_usd);
  return html`<li class="task-row">
    <a href="/tasks/${task.id}">
      <span class="task-prompt">${text}</span>
      <span class="task-facts">
        <${Status} status=${task.status} />
        ${note && html`<span class="live-note">${note}</span>`}
        <span class="repository">${repositoryName(task.repo_url)}</span>
        <span>${agentTitle(task.agent)}</span>
        ${cost && html`<span>${cost}</span>`}
        <time datetime=${task.created_at} title=${fullTime(task.created_at)}>${
          age(task.created_at)}</time>
        ${task.pr_number && html`<span class="badge">Pull request #${task.pr_number}</span>`}
        ${task.group_id && html`<span class="badge">Compared</span>`}
        <span class="number">#${task.id}</span>
      </span>
    </a>
  </li>`;
});

function Choice({ label, value, options, onChange }) {
  return html`<select aria-label=${label} value=${value}
    onChange=${(event) => onChange(event.target.value)}>
    ${options.map(([name, title]) => html`<option value=${name}>${title}</option>`)}</select>`;
}

function Filters({ projects, typed, onType, filter, set }) {
  const choices = [["", "All projects"], ...projects.map((one) => [String(one.id), one.name])];
  return html`<div class="filters">
    <input type="search" aria-label="Search in prompts" placeholder="Search in prompts" value=${typed}
      onInput=${(event) => onType(event.target.value)} />
    ${projects.length > 0 && html`<${Choice} label="Project" value=${filter.project}
      options=${choices} onChange=${(project) => set({ project })} />`}
    <${Choice} label="Status" value=${filter.status} options=${FILTERS}
      onChange=${(status) => set({ status })} />
  </div>`;
}

function useFilter() {
  const [filter, setFilter] = useState(() => {
    const { q: text = "", status = "", project = "" } = currentQuery();
    return { text, status, project };
  });
  const [typed, setTyped] = useState(filter.text);
  function set(changes) {
    const next = { ...filter, ...changes };
    changeQuery({ q: next.text, status: next.status, project: next.project });
    setFilter(next);
  }
  useEffect(() => {
    if (typed.trim() === filter.text) return undefined;
    const timer = setTimeout(() => set({ text: typed.trim() }), TYPING_MILLISECONDS);
    return () => clearTimeout(timer);
  }, [typed]);
  return { filter, set, typed, setTyped };
}

export function TaskList({ projects }) {
  const { filter, set, typed, setTyped } = useFilter();
  const list = useTaskList(filter);
  const more = useAction(list.more);
  // Another property lets rows draw their age again.
  const minutes = useTicks(AGE_MILLISECONDS);
  const isFiltered = filter.status || filter.text || filter.project;
  return html`<section aria-labelledby="tasks-title" class="tasks">
    <div class="section-head">
      <h2 id="tasks-title">Tasks ${list.isLoaded && html`<span class="muted count">${
        list.total}</span>`}</h2>
      <${Filters} projects=${projects} typed=${typed} onType=${setTyped} filter=${filter}
        set=${set} />
    </div>
    ${list.error && html`<${Notice}>${list.error.message} Trying again.</${Notice}>`}
    ${list.isLoaded && !list.tasks.length && html`<p class="empty">${isFiltered
      ? "No task matches." : "No tasks yet. Start the first one above."}</p>`}
    <ul class="task-list">${list.tasks.map((task) => html`<${Row} task=${task}
      minutes=${minutes} key=${task.id} />`)}
    </ul>
    ${more.error && html`<${Notice}>${more.error.message}</${Notice}>`}
    ${list.cursor && html`<button type="button" class="wide" disabled=${more.isBusy}
      onClick=${() => more.run()}>Show older tasks</button>`}
  </section>`;
}
