// Reads server-sent events with `fetch`, which unlike EventSource sends the token in a header.
import { ApiError, get, open } from "./api.js";

const POLL_MILLISECONDS = 1_500;
const LONGEST_PAUSE_MILLISECONDS = 10_000;
const PAGE = 1_000;

export function pause(milliseconds, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, milliseconds);
    signal?.addEventListener("abort", () => { clearTimeout(timer); resolve(); }, { once: true });
  });
}

function parseBlock(block) {
  const found = { event: "message", data: [] };
  for (const line of block.split("\n")) {
    const [, name, value] = /^([^:]*):? ?(.*)$/.exec(line);
    if (name === "data") found.data.push(value);
    else if (name === "event") found.event = value;
  }
  return found.data.length ? { event: found.event, data: JSON.parse(found.data.join("\n")) } : null;
}

// Gives the events of a response as lists: those that arrive together are drawn together.
async function* blocksOf(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const blocks = (rest + value.replaceAll("\r", "")).split("\n\n");
    rest = blocks.pop();
    const events = blocks.map(parseBlock).filter(Boolean);
    if (events.length) yield events;
  }
}

function isStream(response) {
  return (response.headers.get("Content-Type") ?? "").startsWith("text/event-stream");
}

// Opens a stream; null when this server has none at the address.
async function openStream(path, lastId, signal) {
  const headers = { Accept: "text/event-stream" };
  if (lastId) headers["Last-Event-ID"] = String(lastId);
  try {
    const response = await open(path, { headers, signal });
    if (isStream(response)) return response;
    await response.body?.cancel();
  } catch (error) {
    if (![404, 405, 406].includes(error.status)) throw error;
  }
  return null;
}

// Waits longer after each failure, with some chance in it: many pages lose a server at once.
class Backoff {
  constructor() { this.failures = 0; }

  reset() { this.failures = 0; }

  wait(signal) {
    this.failures += 1;
    const longest = Math.min(500 * 2 ** this.failures, LONGEST_PAUSE_MILLISECONDS);
    return pause(longest * (0.5 + Math.random() / 2), signal);
  }
}

function isFinal(error) {
  return error instanceof ApiError && [401, 403, 404].includes(error.status);
}

// Keeps something going until it returns true, is aborted, or fails for good.
async function persist(signal, onTrouble, attempt) {
  const backoff = new Backoff();
  while (!signal.aborted) {
    try {
      if (await attempt(backoff)) return;
      onTrouble(null);
    } catch (error) {
      if (signal.aborted) return;
      onTrouble(error);
      if (isFinal(error)) return;
    }
    await backoff.wait(signal);
  }
}

// Follows the events of a task after a sequence number, until the task has ended.
export async function followTask(id, after, { onEvents, onEnd, onTrouble, isEnded, signal }) {
  let last = after;
  const path = `/tasks/${id}/events`;

  function take(events) {
    const fresh = events.filter((event) => event.sequence > last);
    if (!fresh.length) return;
    last = fresh.at(-1).sequence;
    onEvents(fresh);
  }

  async function poll(backoff) {
    while (!signal.aborted) {
      // Asked before the events are read: what was stored before the end is then among them.
      const ended = isEnded();
      const page = await get(`${path}?after=${last}&limit=${PAGE}`, { signal });
      backoff.reset();
      take(page.events);
      if (page.events.length === PAGE) continue;
      if (ended) { onEnd(); return true; }
      await pause(POLL_MILLISECONDS, signal);
    }
    return true;
  }

  await persist(signal, onTrouble, async (backoff) => {
    const response = await openStream(`${path}?after=${last}`, last, signal);
    if (!response) return poll(backoff);
    for await (const blocks of blocksOf(response)) {
      backoff.reset();
      onTrouble(null);
      take(blocks.filter((block) => block.event !== "end").map((block) => block.data));
      if (blocks.some((block) => block.event === "end")) { onEnd(); return true; }
    }
    return false;
  });
}

// Follows all tasks of the user; returns false at once where the server has no such stream.
export async function followTasks({ onTasks, onQueue, signal }) {
  let isThere = true;
  await persist(signal, () => {}, async (backoff) => {
    const response = await openStream("/events", null, signal);
    if (!response) { isThere = false; return true; }
    for await (const blocks of blocksOf(response)) {
      backoff.reset();
      const tasks = blocks.filter((block) => block.event === "task").map((block) => block.data);
      if (tasks.length) onTasks(tasks);
      for (const block of blocks) if (block.event === "queue") onQueue(block.data);
    }
    return false;
  });
  return isThere;
}
