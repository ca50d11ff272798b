// Reads server-sent events with `fetch`, which unlike EventSource sends the token in a header.
import { get, open } from "./api.js";
import { ApiError } from "./http.js";
import { pause, untilHidden, untilVisible } from "./waiting.js";

const POLL_MILLISECONDS = 1_500;
const LONGEST_PAUSE_MILLISECONDS = 10_000;
// The server says something every 10 s. A computer that slept is not told that it lost a stream.
const LONGEST_SILENCE_MILLISECONDS = 30_000;
const PAGE = 1_000;

function parseBlock(block) {
  const found = { event: "message", data: [] };
  for (const line of block.split("\n")) {
    const [, name, value] = /^([^:]*):? ?(.*)$/.exec(line);
    if (name === "data") found.data.push(value);
    else if (name === "event") found.event = value;
  }
  return found.data.length ? { event: found.event, data: JSON.parse(found.data.join("\n")) } : null;
}

async function inTime(reading, giveUp) {
  const timer = setTimeout(giveUp, LONGEST_SILENCE_MILLISECONDS);
  try {
    return await reading;
  } finally {
    clearTimeout(timer);
  }
}

// Gives the events of a response as lists: those that arrive together are drawn together. A list is
// empty when something else arrived, which shows that the stream is alive.
async function* blocksOf(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await inTime(reader.read(), () => reader.cancel());
    if (done) return;
    const blocks = (rest + value.replaceAll("\r", "")).split("\n\n");
    rest = blocks.pop();
    yield blocks.map(parseBlock).filter(Boolean);
  }
}

function isStream(response) {
  return (response.headers.get("Content-Type") ?? "").startsWith("text/event-stream");
}

const WITHOUT_STREAM = new Set(["too_many_streams"]);

// Opens a stream; null when this server has none at the address, or none left.
async function openStream(path, lastId, signal) {
  const headers = { Accept: "text/event-stream" };
  if (lastId) headers["Last-Event-ID"] = String(lastId);
  try {
    const response = await open(path, { headers, signal });
    if (isStream(response)) return response;
    await response.body?.cancel();
  } catch (error) {
    if (![404, 405, 406].includes(error.status) && !WITHOUT_STREAM.has(error.code)) throw error;
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

// Keeps something going until it returns true, is aborted, or fails for good. A page that nobody
// sees lets go of it: a browser has few connections to one server for all of its tabs.
async function persist(signal, onTrouble, attempt) {
  const backoff = new Backoff();
  while (!signal.aborted) {
    await untilVisible(signal);
    const round = new AbortController();
    const whileSeen = AbortSignal.any([signal, round.signal]);
    untilHidden(whileSeen).then(() => round.abort());
    try {
      if (await attempt(backoff, whileSeen)) return;
      onTrouble(null);
    } catch (error) {
      if (signal.aborted) return;
      if (round.signal.aborted) continue;
      onTrouble(error);
      if (isFinal(error)) return;
    } finally {
      round.abort();
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

  async function poll(backoff, whileSeen) {
    while (!whileSeen.aborted) {
      // Asked before the events are read: what was stored before the end is then among them.
      const ended = isEnded();
      const page = await get(`${path}?after=${last}&limit=${PAGE}`, { signal: whileSeen });
      backoff.reset();
      onTrouble(null);
      take(page.events);
      if (page.events.length === PAGE) continue;
      if (ended) { onEnd(); return true; }
      await pause(POLL_MILLISECONDS, whileSeen);
    }
    return false;
  }

  await persist(signal, onTrouble, async (backoff, whileSeen) => {
    const response = await openStream(`${path}?after=${last}`, last, whileSeen);
    if (!response) return poll(backoff, whileSeen);
    let isAlive = false;
    for await (const blocks of blocksOf(response)) {
      isAlive = true;
      backoff.reset();
      onTrouble(null);
      take(blocks.filter((block) => block.event !== "end").map((block) => block.data));
      if (blocks.some((block) => block.event === "end")) { onEnd(); return true; }
    }
    // Something between keeps the stream back, as some proxies do.
    return isAlive ? false : poll(backoff, whileSeen);
  });
}

// Follows all tasks of the user. `onReady` gets the ids of those that are active, each time that the
// stream begins; what changed before that is not told. Where streams cannot be had, `onPoll` is
// called again and again.
export async function followTasks({ onReady, onTasks, onQueue, onPoll, onTrouble, signal }) {
  await persist(signal, onTrouble, async (backoff, whileSeen) => {
    const response = await openStream("/events", null, whileSeen);
    const active = [];
    let isAlive = false;
    for await (const blocks of response ? blocksOf(response) : []) {
      isAlive = true;
      backoff.reset();
      onTrouble(null);
      const tasks = blocks.filter((block) => block.event === "task").map((block) => block.data);
      if (tasks.length) onTasks(tasks);
      active.push(...tasks.map((task) => task.id));
      for (const block of blocks) {
        if (block.event === "queue") onQueue(block.data);
        else if (block.event === "ready") onReady(new Set(active));
      }
    }
    if (!isAlive) await onPoll(whileSeen);
    return false;
  });
}
