// The stages of a task, in order, with the time that each took.
import { seconds, secondsBetween } from "../lib/format.js";
import { html } from "../lib/html.js";
import { isActive } from "../lib/task_state.js";
import { STATUS_WORDS, useTicks } from "./parts.js";

const STAGES = [["queued", "Queued"], ["cloning", "Clone"],
  ["setup", "Setup"], ["agent", "Agent"], ["capturing", "Changes"], ["checking", "Check"]];
const NOT_ALWAYS = new Set(["setup", "checking"]);
const TICK_MILLISECONDS = 1_000;

// A task that runs again, or goes on with its next turn, begins its stages again.
function beginnings(task, stages) {
  const place = stages.findLastIndex(({ stage }) => stage === "cloning" || stage === "turn");
  const turn = stages.findLast(({ stage }) => stage === "turn");
  const found = new Map([["queued", turn?.at ?? task.created_at]]);
  for (const { stage, at } of stages.slice(Math.max(0, place))) found.set(stage, at);
  return found;
}

// The next turn in the same sandbox needs no clone, and few tasks have a setup or a check.
function shownStages(begun) {
  const last = STAGES.findLastIndex(([name]) => begun.has(name));
  return STAGES.filter(([name], place) =>
    begun.has(name) || (place > last && !NOT_ALWAYS.has(name)));
}

function waitText(task) {
  if (task.status !== "pending") return null;
  const position = task.queue_position ? `Number ${task.queue_position} in the queue.` : null;
  return [position, task.waiting_reason].filter(Boolean).join(" ") || null;
}

export function Timeline({ task, stages }) {
  useTicks(isActive(task) ? TICK_MILLISECONDS : null);
  const begun = beginnings(task, stages);
  const names = STAGES.map(([name]) => name).filter((name) => begun.has(name));
  const current = isActive(task) ? names.at(-1) : null;
  const ended = begun.get("ended") ?? task.completed_at;
  const wait = waitText(task);
  return html`<div class="timeline"><ol aria-label="Stages">
    ${shownStages(begun).map(([name, title]) => {
      const start = begun.get(name);
      const next = names[names.indexOf(name) + 1];
      const end = next ? begun.get(next) : ended;
      const state = name === current ? "current" : start ? "done" : "ahead";
      return html`<li class="stage stage-${state}" key=${name}
        aria-current=${name === current ? "step" : undefined}>
        <span class="stage-mark" aria-hidden="true"></span><span>${title}</span>
        ${start && html`<span class="muted">${
          seconds(secondsBetween(start, name === current ? null : end))}</span>`}</li>`;
    })}
    <li class="stage ${isActive(task) ? "stage-ahead" : `stage-${task.status}`}" key="end">
      <span class="stage-mark" aria-hidden="true"></span>
      <span>${isActive(task) ? "Result" : STATUS_WORDS[task.status]}</span></li>
  </ol>${wait && html`<p class="muted">${wait}</p>`}</div>`;
}
