// What the tasks of the user have used and cost, day by day or by another group.
import { get } from "../lib/api.js";
import { agentTitle } from "../lib/config.js";
import { count, dollars, seconds, shortNumber } from "../lib/format.js";
import { Fragment, html, useEffect, useState } from "../lib/html.js";
import { changeQuery, currentQuery } from "../lib/router.js";
import { LoadFailure, Notice, useLoaded } from "./parts.js";

const GROUPS = [["day", "Day"], ["project", "Project"], ["agent", "Agent"], ["task", "Task"]];
const DAY_MILLISECONDS = 86_400_000;
const MICRO = 1e6;
const WIDTH = 640;
const HEIGHT = 140;

const cost = (row) => dollars(row.cost_micro_usd / MICRO);

// The days without tasks have no row; on the chart they have their place.
function allDays(report) {
  const rows = new Map(report.usage.map((row) => [row.key, row]));
  const days = [];
  const last = Date.parse(report.to);
  for (let moment = Date.parse(report.from); moment <= last; moment += DAY_MILLISECONDS) {
    const day = new Date(moment).toISOString().slice(0, 10);
    days.push({ day, micro: rows.get(day)?.cost_micro_usd ?? 0 });
  }
  return days;
}

function Chart({ report }) {
  const days = allDays(report);
  const most = Math.max(...days.map((one) => one.micro), 1);
  const step = WIDTH / days.length;
  const top = days.find((one) => one.micro === most);
  const label = top
    ? `Cost of each day. Most on ${top.day}: ${dollars(most / MICRO)}.` : "Cost of each day: none.";
  return html`<figure class="chart"><svg viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img"
      aria-label=${label}>
      <line class="axis" x1="0" x2=${WIDTH} y1=${HEIGHT - 0.5} y2=${HEIGHT - 0.5} />
      ${days.map((one, place) => {
        const height = (one.micro / most) * (HEIGHT - 10);
        return html`<rect key=${one.day} class="bar" x=${place * step + step * 0.12}
          width=${step * 0.76} y=${HEIGHT - height} height=${height}>
          <title>${one.day}: ${dollars(one.micro / MICRO)}</title></rect>`;
      })}</svg>
    <figcaption class="muted"><span>${report.from}</span><span>${
      top ? `up to ${dollars(most / MICRO)} a day` : "no costs"}</span><span>${
      report.to}</span></figcaption></figure>`;
}

function Budget({ budget }) {
  const { budget_micro_usd: whole, spent_micro_usd: spent } = budget;
  const title = budget.period === "day" ? "Today" : "This month";
  const text = `${dollars(spent / MICRO)} of ${dollars(whole / MICRO)}`;
  return html`<div class="budget"><span>${title}: <strong>${text}</strong></span>
    <meter min="0" max=${whole} value=${Math.min(spent, whole)} aria-label="${title}: ${text}" /></div>`;
}

function nameOf(row, group) {
  if (row.key === null) return "Without a project";
  if (group === "task") return html`<a href="/tasks/${row.key}">#${row.key}</a>`;
  if (group === "project") return html`<a href="/?project=${row.key}">Project ${row.key}</a>`;
  return group === "agent" ? agentTitle(row.key) : row.key;
}

const TITLES = ["Cost", "Models", "Sandboxes", "Tokens in / out", "Time", "Tasks", "Git"];

function Amounts({ row }) {
  const { git_operations: all, failed_git_operations: failed } = row;
  return html`<${Fragment}><td class="number">${cost(row)}</td>
    <td class="number">${dollars(row.model_micro_usd / MICRO)}</td>
    <td class="number">${dollars(row.sandbox_micro_usd / MICRO)}</td>
    <td class="number">${shortNumber(row.input_tokens)} / ${shortNumber(row.output_tokens)}</td>
    <td class="number">${seconds(row.sandbox_milliseconds / 1000)}</td>
    <td class="number">${row.tasks}</td>
    <td class="number">${failed ? `${all}, ${failed} failed` : all}</td></${Fragment}>`;
}

function Table({ report }) {
  const [, title] = GROUPS.find(([name]) => name === report.group_by);
  const rows = report.group_by === "day" ? [...report.usage].reverse() : report.usage;
  return html`<div class="wide-table" tabindex="0" role="region" aria-label="Usage"><table>
    <thead><tr><th scope="col">${title}</th>
      ${TITLES.map((name) => html`<th scope="col">${name}</th>`)}</tr></thead>
    <tbody>${rows.map((row) => html`<tr key=${row.key}><th scope="row">${
      nameOf(row, report.group_by)}</th><${Amounts} row=${row} /></tr>`)}</tbody>
    <tfoot><tr><th scope="row">Total</th><${Amounts} row=${report.total} /></tr></tfoot>
  </table></div>`;
}

function Report({ report }) {
  const { total } = report;
  const unpriced = total.unpriced_tokens;
  return html`<${Fragment}>
    ${report.budgets.length > 0 && html`<div class="columns">${report.budgets.map((budget) => html`
      <${Budget} budget=${budget} key=${budget.period} />`)}</div>`}
    ${report.group_by === "day" && html`<${Chart} report=${report} />`}
    ${unpriced > 0 && html`<${Notice} kind="info">${
      count(unpriced, "token")} of models without a known price count as free.</${Notice}>`}
    ${report.usage.length ? html`<${Table} report=${report} />`
      : html`<p class="empty">No tasks in these 30 days.</p>`}
    ${report.is_cut && html`<p class="muted">Only the newest ones are shown.</p>`}
  </${Fragment}>`;
}

export function Usage() {
  const [group, setGroup] = useState(() => {
    const asked = currentQuery().by;
    return GROUPS.some(([name]) => name === asked) ? asked : "day";
  });
  const { value, error, reload } = useLoaded(
    (signal) => get(`/usage?group_by=${group}`, { signal }), [group]);
  useEffect(() => { document.title = "Usage · Async Code"; }, []);
  function choose(name) {
    changeQuery({ by: name === "day" ? null : name });
    setGroup(name);
  }
  return html`<${Fragment}>
    <h1>Usage</h1>
    <p class="muted lead">What your tasks have used in the last 30 days. Costs are estimates.</p>
    <section class="card" aria-label="Report">
      <div class="choice" role="group" aria-label="Sums by">${GROUPS.map(([name, title]) => html`
        <button type="button" aria-pressed=${group === name} onClick=${() => choose(name)}>${
          title}</button>`)}</div>
      <${LoadFailure} error=${error} reload=${reload} />
      ${value && html`<${Report} report=${value} />`}
    </section>
  </${Fragment}>`;
}
