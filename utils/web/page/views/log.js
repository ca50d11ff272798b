// The log of a task: what the agent says, does and prints.
import { fillWithOutput } from "../lib/ansi.js";
import { count, firstLine, fullTime } from "../lib/format.js";
import {
  html, pure, useEffect, useLayoutEffect, useMemo, useRef, useState,
} from "../lib/html.js";
import { withConversation } from "../lib/log_items.js";
import { markdown } from "../lib/markdown.js";

const SHOWN_AT_ONCE = 400;
const NEAR_PIXELS = 120;

export function Output({ text, label }) {
  const element = useRef(null);
  useLayoutEffect(() => fillWithOutput(element.current, text), [text]);
  return html`<pre class="output" ref=${element} tabindex="0" role="group" aria-label=${label}></pre>`;
}

const Markdown = pure(({ text }) => html`<div class="markdown"
  dangerouslySetInnerHTML=${{ __html: markdown(text) }}></div>`);

function toolState(item) {
  if (item.ok === undefined) return ["running", "at work"];
  if (item.ok) return ["ok", "done"];
  return ["failed", item.exit_code === undefined ? "failed" : `exit code ${item.exit_code}`];
}

function Tool({ item }) {
  const [state, word] = toolState(item);
  const cut = item.characters > (item.output?.length ?? 0)
    ? `The output has ${count(item.characters, "character")}; its beginning is shown.` : null;
  return html`<details class="tool tool-${state}">
    <summary><span class="tool-name">${item.name}</span>
      <code class="tool-input">${firstLine(item.input ?? "")}</code>
      <span class="tool-state">${word}</span></summary>
    ${item.input && html`<pre tabindex="0" role="group" aria-label="Input of ${item.name}">${
      item.input}</pre>`}
    ${item.output && html`<${Output} text=${item.output} label="Output of ${item.name}" />`}
    ${cut && html`<p class="muted">${cut}</p>`}
  </details>`;
}

function gitText({ operation, branch, commit, files, additions, deletions }) {
  const short = commit.slice(0, 12);
  if (operation === "clone") return `Cloned ${branch ?? "the repository"} at ${short}`;
  if (operation === "push") return `Pushed ${short} to ${branch}`;
  return `Committed ${short}: ${count(files ?? 0, "file")}, +${additions ?? 0} −${deletions ?? 0}`;
}

function checkText({ exit_code: code }) {
  return code === 0 ? "The check has passed" : `The check has failed (exit code ${code})`;
}

const SETUP_WORDS = { setup: "The setup", maintenance: "The maintenance",
  repository: "The setup of the repository" };

function setupText({ script, exit_code: code, seconds }) {
  const name = SETUP_WORDS[script] ?? script;
  if (code === 0) return `${name} has taken ${seconds.toFixed(1)} s`;
  return `${name} has failed (${code === undefined ? "time limit" : `exit code ${code}`})`;
}

const SANDBOX_WORDS = { created: "The sandbox is ready", resumed: "Back in the sandbox",
  lost: "The sandbox is lost", ended: "The sandbox has ended", paused: "The sandbox is paused" };

const NOTES = {
  note: (item) => item.text,
  git: gitText,
  check: checkText,
  sandbox: (item) => `${SANDBOX_WORDS[item.state] ?? item.state} (${item.provider})`,
};

function Said({ text, who }) {
  return html`<div class="said"><p class="muted">${who}</p><${Markdown} text=${text} /></div>`;
}

function Body({ item, turn }) {
  if (item.kind === "turn") {
    const who = turn?.mode === "plan" ? "You, plan first" : "You";
    return html`<${Said} text=${turn?.prompt ?? ""} who=${who} />`;
  }
  if (item.kind === "said") {
    return html`<${Said} text=${item.text} who=${item.role === "user" ? "You" : "Note"} />`;
  }
  if (item.kind === "message") return html`<${Markdown} text=${item.text} />`;
  if (item.kind === "result") return html`<div class="result"><${Markdown} text=${item.text ?? ""} /></div>`;
  if (item.kind === "tool") return html`<${Tool} item=${item} />`;
  if (item.kind === "output") {
    return html`<${Output} text=${item.text} label="Output of the agent's program" />`;
  }
  if (item.kind === "error") {
    return html`<div class="notice notice-error"><p>${item.message}</p>
      <p class="muted">${item.code}</p></div>`;
  }
  if (item.kind === "pull_request") {
    return html`<p class="log-note"><a href=${item.url} target="_blank" rel="noopener noreferrer">
      Pull request #${item.number}</a> ${item.is_new ? "opened" : "updated"}</p>`;
  }
  if (item.kind === "setup") {
    return html`<p class="log-note">${setupText(item)}</p>
      ${item.output && html`<${Output} text=${item.output} label="Output of the setup" />`}`;
  }
  const note = NOTES[item.kind];
  return note ? html`<p class="log-note">${note(item)}</p>` : null;
}

const Item = pure(({ item, turn }) => html`<li class="log-item log-${item.kind} ${
  item.parent_id ? "log-nested" : ""}" title=${fullTime(item.at)}>
  <${Body} item=${item} turn=${turn} /></li>`);

const distanceToEnd = () =>
  document.documentElement.scrollHeight - scrollY - innerHeight;

// Stays at the end while the log grows, unless the reader has gone up.
function useFollowing(isActive, size) {
  const element = useRef(null);
  const isNear = useRef(true);
  const [isBehind, setBehind] = useState(false);
  useEffect(() => {
    function look() {
      isNear.current = distanceToEnd() < NEAR_PIXELS;
      if (isNear.current) setBehind(false);
    }
    addEventListener("scroll", look, { passive: true });
    return () => removeEventListener("scroll", look);
  }, []);
  useLayoutEffect(() => {
    const isShown = element.current.offsetParent !== null;
    if (!isActive || !isShown) return;
    if (isNear.current) scrollTo({ top: document.documentElement.scrollHeight });
    else setBehind(true);
  }, [size]);
  return { element, isBehind: isBehind && isActive };
}

export function Log({ log, isActive, messages = [], turns = [] }) {
  const [shown, setShown] = useState(SHOWN_AT_ONCE);
  const items = useMemo(() => withConversation(log.items, messages, turns),
    [log.items, messages, turns]);
  const { element, isBehind } = useFollowing(isActive, items);
  const hidden = Math.max(0, items.length - shown);
  const turnOf = (item) => item.kind === "turn"
    ? turns.find((turn) => turn.number === item.number) : undefined;
  return html`<div class="log" ref=${element}>
    ${hidden > 0 && html`<button type="button" class="wide"
      onClick=${() => setShown(shown + 4 * SHOWN_AT_ONCE)}>Show ${count(hidden, "earlier entry",
        "earlier entries")}</button>`}
    <ol class="log-items" aria-label="Log">${items.slice(hidden).map((item) => html`
      <${Item} item=${item} turn=${turnOf(item)} key=${item.key} />`)}</ol>
    ${!items.length && html`<p class="empty">${isActive
      ? "The log begins as soon as the task starts." : "This task has no log."}</p>`}
    ${isBehind && html`<button type="button" class="primary to-end"
      onClick=${() => scrollTo({ top: document.documentElement.scrollHeight })}>
      New entries below</button>`}
  </div>`;
}
