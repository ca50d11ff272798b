// Says to the agent what to do next, and shows what waits to be said.
import { post, remove } from "../lib/api.js";
import { Fragment, html, useRef, useState } from "../lib/html.js";
import { hasPlan, isActive } from "../lib/task_state.js";
import { Field, GrowingBox, Notice, Status, Switch, useAction } from "./parts.js";

const CARRY_OUT = "Carry out the plan.";

function Waiting({ task, turn, reload }) {
  const action = useAction(async () => {
    await remove(`/tasks/${task.id}/turns/${turn.number}`);
    reload();
  });
  return html`<li class="said waiting"><p class="muted"><${Status} status="waiting" /></p>
    <p>${turn.prompt}</p>
    ${action.error && html`<${Notice}>${action.error.message}</${Notice}>`}
    <button type="button" disabled=${action.isBusy} onClick=${() => action.run()}>Take back</button>
  </li>`;
}

// A plan is there to be carried out; what should be otherwise is said in the box.
function Plan({ onCarryOut, isBusy }) {
  return html`<${Notice} kind="info" action=${html`<button type="button" class="primary"
    disabled=${isBusy} onClick=${onCarryOut}>Carry out the plan</button>`}>
    The agent has made a plan, and changed nothing.</${Notice}>`;
}

export function Composer({ task, turns, reload }) {
  const [text, setText] = useState("");
  const [isPlan, setPlan] = useState(false);
  const form = useRef(null);
  const runs = isActive(task);
  const send = useAction(async (message) => {
    const isTyped = message.content === undefined;
    const typed = { content: text.trim(), mode: isPlan ? "plan" : "run" };
    await post(`/tasks/${task.id}/chat`, { role: "user", run: true, ...typed, ...message });
    if (isTyped) setText("");
    setPlan(false);
    reload();
  });
  function submit(event) {
    event.preventDefault();
    send.run({});
  }
  const waiting = turns.filter((turn) => turn.status === "waiting" && turn.number > 1);
  return html`<${Fragment}>
    <ul class="waiting-turns">${waiting.map((turn) => html`<${Waiting} task=${task} turn=${turn}
      reload=${reload} key=${turn.number} />`)}</ul>
    ${hasPlan(task, turns) && html`<${Plan} isBusy=${send.isBusy}
      onCarryOut=${() => send.run({ content: CARRY_OUT, mode: "run" })} />`}
    <form class="card composer" ref=${form} onSubmit=${submit} aria-label="Follow-up">
      <${Field} label=${runs ? "Say what to do after this" : "Say what to do next"}>${(props) => html`
        <${GrowingBox} required rows="2" value=${text} onInput=${setText}
          placeholder="Now also add a test" ...${props}
          onSubmit=${() => form.current.requestSubmit()} />`}</${Field}>
      ${send.error && html`<${Notice}>${send.error.message}</${Notice}>`}
      <div class="buttons buttons-end">
        <${Switch} label="Plan first" checked=${isPlan} onChange=${setPlan} />
        ${runs && html`<button type="button" disabled=${send.isBusy || !text.trim()}
          onClick=${() => send.run({ interrupt: true })}>Interrupt and send</button>`}
        <button class="primary" disabled=${send.isBusy}>Send</button>
      </div>
    </form>
  </${Fragment}>`;
}
