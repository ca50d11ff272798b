// Tasks that start at set times.
import { get, patch, post, remove } from "../lib/api.js";
import { agentOf, config } from "../lib/config.js";
import { firstLine, fullTime, repositoryName } from "../lib/format.js";
import { Fragment, html, useEffect, useState } from "../lib/html.js";
import { Confirmation, Dialog, Field, GrowingBox, LoadFailure, Notice, useAction, useLoaded }
  from "./parts.js";
import { Priority, PullSwitch, optionsOf } from "./task_options.js";

const EMPTY = { name: "", cron: "", prompt: "", repository: "", branch: "",
  agent: config.defaultAgent, projectId: null, priority: "normal", pullWish: null };

const ownZone = () => Intl.DateTimeFormat().resolvedOptions().timeZone || "UTC";

const timesOf = (form) => (
  { name: form.name.trim() || null, cron: form.cron.trim(), time_zone: form.zone.trim() });

function bodyOf(form) {
  const task = { prompt: form.prompt.trim(), repo_url: form.repository.trim(), model: form.agent,
    ...optionsOf(form) };
  if (form.branch.trim()) task.branch = form.branch.trim();
  if (form.projectId !== null) task.project_id = form.projectId;
  return { ...timesOf(form), task };
}

function formOf({ name, cron, time_zone: zone, task }) {
  return { name: name ?? "", cron, zone, prompt: task.prompt, projectId: task.project_id ?? null,
    priority: task.priority ?? "normal", pullWish: task.auto_pr ?? null };
}

// Where the task works, and with which agents, stays as it is.
function changeOf(form, { task }) {
  const { priority, auto_pr: pullWish, project_id: projectId, ...kept } = task;
  const changed = { ...kept, prompt: form.prompt.trim(), ...optionsOf(form) };
  if (form.projectId !== null) changed.project_id = form.projectId;
  return { ...timesOf(form), task: changed };
}

function When({ form, set }) {
  const typed = (name) => (event) => set({ [name]: event.target.value });
  return html`
    <${Field} label="Name">${(props) => html`<input maxlength="100" value=${form.name}
      onInput=${typed("name")} ...${props} />`}</${Field}>
    <${Field} label="Times" hint="Minute, hour, day of month, month, day of week, as in cron.">${
      (props) => html`<input required spellcheck="false" maxlength="200" placeholder="30 6 * * 1-5"
        value=${form.cron} onInput=${typed("cron")} ...${props} />`}</${Field}>
    <${Field} label="Time zone">${(props) => html`<input required spellcheck="false" maxlength="100"
      value=${form.zone} onInput=${typed("zone")} ...${props} />`}</${Field}>`;
}

function Where({ form, set }) {
  const typed = (name) => (event) => set({ [name]: event.target.value });
  return html`
    <${Field} label="Repository">${(props) => html`<input required spellcheck="false"
      placeholder="https://github.com/owner/name" value=${form.repository}
      onInput=${typed("repository")} ...${props} />`}</${Field}>
    <${Field} label="Branch">${(props) => html`<input spellcheck="false" maxlength="255"
      placeholder="Default branch" value=${form.branch} onInput=${typed("branch")}
      ...${props} />`}</${Field}>
    <${Field} label="Agent" hint=${agentOf(form.agent)?.simulated && "Simulated: no AI is called."}>${
      (props) => html`<select value=${form.agent} onChange=${typed("agent")} ...${props}>
        ${config.agents.map((one) => html`<option value=${one.name} disabled=${!one.usable}>${
          one.title}</option>`)}</select>`}</${Field}>`;
}

function Instructions({ form, set }) {
  return html`<${Field} label="Instructions for the agent">${(props) => html`<${GrowingBox} required
    rows="3" value=${form.prompt} onInput=${(prompt) => set({ prompt })} ...${props} />`}</${Field}>`;
}

// A project that was deleted, or is not loaded yet, stays the chosen one.
function Project({ form, set, projects, onChoose }) {
  const isKnown = form.projectId === null || projects.some((one) => one.id === form.projectId);
  function choose(event) {
    const chosen = projects.find((one) => String(one.id) === event.target.value) ?? null;
    set({ projectId: chosen?.id ?? null });
    if (chosen) onChoose?.(chosen);
  }
  return html`<${Field} label="Project">${(props) => html`<select value=${String(form.projectId ?? "")}
    onChange=${choose} ...${props}><option value="">None</option>
    ${!isKnown && html`<option value=${String(form.projectId)}>Project ${form.projectId}</option>`}
    ${projects.map((one) => html`<option value=${String(one.id)}>${one.name}</option>`)}
  </select>`}</${Field}>`;
}

function Options({ form, set, projects }) {
  return html`<${Priority} value=${form.priority} onChange=${(priority) => set({ priority })} />
    <${PullSwitch} wish=${form.pullWish} onChange=${(pullWish) => set({ pullWish })}
      project=${projects.find((one) => one.id === form.projectId)} />`;
}

