// Says to the agent what to do next, and shows what waits to be said.
import { post, remove } from "../lib/api.js";
import { Fragment, html, useRef, useState } from "../lib/html.js";
import { isActive } from "../lib/task_state.js";
import { Field, GrowingBox, Notice, Status, Switch, useAction } from "./parts.js";

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

export function Composer({ task, turns, reload }) {
  const [text, setText] = useState("");
  const [isPlan, setPlan] = useState(false);
  const form = useRef(null);
  const runs = isActive(task);
  const send = useAction(async (interrupt) => {
    const body = { role: "user", content: text.trim(), run: true };
    if (interrupt) body.interrupt = true;
    if (isPlan) body.mode = "plan";
    await post(`/tasks/${task.id}/chat`, body);
    setText("");
    reload();
  });
  function submit(event) {
    event.preventDefault();
    send.run(false);
  }
  const waiting = turns.filter((turn) => turn.status === "waiting" && turn.number > 1);
  return html`<${Fragment}>
    <ul class="waiting-turns">${waiting.map((turn) => html`<${Waiting} task=${task} turn=${turn}
      reload=${reload} key=${turn.number} />`)}</ul>
    <form class="card composer" ref=${form} onSubmit=${submit} aria-label="Follow-up">
      <${Field} label=${runs ? "Say what to do after this" : "Say what to do next"}>${(props) => html`
        <${GrowingBox} required rows="2" value=${text} onInput=${setText}
          placeholder="Now also add a test" ...${props}
          onSubmit=${() => form.current.requestSubmit()} />`}</${Field}>
      ${send.error && html`<${Notice}>${send.error.message}</${Notice}>`}
      <div class="buttons buttons-end">
        <${Switch} label="Plan first" checked=${isPlan} onChange=${setPlan} />
        ${runs && html`<button type="button" disabled=${send.isBusy || !text.trim()}
          onClick=${() => send.run(true)}>Interrupt and send</button>`}
        <button class="primary" disabled=${send.isBusy}>Send</button>
      </div>
    </form>
  </${Fragment}>`;
}
