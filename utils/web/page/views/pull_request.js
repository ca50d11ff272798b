// Opens and updates the pull request of a task. A refusal is explained, with what to do about it.
import { post } from "../lib/api.js";
import { Fragment, html, useRef, useState } from "../lib/html.js";
import { REMEDIES } from "../lib/refusals.js";
import { cancelTask, chooseTask, downloadPatch, startAgain } from "../lib/task_actions.js";
import { isActive } from "../lib/task_state.js";
import { Field, GrowingBox, Notice, Switch, useAction } from "./parts.js";

const START = { title: "", body: "", base: "", github_token: "", draft: false };

function bodyOf(form) {
  return Object.fromEntries(Object.entries(form)
    .map(([name, value]) => [name, typeof value === "string" ? value.trim() : value])
    .filter(([, value]) => value !== "" && value !== false));
}

function Refusal({ error, onRemedy }) {
  const remedy = REMEDIES[error.code];
  const button = remedy && html`<button type="button" onClick=${() => onRemedy(remedy)}>${
    remedy.label}</button>`;
  return html`<${Notice} action=${button}><p>${error.message}</p>
    <p class="muted"><a href="/docs/errors.md#${error.code}" target="_blank" rel="noopener">${
      error.code}</a></p></${Notice}>`;
}

function Result({ result }) {
  const pulls = result.pull_requests ?? [result];
  return html`<${Notice} kind="info">${pulls.map((pull) => html`<${Fragment} key=${pull.pr_url}>
    <p>Pull request ${pull.repository} <a href=${pull.pr_url} target="_blank"
      rel="noopener noreferrer">#${pull.pr_number}</a> ${pull.created ? "opened" : "updated"}${
      pull.draft ? " as a draft" : ""}: ${pull.title}</p>
    ${pull.warnings.map((one) => html`<p class="muted" key=${one.error}>${one.error}</p>`)}
  </${Fragment}>`)}</${Notice}>`;
}

function Fields({ form, set, exists }) {
  const text = (name) => (event) => set({ [name]: event.target.value });
  return html`<${Fragment}>
    <${Field} label="Title" hint=${exists ? null : "Made from the prompt if you leave it empty."}>
      ${(props) => html`<input name="title" maxlength="1000" value=${form.title}
        onInput=${text("title")} ...${props} />`}</${Field}>
    <${Field} label="Description">${(props) => html`<${GrowingBox} rows="3" value=${form.body}
      onInput=${(body) => set({ body })} ...${props} />`}</${Field}>
    <div class="columns">
      <${Field} label="Base branch">${(props) => html`<input name="base" spellcheck="false"
        placeholder="The branch of the task" value=${form.base} onInput=${text("base")}
        ...${props} />`}</${Field}>
      <${Field} label="GitHub token">${(props) => html`<input name="github_token" type="password"
        autocomplete="off" placeholder="The stored one" value=${form.github_token}
        onInput=${text("github_token")} ...${props} />`}</${Field}>
    </div>
  </${Fragment}>`;
}

export function PullRequest({ task, turns, reload }) {
  const [form, setForm] = useState(START);
  const [result, setResult] = useState(null);
  const element = useRef(null);
  const set = (changes) => setForm((old) => ({ ...old, ...changes }));
  const action = useAction(async (step) => {
    await step();
    reload();
  });
  const pulls = (task.repositories ?? [task]).filter((one) => one.pr_number);
  const exists = pulls.length > 0;

  const create = (chosen) => action.run(async () => {
    setResult(await post(`/create-pr/${task.id}`, bodyOf(chosen)));
  });
  const steps = {
    retry: () => startAgain(task, turns),
    download: () => downloadPatch(task),
    choose: () => chooseTask(task.group_id, task.id),
    cancel: () => cancelTask(task),
  };
  function remedy({ changes, field, action: step }) {
    if (field) return element.current.elements[field].focus();
    if (step) return action.run(steps[step]);
    setForm({ ...form, ...changes });
    return create({ ...form, ...changes });
  }
  function submit(event) {
    event.preventDefault();
    create(form);
  }
  return html`<form class="card" ref=${element} onSubmit=${submit} aria-label="Pull request">
    ${!result && pulls.map((one) => html`<p key=${one.pr_url}>Pull request ${one.name} <a
      href=${one.pr_url} target="_blank" rel="noopener noreferrer">#${one.pr_number}</a> is ${
      one.pr_state ?? "open"}.</p>`)}
    ${isActive(task) && html`<p class="muted">The task has not ended yet.</p>`}
    <${Fields} form=${form} set=${set} exists=${exists} />
    ${action.error && html`<${Refusal} error=${action.error} onRemedy=${remedy} />`}
    ${result && !action.error && html`<${Result} result=${result} />`}
    <div class="buttons buttons-end">
      ${!exists && html`<${Switch} label="Draft" checked=${form.draft}
        onChange=${(draft) => set({ draft })} />`}
      <button class="primary" disabled=${action.isBusy}>${action.isBusy ? "One moment"
        : exists ? "Update pull request" : "Create pull request"}</button>
    </div>
  </form>`;
}
