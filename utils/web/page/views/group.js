// Tasks with the same prompt, side by side.
import { get, post } from "../lib/api.js";
import { agentTitle } from "../lib/config.js";
import { count, dollars, repositoryName, seconds, shortNumber } from "../lib/format.js";
import { Fragment, html, useEffect, useState } from "../lib/html.js";
import { chooseTask } from "../lib/task_actions.js";
import { pauseWhileSeen } from "../lib/waiting.js";
import { Output } from "./log.js";
import { Confirmation, Notice, Prompt, Status, useAction } from "./parts.js";

const POLL_MILLISECONDS = 2_000;

function useGroup(id) {
  const [state, setState] = useState({ group: null, error: null });
  const [round, setRound] = useState(0);
  useEffect(() => {
    const stop = new AbortController();
    const { signal } = stop;
    async function watch() {
      while (!signal.aborted) {
        try {
          const { group } = await get(`/task-groups/${id}`, { signal });
          if (signal.aborted) return;
          setState({ group, error: null });
          if (group.status === "ended") return;
        } catch (error) {
          if (signal.aborted) return;
          setState((old) => ({ ...old, error }));
          if (error.status === 404) return;
        }
        await pauseWhileSeen(POLL_MILLISECONDS, signal);
      }
    }
    watch();
    return () => stop.abort();
  }, [id, round]);
  return { ...state, reload: () => setRound((number) => number + 1) };
}

function nameOf(task, group) {
  const attempts = group.tasks.filter((one) => one.agent === task.agent).length;
  return attempts > 1 ? `${agentTitle(task.agent)}, attempt ${task.attempt}` : agentTitle(task.agent);
}

function checkText(code) {
  if (code === null || code === undefined) return "–";
  return code === 0 ? "passed" : `failed (${code})`;
}

const orNone = (value, write) => (value === null || value === undefined ? "–" : write(value));

function Row({ task, group, onChoose }) {
  const isChosen = group.chosen_task_id === task.task_id;
  const same = task.same_tree_as?.length
    ? `Same files as ${task.same_tree_as.map((id) => `#${id}`).join(", ")}` : null;
  return html`<tr class=${isChosen ? "chosen" : undefined}>
    <td class="number">${task.rank ?? "–"}</td>
    <th scope="row"><a href="/tasks/${task.task_id}">${nameOf(task, group)}</a>
      <span class="muted number"> #${task.task_id}</span>
      ${isChosen && html` <span class="badge">Chosen</span>`}
      ${task.agent_model && html`<div class="muted">${task.agent_model}</div>`}
      ${same && html`<div class="muted">${same}</div>`}</th>
    <td><${Status} status=${task.status} /></td>
    <td class="number">${orNone(task.seconds, seconds)}</td>
    <td class="number">${orNone(task.input_tokens, shortNumber)} / ${
      orNone(task.output_tokens, shortNumber)}</td>
    <td class="number">${orNone(task.cost_usd, dollars)}</td>
    <td class="number">${orNone(task.files, String)}</td>
    <td class="number"><span class="counts"><span class="plus">+${task.additions ?? 0}</span>
      <span class="minus">−${task.deletions ?? 0}</span></span></td>
    ${group.check_command && html`<td>${checkText(task.check_exit_code)}</td>`}
    <td><button type="button" disabled=${isChosen} onClick=${() => onChoose(task.task_id)}
      aria-label="Choose ${nameOf(task, group)}">Choose</button></td>
  </tr>`;
}

const TITLES = ["Rank", "Task", "Status", "Time", "Tokens in / out", "Cost", "Files", "Lines"];

function Table({ group, onChoose }) {
  const order = (task) => task.rank ?? group.tasks.length + 1;
  const tasks = [...group.tasks].sort((one, other) => order(one) - order(other));
  return html`<div class="wide-table" tabindex="0" role="region" aria-label="Comparison"><table>
    <thead><tr>${TITLES.map((title) => html`<th scope="col">${title}</th>`)}
      ${group.check_command && html`<th scope="col">Check</th>`}
      <th scope="col"><span class="only-read">Choice</span></th></tr></thead>
    <tbody>${tasks.map((task) => html`<${Row} task=${task} group=${group} onChoose=${onChoose}
      key=${task.task_id} />`)}</tbody>
  </table></div>`;
}

function Checks({ group }) {
  const checked = group.tasks.filter((task) => task.check_output);
  if (!checked.length) return null;
  return html`<section class="checks"><h2>Checks</h2>
    <p class="muted">Each result was checked with <code>${group.check_command}</code></p>
    ${checked.map((task) => html`<details class="tool" key=${task.task_id}>
      <summary><span class="tool-name">${nameOf(task, group)}</span>
        <span class="tool-state">${checkText(task.check_exit_code)}</span></summary>
      <${Output} text=${task.check_output} label="Output of the check" /></details>`)}</section>`;
}

export function Group({ id }) {
  const { group, error, reload } = useGroup(id);
  const [isAsked, setAsked] = useState(false);
  const [choice, setChoice] = useState(null);
  const runs = group?.status === "running";
  const choose = useAction(async (taskId) => {
    await chooseTask(id, taskId);
    reload();
  });
  useEffect(() => { document.title = `Comparison ${id} · Async Code`; }, [id]);
  if (!group) {
    return html`<h1>Comparison</h1>${error
      ? html`<${Notice}>${error.message}</${Notice}><p><a href="/">Go to your tasks</a></p>`
      : html`<p class="muted" role="status">Loading the comparison</p>`}`;
  }
  return html`<${Fragment}>
    <header class="task-head"><div>
      <${Prompt} text=${group.prompt} />
      <p class="facts"><${Status} status=${group.status} />
        <span>${count(group.tasks.length, "task")}</span>
        <span class="repository">${repositoryName(group.repo_url)}</span></p></div>
      ${runs && html`<div class="buttons"><button type="button" class="danger-quiet"
        onClick=${() => setAsked(true)}>Cancel all</button></div>`}
    </header>
    ${(error ?? choose.error) && html`<${Notice}>${(error ?? choose.error).message}</${Notice}>`}
    <${Table} group=${group} onChoose=${(taskId) => (runs ? setChoice(taskId) : choose.run(taskId))} />
    <p class="muted">${group.order_rule}</p>
    <${Checks} group=${group} />
    ${choice !== null && html`<${Confirmation} title="Choose this task?" confirm="Choose it"
      dismiss="Not yet" text="The other tasks of the comparison are cancelled."
      onClose=${() => setChoice(null)} onConfirm=${() => choose.run(choice)} />`}
    ${isAsked && html`<${Confirmation} title="Cancel all tasks?" confirm="Cancel all"
      dismiss="Let them work" text="What the agents have changed until now is kept." onClose=${() => setAsked(false)}
      onConfirm=${async () => { await post(`/task-groups/${id}/cancel`); reload(); }} />`}
  </${Fragment}>`;
}
