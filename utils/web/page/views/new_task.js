// The form for a new task.
import { newRequestKey, post } from "../lib/api.js";
import { agentOf, config } from "../lib/config.js";
import { html, useEffect, useId, useRef, useState } from "../lib/html.js";
import { useBranches, useRepositories } from "../lib/repositories.js";
import { currentQuery, go } from "../lib/router.js";
import { onSessionChange } from "../lib/session.js";
import { readItem, writeItem } from "../lib/storage.js";
import { Comparison } from "./comparison.js";
import { FurtherRepositories, furtherRepositories } from "./further_repositories.js";
import { Field, GrowingBox, Notice, Switch, useAction } from "./parts.js";
import { Priority, PullSwitch, optionsOf, wantsPull } from "./task_options.js";

const LAST = "async-code-last-task";

// What somebody has begun to write is there after a look at another view.
let draft = null;
onSessionChange((session) => { if (!session) draft = null; });

function startValues() {
  if (draft) return draft;
  const last = readItem(LAST) ?? {};
  const agent = agentOf(last.agent) ? last.agent : config.defaultAgent;
  return { prompt: "", repository: last.repository ?? "", branch: "", agent, model: "", token: "",
    isCompared: false, agents: config.agents.filter((one) => one.usable).map((one) => one.name)
      .slice(0, 2), attempts: 1, check: "", isPlan: false, further: [], priority: "normal",
    pullWish: null };
}

function projectOf(form, projects) {
  const repository = form.repository.trim();
  return projects.find((one) => one.repo_url === repository);
}

function bodyOf(form, projects) {
  const project = projectOf(form, projects);
  const body = { prompt: form.prompt.trim(), repo_url: form.repository.trim(),
    // The pull request of a comparison is that of its chosen task.
    ...optionsOf(form.isCompared ? { ...form, pullWish: null } : form) };
  if (form.isCompared) Object.assign(body, { agents: form.agents, attempts: form.attempts });
  else body.model = form.agent;
  if (form.isCompared && form.check.trim()) body.check_command = form.check.trim();
  if (form.branch.trim()) body.branch = form.branch.trim();
  if (form.model && !form.isCompared) body.agent_model = form.model;
  if (form.isPlan) body.mode = "plan";
  if (form.token.trim()) body.github_token = form.token.trim();
  if (project) body.project_id = project.id;
  const further = form.isCompared ? [] : furtherRepositories(form.further);
  if (further.length) body.repositories = further;
  return body;
}

function Agents({ form, set }) {
  const agent = agentOf(form.agent);
  return html`
    <${Field} label="Agent" hint=${agent.simulated && "Simulated: no AI is called."}>${(props) => html`<select value=${form.agent} ...${props}
      onChange=${(event) => set({ agent: event.target.value, model: "" })}>
      ${config.agents.map((one) => html`<option value=${one.name} disabled=${!one.usable}>${
        one.title}</option>`)}</select>`}</${Field}>
    ${agent.models.length > 0 && html`<${Field} label="Model">${(props) => html`
      <select value=${form.model} ...${props}
        onChange=${(event) => set({ model: event.target.value })}>
        <option value="">Default</option>
        ${agent.models.map((name) => html`<option value=${name}>${name}</option>`)}
      </select>`}</${Field}>`}`;
}

function Repository({ form, set, repositories }) {
  const listId = useId();
  return html`<${Field} label="Repository">${(props) => html`
    <input required spellcheck="false" autocomplete="off" list=${listId} value=${form.repository}
      placeholder="https://github.com/owner/name" ...${props}
      onInput=${(event) => set({ repository: event.target.value })} />
    <datalist id=${listId}>${repositories.map((one) => html`
      <option value=${one.url}>${one.name}</option>`)}</datalist>`}</${Field}>`;
}

function Branch({ form, set, token }) {
  const listId = useId();
  const { branches, byDefault, load } = useBranches(form.repository, token);
  const empty = byDefault ? `Default branch (${byDefault})` : "Default branch";
  return html`<${Field} label="Branch">${(props) => html`
    <input spellcheck="false" autocomplete="off" list=${listId} value=${form.branch}
      placeholder=${empty} ...${props} onFocus=${load}
      onInput=${(event) => set({ branch: event.target.value })} />
    <datalist id=${listId}>${branches.map((name) => html`<option value=${name} />`)}
    </datalist>`}</${Field}>`;
}

