// What the forms for tasks ask beside the work: the task's place among others, its pull request.
import { html } from "../lib/html.js";
import { Field, Switch } from "./parts.js";

const PRIORITIES = [["high", "High"], ["normal", "Normal"], ["low", "Low"]];

// Scripts may also choose a number, which stays what it is.
export function Priority({ value, onChange }) {
  const isNamed = PRIORITIES.some(([name]) => name === value);
  const choices = isNamed ? PRIORITIES : [[value, String(value)], ...PRIORITIES];
  return html`<${Field} label="Priority">${(props) => html`<select value=${String(value)} ...${props}
    onChange=${(event) => onChange(choices.find(([name]) => String(name) === event.target.value)[0])}>
    ${choices.map(([name, title]) => html`<option value=${String(name)}>${title}</option>`)}
  </select>`}</${Field}>`;
}

// Without a wish the settings of the project decide.
export const wantsPull = (wish, project) => wish ?? project?.settings.auto_pr === true;

export function PullSwitch({ wish, project, onChange }) {
  return html`<${Switch} label="Open a pull request when done" checked=${wantsPull(wish, project)}
    onChange=${onChange} />`;
}

// What a request says of both; what is as usual is left out.
export function optionsOf({ priority, pullWish }) {
  return {
    ...(priority === "normal" ? {} : { priority }),
    ...(pullWish === null ? {} : { auto_pr: pullWish }),
  };
}
