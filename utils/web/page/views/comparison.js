// The part of the form that has several agents, or one several times, do the same task.
import { config } from "../lib/config.js";
import { html } from "../lib/html.js";
import { Field } from "./parts.js";

function toggled(names, name) {
  return names.includes(name) ? names.filter((one) => one !== name) : [...names, name];
}

export function Comparison({ form, set }) {
  return html`<fieldset class="comparison"><legend>Compare</legend>
    <div class="agent-choice" role="group" aria-label="Agents">${config.agents.map((agent) => html`
      <label class="check" key=${agent.name}><input type="checkbox" disabled=${!agent.usable}
        checked=${form.agents.includes(agent.name)}
        onChange=${() => set({ agents: toggled(form.agents, agent.name) })} /> ${agent.title}</label>`)}
    </div>
    <div class="columns">
      <${Field} label="Attempts of each">${(props) => html`<input type="number" min="1" max="20"
        required value=${form.attempts} ...${props}
        onInput=${(event) => set({ attempts: Number(event.target.value) })} />`}</${Field}>
      <${Field} label="Check command" hint="Runs on each result. Exit code 0 is a pass.">
        ${(props) => html`<input spellcheck="false" placeholder="npm test" value=${form.check}
          ...${props} onInput=${(event) => set({ check: event.target.value })} />`}</${Field}>
    </div>
  </fieldset>`;
}