// What a task cannot have because of its repository, it is started without.
const WITHOUT_PULL = new Set(["github_token_needed", "repository_not_on_github"]);

function Refusal({ error, isPullWanted, onWithout }) {
  const hasRemedy = isPullWanted && WITHOUT_PULL.has(error.code);
  return html`<${Notice} action=${hasRemedy && html`<button type="button" onClick=${onWithout}>
    Start without a pull request</button>`}>${error.message}</${Notice}>`;
}

// The address names a project when one comes from there.
function useProjectOfAddress(projects, set) {
  const chosen = projects.find((one) => String(one.id) === currentQuery().project);
  useEffect(() => { if (chosen) set({ repository: chosen.repo_url }); }, [chosen?.id]);
}

export function NewTask({ projects }) {
  const [form, setForm] = useState(startValues);
  const set = (changes) => setForm((old) => ({ ...old, ...changes }));
  useProjectOfAddress(projects, set);
  const requestKey = useRef(newRequestKey());
  const startsWithout = useRef(false);
  const action = useAction(async () => {
    const headers = { "Idempotency-Key": requestKey.current };
    const answer = await post("/start-task", bodyOf(form, projects), { headers });
    draft = null;
    writeItem(LAST, { repository: form.repository.trim(), agent: form.agent }, { keep: true });
    go(answer.group_id ? `/groups/${answer.group_id}` : `/tasks/${answer.task_id}`);
  });
  // Another request is another task; the same one again, after a lost answer, is the same task.
  useEffect(() => {
    requestKey.current = newRequestKey();
    draft = form;
    if (startsWithout.current) action.run();
    startsWithout.current = false;
  }, [form]);
  function startWithoutPull() {
    startsWithout.current = true;
    set({ pullWish: false });
  }
  const project = projectOf(form, projects);
  const formElement = useRef(null);
  // Completion asks GitHub when a token is there, not at each letter of it.
  const [token, setToken] = useState("");
  const repositories = useRepositories(projects, token);
  function submit(event) {
    event?.preventDefault();
    action.run();
  }
  return html`<form class="card new-task" ref=${formElement} onSubmit=${submit}
    aria-labelledby="new-task-title">
    <h1 id="new-task-title">New task</h1>
    <${Field} label="Instructions for the agent">${(props) => html`
      <${GrowingBox} required rows="3" value=${form.prompt}
        placeholder="Add a test for the checkout, and fix what it finds"
        onInput=${(prompt) => set({ prompt })}
        onSubmit=${() => formElement.current.requestSubmit()} ...${props} />`}</${Field}>
    <div class="columns">
      <${Repository} form=${form} set=${set} repositories=${repositories} />
      <${Branch} form=${form} set=${set} token=${token} />
      ${!form.isCompared && html`<${Agents} form=${form} set=${set} />`}
    </div>
    ${form.isCompared && html`<${Comparison} form=${form} set=${set} />`}
    ${!form.isCompared && html`<${FurtherRepositories} rows=${form.further} known=${repositories}
      onChange=${(further) => set({ further })} />`}
    <details class="private"><summary>Private repository</summary>
      <${Field} label="GitHub token" hint="Used for this task only. Settings keep one for all tasks.">
        ${(props) => html`<input type="password" autocomplete="off" value=${form.token} ...${props}
          onInput=${(event) => set({ token: event.target.value })}
          onChange=${(event) => setToken(event.target.value.trim())} />`}</${Field}>
    </details>
    ${action.error && html`<${Refusal} error=${action.error} onWithout=${startWithoutPull}
      isPullWanted=${!form.isCompared && wantsPull(form.pullWish, project)} />`}
    <div class="buttons buttons-end">
      <${Priority} value=${form.priority} onChange=${(priority) => set({ priority })} />
      ${!form.isCompared && html`<${PullSwitch} wish=${form.pullWish} project=${project}
        onChange=${(pullWish) => set({ pullWish })} />`}
      <${Switch} label="Plan first" checked=${form.isPlan}
        onChange=${(isPlan) => set({ isPlan })} />
      <${Switch} label="Compare" checked=${form.isCompared}
        onChange=${(isCompared) => set({ isCompared })} />
      <span class="muted keys"><kbd>Ctrl</kbd> <kbd>Enter</kbd></span>
      <button class="primary" disabled=${action.isBusy}>${
        action.isBusy ? "Starting" : "Start task"}</button>
    </div>
  </form>`;
}
