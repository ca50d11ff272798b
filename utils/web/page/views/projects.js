// The projects of the user: repositories with a name.
import { get, post, remove } from "../lib/api.js";
import { count, repositoryName } from "../lib/format.js";
import { Fragment, html, useEffect, useState } from "../lib/html.js";
import { Confirmation, Field, Notice, useAction, useLoaded } from "./parts.js";

function NewProject({ onDone }) {
  const [form, setForm] = useState({ name: "", repository: "", description: "" });
  const set = (name) => (event) => setForm({ ...form, [name]: event.target.value });
  const action = useAction(async () => {
    const body = { name: form.name.trim(), repo_url: form.repository.trim() };
    if (form.description.trim()) body.description = form.description.trim();
    await post("/projects", body);
    setForm({ name: "", repository: "", description: "" });
    onDone();
  });
  function submit(event) {
    event.preventDefault();
    action.run();
  }
  return html`<form class="card" onSubmit=${submit} aria-labelledby="new-project">
    <h2 id="new-project">New project</h2>
    <div class="columns">
      <${Field} label="Name">${(props) => html`<input required maxlength="200" value=${form.name}
        onInput=${set("name")} ...${props} />`}</${Field}>
      <${Field} label="Repository">${(props) => html`<input required spellcheck="false"
        placeholder="https://github.com/owner/name" value=${form.repository}
        onInput=${set("repository")} ...${props} />`}</${Field}>
      <${Field} label="Description">${(props) => html`<input value=${form.description}
        onInput=${set("description")} ...${props} />`}</${Field}>
    </div>
    ${action.error && html`<${Notice}>${action.error.message}</${Notice}>`}
    <div class="buttons buttons-end"><button class="primary" disabled=${action.isBusy}>
      Add project</button></div>
  </form>`;
}

function Project({ project, onDelete }) {
  const active = project.active_tasks ? `, ${project.active_tasks} active` : "";
  return html`<li class="card project">
    <div><h3>${project.name}</h3>
      <p class="muted">${repositoryName(project.repo_url)}</p>
      ${project.description && html`<p>${project.description}</p>`}
      <p class="muted">${count(project.task_count, "task")}${active}</p></div>
    <button type="button" class="danger-quiet" onClick=${onDelete}
      aria-label="Delete project ${project.name}">Delete</button>
  </li>`;
}

export function Projects() {
  const { value, error, reload } = useLoaded((signal) => get("/projects", { signal }), []);
  const [leaving, setLeaving] = useState(null);
  useEffect(() => { document.title = "Projects · Async Code"; }, []);
  return html`<${Fragment}>
    <h1>Projects</h1>
    <p class="muted lead">A project gives a repository a name, and keeps its tasks together.</p>
    ${error && html`<${Notice}>${error.message}</${Notice}>`}
    <ul class="projects">${value?.projects.map((one) => html`<${Project} project=${one} key=${one.id}
      onDelete=${() => setLeaving(one)} />`)}</ul>
    ${value && !value.projects.length && html`<p class="empty">No projects yet.</p>`}
    <${NewProject} onDone=${reload} />
    ${leaving && html`<${Confirmation} title="Delete ${leaving.name}?" confirm="Delete project"
      text="Its ${count(leaving.task_count, "task")} with diffs and logs are deleted too."
      onClose=${() => setLeaving(null)}
      onConfirm=${async () => { await remove(`/projects/${leaving.id}`); reload(); }} />`}
  </${Fragment}>`;
}
