// The further repositories of a task that works in several.
import { html, useId } from "../lib/html.js";
import { Field } from "./parts.js";

const MOST = 4;
const EMPTY = { repository: "", branch: "" };

// What a request says of them; an empty row stands for nothing.
export function furtherRepositories(rows) {
  return rows.filter((row) => row.repository.trim()).map(({ repository, branch }) => (
    branch.trim() ? { repo_url: repository.trim(), branch: branch.trim() }
      : { repo_url: repository.trim() }));
}

function Row({ row, number, listId, onChange, onRemove }) {
  return html`<li class="columns">
    <${Field} label="Repository ${number}">${(props) => html`
      <input spellcheck="false" autocomplete="off" list=${listId} value=${row.repository}
        placeholder="https://github.com/owner/name" ...${props}
        onInput=${(event) => onChange({ repository: event.target.value })} />`}</${Field}>
    <${Field} label="Branch ${number}">${(props) => html`
      <input spellcheck="false" autocomplete="off" value=${row.branch} placeholder="Default branch"
        ...${props} onInput=${(event) => onChange({ branch: event.target.value })} />`}</${Field}>
    <button type="button" onClick=${onRemove} aria-label="Remove repository ${number}">
      Remove</button>
  </li>`;
}

export function FurtherRepositories({ rows, known, onChange }) {
  const listId = useId();
  const change = (place, changes) => onChange(
    rows.map((row, index) => (index === place ? { ...row, ...changes } : row)));
  return html`<details class="private" open=${rows.length > 0}>
    <summary>Further repositories</summary>
    <p class="muted">The agent works in all of them. Each gets a diff and a pull request.</p>
    ${rows.length > 0 && html`<datalist id=${listId}>${known.map((one) => html`
      <option value=${one.url}>${one.name}</option>`)}</datalist>`}
    <ul class="plain further">${rows.map((row, place) => html`<${Row} row=${row} number=${place + 2}
      key=${place} listId=${listId} onChange=${(changes) => change(place, changes)}
      onRemove=${() => onChange(rows.filter((_, index) => index !== place))} />`)}</ul>
    ${rows.length < MOST && html`<button type="button"
      onClick=${() => onChange([...rows, EMPTY])}>Add a repository</button>`}
  </details>`;
}
