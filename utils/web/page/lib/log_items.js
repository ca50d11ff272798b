// Folds the events of a task into the items that its log shows. Items are never changed but
// replaced, so that only what an event concerns is drawn again.

// Output in pieces of this size keeps one redraw short.
const OUTPUT_CHARACTERS = 20_000;

export function emptyLog() {
  return { items: [], toolPlaces: new Map(), stages: [], usage: null };
}

function addOutput(items, event) {
  const last = items.at(-1);
  const { stream, text } = event.data;
  const fits = last?.kind === "output" && last.stream === stream &&
    last.text.length < OUTPUT_CHARACTERS;
  if (fits) items[items.length - 1] = { ...last, text: last.text + text };
  else items.push({ key: event.sequence, kind: "output", stream, text, at: event.at });
}

function addTool(log, event) {
  const { id } = event.data;
  const place = log.toolPlaces.get(id);
  if (place === undefined) {
    log.toolPlaces.set(id, log.items.length);
    log.items.push({ key: event.sequence, kind: "tool", at: event.at, ...event.data });
  } else {
    log.items[place] = { ...log.items[place], ...event.data, endedAt: event.at };
  }
}

function addStatus(log, event) {
  const { stage, text, status, turn } = event.data;
  if (turn) {
    log.stages.push({ stage: "turn", at: event.at });
    log.items.push({ key: event.sequence, kind: "turn", at: event.at, number: turn });
  }
  if (stage) log.stages.push({ stage, at: event.at });
  if (status) log.stages.push({ stage: "ended", at: event.at, status });
  if (text) log.items.push({ key: event.sequence, kind: "note", at: event.at, text });
}

// Agents sum up with the words of their last message, which needs no second showing.
function isRepetition(items, text) {
  const said = items.findLast((item) => item.kind === "message");
  return said !== undefined && said.text.trim() === text.trim();
}

function addEvent(log, event) {
  const { kind, data, sequence, at } = event;
  if (kind === "status") addStatus(log, event);
  else if (kind === "tool") addTool(log, event);
  else if (kind === "output") addOutput(log.items, event);
  else if (kind === "usage") log.usage = { ...log.usage, ...data };
  else if (kind === "result" && isRepetition(log.items, data.text ?? "")) return;
  else log.items.push({ key: sequence, kind, at, ...data });
}

// Adds what was said beside the agent's run, such as a note of the server, at its time.
export function withConversation(items, messages, turns) {
  const texts = new Set(items.map((item) => item.text?.trim()));
  const prompts = new Set(turns.map((turn) => turn.prompt.trim()));
  const failures = items.filter((item) => item.kind === "error").map((item) => item.message);
  const said = messages.slice(1).filter(({ role, content }) => role === "user"
    ? !prompts.has(content.trim())
    : !texts.has(content.trim()) && !failures.some((text) => content.includes(text)));
  if (!said.length) return items;
  const notes = said.map(({ role, content, timestamp }, place) =>
    ({ key: `said ${place}`, kind: "said", at: timestamp, role, text: content }));
  return [...items, ...notes].sort((one, other) => new Date(one.at) - new Date(other.at));
}

export function foldEvents(log, events) {
  const next = {
    items: [...log.items],
    toolPlaces: new Map(log.toolPlaces),
    stages: [...log.stages],
    usage: log.usage,
  };
  for (const event of events) addEvent(next, event);
  return next;
}
