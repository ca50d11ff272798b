// The API keys with which scripts act for the user.
import { get, post, remove } from "../lib/api.js";
import { age, fullTime } from "../lib/format.js";
import { html, useState } from "../lib/html.js";
import { Confirmation, Field, LoadFailure, Notice, useAction, useLoaded } from "./parts.js";

function Made({ made }) {
  const copy = useAction(() => navigator.clipboard.writeText(made));
  // Browsers let pages write there over https and on this machine only.
  const button = navigator.clipboard && html`<button type="button" onClick=${() => copy.run()}>
    Copy</button>`;
  return html`<${Notice} kind="info" action=${button}>
    <p>Copy the key now. It is shown only once.</p>
    <code class="secret">${made}</code></${Notice}>`;
}

const SCOPES = [["read", "Read only"], ["run", "Read, and run tasks"], ["admin", "Everything"]];

function factsOf(key) {
  const [, rights] = SCOPES.find(([scope]) => scope === key.scope);
  const use = key.last_used_at ? `used ${age(key.last_used_at)}` : "never used";
  const end = key.expires_at && `expires on ${fullTime(key.expires_at)}`;
  return [`${key.prefix}…`, rights.toLowerCase(), use, end].filter(Boolean).join(" · ");
}

function NewKey({ onMade }) {
  const [name, setName] = useState("");
  const [scope, setScope] = useState("run");
  const action = useAction(async () => {
    onMade((await post("/keys", { name: name.trim(), scope })).key);
    setName("");
  });
  function submit(event) {
    event.preventDefault();
    action.run();
  }
  return html`<form onSubmit=${submit} aria-label="New API key"><div class="columns">
      <${Field} label="Name of a new key">${(props) => html`<input required maxlength="100"
        value=${name} onInput=${(event) => setName(event.target.value)} ...${props} />`}</${Field}>
      <${Field} label="It may">${(props) => html`<select value=${scope} ...${props}
        onChange=${(event) => setScope(event.target.value)}>
        ${SCOPES.map(([value, title]) => html`<option value=${value}>${title}</option>`)}
      </select>`}</${Field}></div>
    ${action.error && html`<${Notice}>${action.error.message}</${Notice}>`}
    <div class="buttons buttons-end"><button disabled=${action.isBusy}>Make a key</button></div>
  </form>`;
}

export function ApiKeys() {
  const { value, error, reload } = useLoaded((signal) => get("/keys", { signal }), []);
  const [made, setMade] = useState(null);
  const [leaving, setLeaving] = useState(null);
  return html`<section class="card" aria-labelledby="keys-title"><h2 id="keys-title">API keys</h2>
    <${LoadFailure} error=${error} reload=${reload} />
    ${made && html`<${Made} made=${made} />`}
    <ul class="plain">${value?.api_keys.map((key) => html`<li class="key" key=${key.id}>
      <span><strong>${key.name}</strong> <span class="muted">${factsOf(key)}</span></span>
      <button type="button" class="danger-quiet" aria-label="Revoke ${key.name}"
        onClick=${() => setLeaving(key)}>Revoke</button></li>`)}</ul>
    <${NewKey} onMade=${(key) => { setMade(key); reload(); }} />
    ${leaving && html`<${Confirmation} title="Revoke ${leaving.name}?" confirm="Revoke key"
      text="Whatever uses this key cannot reach the server any more."
      onClose=${() => setLeaving(null)}
      onConfirm=${async () => { await remove(`/keys/${leaving.id}`); setMade(null); reload(); }} />`}
  </section>`;
}
