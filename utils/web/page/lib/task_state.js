// Everything that the view of one task knows: its row, its log, and how both are kept up to date.
import { get } from "./api.js";
import { isPullDue } from "./automatic_pull.js";
import { useCallback, useEffect, useRef, useState } from "./html.js";
import { emptyLog, foldEvents } from "./log_items.js";
import { followTask } from "./stream.js";
import { pauseWhileSeen } from "./waiting.js";

const POLL_MILLISECONDS = 2_000;
const TROUBLE_MILLISECONDS = 5_000;
const LONGEST_PAUSE_MILLISECONDS = 30_000;

export const isActive = (task) => task.status === "pending" || task.status === "running";

// Tells whether the last thing that the agent did was a plan.
export function hasPlan(task, turns) {
  return task.status === "completed" && turns.at(-1)?.mode === "plan";
}

// The row that is polled leaves out what a task has not; the full row comes once it has ended.
async function loadTask(id, signal) {
  const { task } = await get(`/task-status/${id}`, { signal });
  if (isActive(task)) return task;
  return (await get(`/tasks/${id}`, { signal })).task;
}

async function loadTurns(id, signal) {
  return (await get(`/tasks/${id}/turns`, { signal })).turns;
}

// Asks for news of a task that has ended, less and less often.
async function watchEnded(id, last, { signal, takeEvents }) {
  let pause = POLL_MILLISECONDS;
  while (!signal.aborted) {
    await pauseWhileSeen(pause, signal);
    pause = Math.min(1.5 * pause, LONGEST_PAUSE_MILLISECONDS);
    // An outage is no news, and the server goes on with it afterwards.
    const page = await get(`/tasks/${id}/events?after=${last.current}`, { signal }).catch(() => null);
    if (page?.events.length && !signal.aborted) takeEvents(page.events);
  }
}

export function useTask(id) {
  const [state, setState] = useState({
    task: null, turns: [], log: emptyLog(), error: null, trouble: null,
  });
  const [round, setRound] = useState(0);
  const isEnded = useRef(false);
  const last = useRef(0);
  const reload = useCallback(() => setRound((number) => number + 1), []);
  // Two readers may have the same event.
  const takeEvents = useCallback((events) => {
    const fresh = events.filter((event) => event.sequence > last.current);
    if (!fresh.length) return;
    last.current = fresh.at(-1).sequence;
    setState((old) => ({ ...old, log: foldEvents(old.log, fresh) }));
  }, []);

  useEffect(() => {
    const controller = new AbortController();
    const { signal } = controller;
    const change = (changes) => signal.aborted || setState((old) => ({ ...old, ...changes }));
    const refresh = async () => {
      const [task, turns] = await Promise.all([loadTask(id, signal), loadTurns(id, signal)]);
      isEnded.current = !isActive(task);
      // A row that is polled has no diff: the one of the turn before stays until the next one.
      const withOld = (old) => ({ ...task, git_diff: old?.git_diff,
        repositories: old?.repositories ?? task.repositories });
      setState((old) => signal.aborted ? old : {
        ...old, error: null, turns, task: isActive(task) ? withOld(old.task) : task,
      });
    };

    async function watchRow() {
      while (!signal.aborted) {
        try {
          await refresh();
          change({ trouble: null });
          if (isEnded.current) return;
          await pauseWhileSeen(POLL_MILLISECONDS, signal);
        } catch (error) {
          if (signal.aborted) return;
          if (error.status === 404) { change({ error }); return; }
          change({ trouble: error });
          await pauseWhileSeen(TROUBLE_MILLISECONDS, signal);
        }
      }
    }

    isEnded.current = false;
    watchRow();
    followTask(id, last.current, {
      signal,
      isEnded: () => isEnded.current,
      onEvents: takeEvents,
      onEnd: () => isEnded.current || refresh().catch(() => {}),
      onTrouble: (trouble) => trouble?.status !== 404 && change({ trouble }),
    });
    return () => controller.abort();
  }, [id, round]);

  const isDue = isPullDue(state.task, state.log);
  useEffect(() => {
    if (!isDue) return undefined;
    const controller = new AbortController();
    watchEnded(id, last, {
      signal: controller.signal,
      takeEvents(events) {
        takeEvents(events);
        reload();
      },
    });
    return () => controller.abort();
  }, [id, isDue]);

  return { ...state, reload };
}
