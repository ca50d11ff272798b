// The list of tasks does not tell what each has cost. Rows in sight ask for it, one after the other.
import { get } from "./api.js";
import { agentOf } from "./config.js";
import { useEffect, useRef, useState } from "./html.js";
import { isActive } from "./task_state.js";

const asked = new Map();
let last = Promise.resolve();

// A task that went on has another cost, and another time of its last change.
function costOf({ id, updated_at: changed }) {
  const name = `${id} ${changed}`;
  if (!asked.has(name)) {
    last = last.then(() => get(`/task-status/${id}`))
      .then(({ task }) => task.execution_metadata?.cost_usd ?? null, () => null);
    asked.set(name, last);
  }
  return asked.get(name);
}

// Returns a place to observe, and the cost once the place was seen; simulations cost nothing.
export function useCost(task) {
  const place = useRef(null);
  const [cost, setCost] = useState(null);
  const canCost = !isActive(task) && !agentOf(task.agent)?.simulated;
  useEffect(() => {
    if (!canCost) return undefined;
    const observer = new IntersectionObserver((entries) => {
      if (!entries.some((entry) => entry.isIntersecting)) return;
      observer.disconnect();
      costOf(task).then(setCost);
    });
    observer.observe(place.current);
    return () => observer.disconnect();
  }, [canCost, task.id, task.updated_at]);
  return { place, cost };
}
