// The workers of the task engine, for administrators: what they do, and whether they take tasks.
import { get, post } from "../lib/api.js";
import { ago, fullTime } from "../lib/format.js";
import { html, useEffect, useState } from "../lib/html.js";
import { pauseWhileSeen } from "../lib/waiting.js";
import { Confirmation, LoadFailure, useLoaded } from "./parts.js";

const POLL_MILLISECONDS = 5_000;
const TITLES = ["Worker", "Version", "Running", "Last seen", "State"];

function useWorkers() {
  const loaded = useLoaded((signal) => get("/admin/workers", { signal }), []);
  useEffect(() => {
    const stop = new AbortController();
    async function watch() {
      while (!stop.signal.aborted) {
        await pauseWhileSeen(POLL_MILLISECONDS, stop.signal);
        if (!stop.signal.aborted) loaded.reload();
      }
    }
    watch();
    return () => stop.abort();
  }, []);
  return loaded;
}

function stateOf({ is_draining: isDraining, running, waiting_reason: reason }) {
  if (!isDraining) return reason ?? "Takes tasks";
  return running ? "Drained, ends what it runs" : "Drained, can be stopped";
}

function Worker({ worker, onAsk }) {
  const { name, version, places, running, seen_at: seen, is_draining: isDraining } = worker;
  const word = isDraining ? "Resume" : "Drain";
  return html`<tr><th scope="row"><code>${name}</code></th><td>${version}</td>
    <td class="number">${running} of ${places}</td>
    <td><time datetime=${seen} title=${fullTime(seen)}>${ago(seen)}</time></td>
    <td>${stateOf(worker)}</td>
    <td><button type="button" onClick=${onAsk} aria-label="${word} worker ${name}">${word}</button>
    </td></tr>`;
}

function Table({ workers, onAsk }) {
  return html`<div class="wide-table" tabindex="0" role="region" aria-label="Workers"><table>
    <thead><tr>${TITLES.map((title) => html`<th scope="col">${title}</th>`)}
      <td><span class="only-read">Actions</span></td></tr></thead>
    <tbody>${workers.map((one) => html`<${Worker} worker=${one} key=${one.name}
      onAsk=${() => onAsk(one)} />`)}</tbody></table></div>`;
}

function Question({ worker, isLast, reload, onClose }) {
  const { name, is_draining: isDraining } = worker;
  const step = isDraining ? "resume" : "drain";
  const onConfirm = async () => {
    await post(`/admin/workers/${encodeURIComponent(name)}/${step}`);
    reload();
  };
  if (isDraining) {
    return html`<${Confirmation} title="Resume worker ${name}?" confirm="Resume worker"
      kind="primary" dismiss="Leave it drained" text="It takes tasks again."
      onConfirm=${onConfirm} onClose=${onClose} />`;
  }
  const others = isLast
    ? "No other worker takes tasks: new ones wait until one does."
    : "Tasks that it has not begun go to other workers.";
  return html`<${Confirmation} title="Drain worker ${name}?" confirm="Drain worker"
    dismiss="Let it work" onConfirm=${onConfirm} onClose=${onClose}
    text="It takes no more tasks, and ends those that it runs. ${others}" />`;
}

export function Workers() {
  const { value, error, reload } = useWorkers();
  const [asked, setAsked] = useState(null);
  const workers = value?.workers ?? [];
  const isLast = workers.every((one) => one.is_draining || one.name === asked?.name);
  return html`<section class="card" aria-labelledby="workers-title"><h2 id="workers-title">Workers</h2>
    <${LoadFailure} error=${error} reload=${reload} />
    ${workers.length > 0 && html`<${Table} workers=${workers} onAsk=${setAsked} />`}
    ${value && !workers.length && html`<p class="muted">No worker was seen lately. Without the task
      engine the server runs the tasks itself.</p>`}
    ${asked && html`<${Question} worker=${asked} isLast=${isLast} reload=${reload}
      onClose=${() => setAsked(null)} />`}
  </section>`;
}
