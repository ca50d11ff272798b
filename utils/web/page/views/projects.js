// The projects of the user: repositories with a name.
import { get, post, put, remove } from "../lib/api.js";
import { count, repositoryName } from "../lib/format.js";
import { Fragment, html, useEffect, useState } from "../lib/html.js";
import { Confirmation, Dialog, Field, LoadFailure, Notice, Switch, useAction, useLoaded }
  from "./parts.js";

const EMPTY = { name: "", repo_url: "", description: "", settings: {}, setup: "",
  check_command: "", opensPulls: false };

// All other settings, and the rest of the environment, stay as they are.
function settingsOf({ settings, setup, check_command: check, opensPulls }) {
  const environment = { ...settings.environment };
  for (const [name, value] of [["setup", setup], ["check_command", check]]) {
    if (value.trim()) environment[name] = value;
    else delete environment[name];
  }
  const changed = { ...settings, environment };
  if (!Object.keys(environment).length) delete changed.environment;
  if (opensPulls) changed.auto_pr = true;
  else delete changed.auto_pr;
  return changed;
}

function bodyOf(form) {
  return { name: form.name.trim(), repo_url: form.repo_url.trim(),
    description: form.description.trim() || null, settings: settingsOf(form) };
}

function formOf(project) {
  const { setup = "", check_command: check = "" } = project.settings.environment ?? {};
  return { ...project, description: project.description ?? "", setup, check_command: check,
    opensPulls: project.settings.auto_pr === true };
}

function Fields({ form, setForm }) {
  const set = (name) => (event) => setForm({ ...form, [name]: event.target.value });
  return html`<div class="columns">
    <${Field} label="Name">${(props) => html`<input required maxlength="200" value=${form.name}
      onInput=${set("name")} ...${props} />`}</${Field}>
    <${Field} label="Repository">${(props) => html`<input required spellcheck="false"
      placeholder="https://github.com/owner/name" value=${form.repo_url}
      onInput=${set("repo_url")} ...${props} />`}</${Field}>
    <${Field} label="Description">${(props) => html`<input maxlength="10000"
      value=${form.description} onInput=${set("description")} ...${props} />`}</${Field}>
    <${Field} label="Setup script">${(props) => html`<textarea spellcheck="false" rows="3"
      placeholder="npm ci" value=${form.setup} onInput=${set("setup")} ...${props}></textarea>`}
    </${Field}>
    <${Field} label="Check command">${(props) => html`<input spellcheck="false" maxlength="4000"
      placeholder="npm test" value=${form.check_command} onInput=${set("check_command")}
      ...${props} />`}</${Field}>
  </div>
  <${Switch} label="Open pull requests when tasks complete" checked=${form.opensPulls}
    onChange=${(opensPulls) => setForm({ ...form, opensPulls })} />`;
}

// The steps of a form that sends a project: `send` gets its fields.
function useProjectForm(start, send) {
  const [form, setForm] = useState(start);
  const action = useAction(() => send(bodyOf(form), setForm));
  function submit(event) {
    event.preventDefault();
    action.run();
  }
  return { form, setForm, action, submit };
}

function NewProject({ onDone }) {
  const { form, setForm, action, submit } = useProjectForm(EMPTY, async (body, reset) => {
    await post("/projects", body);
    reset(EMPTY);
    onDone();
  });
  return html`<form class="card" onSubmit=${submit} aria-labelledby="new-project">
    <h2 id="new-project">New project</h2>
    <${Fields} form=${form} setForm=${setForm} />
    ${action.error && html`<${Notice}>${action.error.message}</${Notice}>`}
    <div class="buttons buttons-end"><button class="primary" disabled=${action.isBusy}>
      Add project</button></div>
  </form>`;
}

function ChangedProject({ project, onDone, onClose }) {
  const { form, setForm, action, submit } = useProjectForm(formOf(project), async (body) => {
    await put(`/projects/${project.id}`, body);
    onDone();
    onClose();
  });
  return html`<${Dialog} title="Edit ${project.name}" onClose=${onClose}>
    <form onSubmit=${submit}><${Fields} form=${form} setForm=${setForm} />
      ${action.error && html`<${Notice}>${action.error.message}</${Notice}>`}
      <div class="buttons buttons-end">
        <button type="button" onClick=${onClose}>Leave it as it is</button>
        <button class="primary" disabled=${action.isBusy}>Save project</button></div>
    </form>
  </${Dialog}>`;
}

function Project({ project, onEdit, onDelete }) {
  const { name } = project;
  const tasks = count(project.task_count, "task");
  const active = project.active_tasks ? `, ${project.active_tasks} active` : "";
  return html`<li class="card project">
    <div><h2>${name}</h2>
      <p class="muted">${repositoryName(project.repo_url)}</p>
      ${project.description && html`<p>${project.description}</p>`}
      <p><a href="/?project=${project.id}" aria-label="${tasks} of ${name}">${tasks}</a>
        <span class="muted">${active}</span></p></div>
    <div class="buttons">
      <button type="button" onClick=${onEdit} aria-label="Edit project ${name}">Edit</button>
      <button type="button" class="danger-quiet" onClick=${onDelete}
        aria-label="Delete project ${name}">Delete</button></div>
  </li>`;
}

export function Projects() {
  const { value, error, reload } = useLoaded((signal) => get("/projects", { signal }), []);
  const [leaving, setLeaving] = useState(null);
  const [edited, setEdited] = useState(null);
  useEffect(() => { document.title = "Projects · Async Code"; }, []);
  return html`<${Fragment}>
    <h1>Projects</h1>
    <p class="muted lead">A project gives a repository a name, and keeps its tasks together.</p>
    <${LoadFailure} error=${error} reload=${reload} />
    <ul class="projects">${value?.projects.map((one) => html`<${Project} project=${one} key=${one.id}
      onEdit=${() => setEdited(one)} onDelete=${() => setLeaving(one)} />`)}</ul>
    ${value && !value.projects.length && html`<p class="empty">No projects yet.</p>`}
    <${NewProject} onDone=${reload} />
    ${edited && html`<${ChangedProject} project=${edited} onDone=${reload}
      onClose=${() => setEdited(null)} />`}
    ${leaving && html`<${Confirmation} title="Delete ${leaving.name}?" confirm="Delete project"
      text=${leaving.task_count
        ? `Its ${count(leaving.task_count, "task")} with diffs and logs are deleted too.`
        : "It has no tasks."}
      onClose=${() => setLeaving(null)}
      onConfirm=${async () => { await remove(`/projects/${leaving.id}`); reload(); }} />`}
  </${Fragment}>`;
}
