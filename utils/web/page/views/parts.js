// Small parts that several views share.
import { firstLine } from "../lib/format.js";
import { html, useEffect, useId, useRef, useState } from "../lib/html.js";

export const STATUS_WORDS = {
  pending: "Queued", running: "Running", completed: "Completed", failed: "Failed",
  cancelled: "Cancelled", waiting: "Waiting", ended: "Ended",
};

export function Status({ status }) {
  return html`<span class="status status-${status}"><span class="dot" aria-hidden="true"></span>${
    STATUS_WORDS[status] ?? status}</span>`;
}

export function Notice({ kind = "error", children, action }) {
  return html`<div class="notice notice-${kind}" role=${kind === "error" ? "alert" : "status"}>
    <div>${children}</div>${action && html`<div class="notice-action">${action}</div>`}
  </div>`;
}

// The first line of a prompt as the title of a view, and all of it where there is more.
export function Prompt({ text }) {
  const title = firstLine(text);
  return html`<h1 class="task-title">${title}</h1>
    ${title !== text.trim() && html`<details class="whole-prompt"><summary>The whole prompt</summary>
      <pre tabindex="0">${text.trim()}</pre></details>`}`;
}

// Says why something could not be loaded, and offers to load it again.
export function LoadFailure({ error, reload }) {
  return error && html`<${Notice} action=${html`<button type="button" onClick=${reload}>
    Try again</button>`}>${error.message}</${Notice}>`;
}

export function Field({ label, hint, children }) {
  const id = useId();
  const hintId = hint ? `${id}-hint` : undefined;
  return html`<div class="field">
    <label for=${id}>${label}</label>
    ${children({ id, "aria-describedby": hintId })}
    ${hint && html`<p class="hint" id=${hintId}>${hint}</p>`}
  </div>`;
}

export function Switch({ label, checked, onChange }) {
  return html`<label class="switch">
    <input type="checkbox" role="switch" checked=${checked}
      onChange=${(event) => onChange(event.target.checked)} />
    <span>${label}</span>
  </label>`;
}

// Grows with its text, also where style sheets cannot make it do so.
export function GrowingBox({ value, onInput, onSubmit, ...rest }) {
  const box = useRef(null);
  useEffect(() => {
    if (CSS.supports("field-sizing", "content")) return;
    box.current.style.height = "auto";
    box.current.style.height = `${box.current.scrollHeight + 2}px`;
  }, [value]);
  function submitOnKeys(event) {
    if (event.key !== "Enter" || !(event.metaKey || event.ctrlKey)) return;
    event.preventDefault();
    onSubmit?.();
  }
  return html`<textarea ref=${box} class="growing" value=${value} onKeyDown=${submitOnKeys}
    onInput=${(event) => onInput(event.target.value)} ...${rest}></textarea>`;
}

// Draws again and again, because time passes; returns how often. Without a time it does not.
export function useTicks(milliseconds) {
  const [ticks, setTicks] = useState(0);
  useEffect(() => {
    if (milliseconds === null) return undefined;
    const timer = setInterval(() => setTicks((number) => number + 1), milliseconds);
    return () => clearInterval(timer);
  }, [milliseconds]);
  return ticks;
}

// Runs what a button does once at a time; shows that it runs, and why it failed.
export function useAction(action) {
  const [state, setState] = useState({ isBusy: false, error: null });
  const isThere = useRef(true);
  useEffect(() => () => { isThere.current = false; }, []);
  async function run(...values) {
    if (state.isBusy) return undefined;
    setState({ isBusy: true, error: null });
    try {
      const result = await action(...values);
      if (isThere.current) setState({ isBusy: false, error: null });
      return result;
    } catch (error) {
      if (isThere.current) setState({ isBusy: false, error });
      return undefined;
    }
  }
  return { ...state, run, clear: () => setState({ isBusy: false, error: null }) };
}

// The browser's own dialog keeps the focus inside. It cannot give it back when it is taken away
// together with its parts; and what had the focus may be gone by then.
export function Dialog({ title, onClose, children }) {
  const element = useRef(null);
  const id = useId();
  useEffect(() => {
    const before = document.activeElement;
    element.current.showModal();
    return () => requestAnimationFrame(() => {
      if (document.activeElement !== document.body) return;
      (before.isConnected ? before : document.querySelector("main"))?.focus();
    });
  }, []);
  return html`<dialog ref=${element} aria-labelledby=${id} onCancel=${onClose}>
    <h2 id=${id}>${title}</h2>${children}
  </dialog>`;
}

export function Confirmation({ title, text, confirm, dismiss = "Keep it", kind = "danger", onConfirm,
  onClose }) {
  const action = useAction(async () => {
    await onConfirm();
    onClose();
  });
  return html`<${Dialog} title=${title} onClose=${onClose}>
    <p>${text}</p>
    ${action.error && html`<${Notice}>${action.error.message}</${Notice}>`}
    <div class="buttons buttons-end">
      <button type="button" onClick=${onClose}>${dismiss}</button>
      <button type="button" class=${kind} disabled=${action.isBusy} onClick=${() => action.run()}>
        ${confirm}</button>
    </div>
  </${Dialog}>`;
}

// Loads something when `load` changes; gives it, the error, and a function to load it again.
export function useLoaded(load, inputs) {
  const [state, setState] = useState({ value: null, error: null });
  const [round, setRound] = useState(0);
  useEffect(() => {
    const stop = new AbortController();
    load(stop.signal).then(
      (value) => stop.signal.aborted || setState({ value, error: null }),
      (error) => stop.signal.aborted || setState((old) => ({ ...old, error })),
    );
    return () => stop.abort();
  }, [...inputs, round]);
  return { ...state, reload: () => setRound((number) => number + 1) };
}