function NewSchedule({ projects, onDone }) {
  const [form, setForm] = useState(() => ({ ...EMPTY, zone: ownZone() }));
  const set = (changes) => setForm((old) => ({ ...old, ...changes }));
  const action = useAction(async () => {
    await post("/schedules", bodyOf(form));
    set(EMPTY);
    onDone();
  });
  function submit(event) {
    event.preventDefault();
    action.run();
  }
  return html`<form class="card" onSubmit=${submit} aria-labelledby="new-schedule">
    <h2 id="new-schedule">New schedule</h2>
    <${Instructions} form=${form} set=${set} />
    <div class="columns"><${Where} form=${form} set=${set} />
      <${Project} form=${form} set=${set} projects=${projects}
        onChoose=${(project) => set({ repository: project.repo_url })} />
      <${When} form=${form} set=${set} /></div>
    ${action.error && html`<${Notice}>${action.error.message}</${Notice}>`}
    <div class="buttons buttons-end"><${Options} form=${form} set=${set} projects=${projects} />
      <button class="primary" disabled=${action.isBusy}>
      Add schedule</button></div>
  </form>`;
}

function ChangedSchedule({ schedule, projects, onDone, onClose }) {
  const [form, setForm] = useState(() => formOf(schedule));
  const set = (changes) => setForm((old) => ({ ...old, ...changes }));
  const action = useAction(async () => {
    await patch(`/schedules/${schedule.id}`, changeOf(form, schedule));
    onDone();
    onClose();
  });
  function submit(event) {
    event.preventDefault();
    action.run();
  }
  return html`<${Dialog} title="Edit ${titleOf(schedule)}" onClose=${onClose}>
    <form onSubmit=${submit}><${Instructions} form=${form} set=${set} />
      <div class="columns"><${When} form=${form} set=${set} />
        <${Project} form=${form} set=${set} projects=${projects} /></div>
      <div class="buttons"><${Options} form=${form} set=${set} projects=${projects} /></div>
      ${action.error && html`<${Notice}>${action.error.message}</${Notice}>`}
      <div class="buttons buttons-end">
        <button type="button" onClick=${onClose}>Leave it as it is</button>
        <button class="primary" disabled=${action.isBusy}>Save schedule</button></div>
    </form>
  </${Dialog}>`;
}

const titleOf = (schedule) => schedule.name ?? firstLine(schedule.task.prompt);

function Schedule({ schedule, onChange, onEdit, onDelete }) {
  const title = titleOf(schedule);
  const { is_enabled: isEnabled, last_task_id: last, task } = schedule;
  const toggle = useAction(async () => {
    await patch(`/schedules/${schedule.id}`, { is_enabled: !isEnabled });
    onChange();
  });
  const word = isEnabled ? "Pause" : "Go on";
  return html`<li class="card project">
    <div><h2>${title}</h2>
      <p class="muted">${repositoryName(task.repo_url ?? task.repositories[0].repo_url)} · ${" "}
        <code>${schedule.cron}</code> · ${schedule.time_zone}</p>
      <p>${isEnabled ? `Next: ${fullTime(schedule.next_run_at)}` : "Paused"}
        ${last && html` · <a href="/tasks/${last}" aria-label="Last task of ${title}">
          Last task: #${last}</a>`}</p>
      ${schedule.last_error && html`<${Notice}>${schedule.last_error}</${Notice}>`}
      ${toggle.error && html`<${Notice}>${toggle.error.message}</${Notice}>`}</div>
    <div class="buttons">
      <button type="button" disabled=${toggle.isBusy} onClick=${() => toggle.run()}
        aria-label=${isEnabled ? `Pause ${title}` : `Go on with ${title}`}>${word}</button>
      <button type="button" onClick=${onEdit} aria-label="Edit schedule ${title}">Edit</button>
      <button type="button" class="danger-quiet" onClick=${onDelete}
        aria-label="Delete schedule ${title}">Delete</button></div>
  </li>`;
}

export function Schedules() {
  const { value, error, reload } = useLoaded((signal) => get("/schedules", { signal }), []);
  const projects = useLoaded((signal) => get("/projects", { signal }), []).value?.projects ?? [];
  const [leaving, setLeaving] = useState(null);
  const [edited, setEdited] = useState(null);
  useEffect(() => { document.title = "Schedules · Async Code"; }, []);
  return html`<${Fragment}>
    <h1>Schedules</h1>
    <p class="muted lead">A schedule starts a task at set times, with the GitHub token of your
      settings.</p>
    <${LoadFailure} error=${error} reload=${reload} />
    <ul class="projects">${value?.schedules.map((one) => html`<${Schedule} schedule=${one}
      key=${one.id} onChange=${reload} onEdit=${() => setEdited(one)}
      onDelete=${() => setLeaving(one)} />`)}</ul>
    ${value && !value.schedules.length && html`<p class="empty">No schedules yet.</p>`}
    <${NewSchedule} projects=${projects} onDone=${reload} />
    ${edited && html`<${ChangedSchedule} schedule=${edited} projects=${projects} onDone=${reload}
      onClose=${() => setEdited(null)} />`}
    ${leaving && html`<${Confirmation} title="Delete ${titleOf(leaving)}?" confirm="Delete schedule"
      text="It starts no more tasks. Those that it has started stay."
      onClose=${() => setLeaving(null)}
      onConfirm=${async () => { await remove(`/schedules/${leaving.id}`); reload(); }} />`}
  </${Fragment}>`;
}
