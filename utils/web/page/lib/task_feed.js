// Keeps the list of tasks up to date: by the stream of all tasks, or by asking again and again.
import { get } from "./api.js";
import { useEffect, useRef, useState } from "./html.js";
import { followTasks } from "./stream.js";
import { pauseWhileSeen } from "./waiting.js";

const PAGE = 100;
const POLL_MILLISECONDS = 3_000;
// The positions of the tasks that are next tell enough.
const MOST_WAITING_ASKED = 5;

const isActive = (task) => task.status === "pending" || task.status === "running";

function query({ status, text, project }, cursor) {
  const values = new URLSearchParams({ limit: String(PAGE) });
  if (project) values.set("project_id", project);
  if (status) values.set("status", status);
  if (text) values.set("q", text);
  if (cursor) values.set("cursor", String(cursor));
  return `/tasks?${values}`;
}

async function loadPage(filter, cursor, signal) {
  const answer = await get(query(filter, cursor), { signal });
  const tasks = Object.values(answer.tasks).sort((one, other) => other.id - one.id);
  return { tasks, total: answer.total_tasks, cursor: answer.next_cursor };
}

// The newest page replaces what it covers; older pages stay as they were loaded.
function withNewest(state, page) {
  const oldest = page.tasks.at(-1)?.id ?? 0;
  const known = new Map(state.tasks.map((task) => [task.id, task]));
  const older = page.cursor ? state.tasks.filter((task) => task.id < oldest) : [];
  const newest = page.tasks.map((task) => ({ ...liveOf(known.get(task.id), task), ...task }));
  return {
    ...state, tasks: [...newest, ...older], total: page.total, isLoaded: true, error: null,
    cursor: older.length ? state.cursor : page.cursor,
  };
}

// What only the live news tell of a task; nothing any more once it has ended.
function liveOf(known, task) {
  if (!known || !isActive(task)) {
    return { stage: undefined, queue_position: undefined, waiting_reason: undefined };
  }
  const { stage, queue_position: position, waiting_reason: reason } = known;
  return { stage, queue_position: position, waiting_reason: reason };
}

// The places of waiting tasks come for all of them at once.
function withQueue(state, { positions, waiting_reason: reason }) {
  const tasks = state.tasks.map((task) => {
    const position = positions[task.id];
    if (task.status !== "pending" && task.queue_position === undefined) return task;
    if (task.queue_position === position && task.waiting_reason === reason) return task;
    return { ...task, queue_position: position, waiting_reason: position ? reason : undefined };
  });
  return { ...state, tasks };
}

// Fields that a task has no more are absent from an event, so they go from the row too.
function withEvents(state, rows) {
  const changes = new Map(rows.map((row) => [row.id, row]));
  const tasks = state.tasks.filter((task) => changes.get(task.id)?.status !== "deleted");
  for (const [place, task] of tasks.entries()) {
    const row = changes.get(task.id);
    const waits = row?.status === "pending" ? liveOf(task, row) : {};
    if (row) tasks[place] = { ...task, ...liveOf({}, row), ...waits, ...row };
  }
  return { ...state, tasks, total: state.total - (state.tasks.length - tasks.length) };
}

// Many tasks may change while one request runs; one more tells of all of them.
function oneAtATime(action) {
  let running = null;
  let isAskedAgain = false;
  async function run() {
    do {
      isAskedAgain = false;
      await action();
    } while (isAskedAgain);
    running = null;
  }
  return () => {
    if (running) isAskedAgain = true;
    else running = run();
    return running;
  };
}

async function poll({ reload, read, takeRows }, signal) {
  while (!signal.aborted) {
    await reload();
    const waiting = read().tasks.filter((task) => task.status === "pending");
    for (const task of waiting.slice(-MOST_WAITING_ASKED)) {
      const answer = await get(`/task-status/${task.id}`, { signal }).catch(() => null);
      if (answer) {
        const { id, status, stage, queue_position: position, waiting_reason: reason } = answer.task;
        takeRows([{ id, status, stage, queue_position: position, waiting_reason: reason }]);
      }
    }
    await pauseWhileSeen(POLL_MILLISECONDS, signal);
  }
}

function follow(parts) {
  const { signal, reload, read, takeRows, takeQueue, takeError } = parts;
  let isFirst = true;
  return followTasks({
    signal,
    onQueue: takeQueue,
    onPoll: (whileSeen) => poll(parts, whileSeen),
    onTrouble: (error) => error && takeError(error),
    onReady(active) {
      // What happened while there was no stream is in no event.
      const hasStale = read().tasks.some((task) => isActive(task) && !active.has(task.id));
      if (!isFirst || hasStale) reload();
      isFirst = false;
    },
    onTasks(rows) {
      const known = new Map(read().tasks.map((task) => [task.id, task]));
      takeRows(rows);
      // A new task, and one that ended, have more to show than the event says.
      const needsRow = rows.some((row) => row.status !== "deleted" && (!known.has(row.id) ||
        (isActive(known.get(row.id)) && !isActive(row))));
      if (needsRow) reload();
    },
  });
}

export function useTaskList(filter) {
  const [state, setState] = useState({ tasks: [], total: 0, cursor: null, isLoaded: false });
  const latest = useRef(state);
  const stop = useRef(null);
  latest.current = state;

  useEffect(() => {
    const controller = new AbortController();
    const { signal } = controller;
    stop.current = signal;
    const change = (action) => signal.aborted || setState(action);
    const reload = oneAtATime(() => loadPage(filter, null, signal).then(
      (page) => change((old) => withNewest(old, page)),
      (error) => change((old) => ({ ...old, error })),
    ));
    setState((old) => ({ ...old, tasks: [], cursor: null, isLoaded: false }));
    reload().then(() => follow({
      signal,
      reload,
      read: () => latest.current,
      takeRows: (rows) => change((old) => withEvents(old, rows)),
      takeQueue: (queue) => change((old) => withQueue(old, queue)),
      takeError: (error) => change((old) => ({ ...old, error })),
    }));
    return () => controller.abort();
  }, [filter.status, filter.text, filter.project]);

  async function more() {
    const signal = stop.current;
    const page = await loadPage(filter, state.cursor, signal);
    if (signal.aborted) return;
    setState((old) => ({ ...old, tasks: [...old.tasks, ...page.tasks], cursor: page.cursor }));
  }
  return { ...state, more };
}
