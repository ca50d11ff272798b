// Tabs by the usual keys: arrows move between them, and only the chosen one is reached by Tab. What
// was seen once stays: a text that somebody writes in one tab is there after a look at another.
import { html, useId, useRef, useState } from "../lib/html.js";

const STEPS = { ArrowLeft: -1, ArrowRight: 1 };

export function Tabs({ tabs, label }) {
  const id = useId();
  const list = useRef(null);
  const [chosen, setChosen] = useState(tabs[0].name);
  const seen = useRef(new Set()).current;
  seen.add(chosen);
  const place = Math.max(0, tabs.findIndex((tab) => tab.name === chosen));
  function move(event) {
    const step = STEPS[event.key];
    if (!step) return;
    event.preventDefault();
    const next = (place + step + tabs.length) % tabs.length;
    setChosen(tabs[next].name);
    list.current.children[next].focus();
  }
  return html`<div class="tabs">
    <div role="tablist" aria-label=${label} ref=${list} onKeyDown=${move}>
      ${tabs.map((tab, index) => html`<button type="button" role="tab" id="${id}-${tab.name}"
        aria-selected=${index === place} aria-controls="${id}-${tab.name}-panel"
        tabindex=${index === place ? 0 : -1} onClick=${() => setChosen(tab.name)}>${tab.title}
        ${tab.count > 0 && html`<span class="count">${tab.count}</span>`}</button>`)}
    </div>
    ${tabs.map((tab, index) => html`<div role="tabpanel" id="${id}-${tab.name}-panel"
      aria-labelledby="${id}-${tab.name}" hidden=${index !== place} key=${tab.name}>
      ${seen.has(tab.name) && tab.body}</div>`)}
  </div>`;
}
