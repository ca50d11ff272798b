// Waits for time to pass, and for the page to be looked at. Each wait ends early with its signal.

export function pause(milliseconds, signal) {
  return new Promise((resolve) => {
    function end() {
      clearTimeout(timer);
      signal.removeEventListener("abort", end);
      resolve();
    }
    const timer = setTimeout(end, milliseconds);
    signal.addEventListener("abort", end);
    if (signal.aborted) end();
  });
}

const until = (isReached) => (signal) => new Promise((resolve) => {
  const ended = new AbortController();
  function look() {
    if (!isReached() && !signal.aborted) return;
    ended.abort();
    resolve();
  }
  document.addEventListener("visibilitychange", look, { signal: ended.signal });
  signal.addEventListener("abort", look, { signal: ended.signal });
  look();
});

export const untilVisible = until(() => !document.hidden);
export const untilHidden = until(() => document.hidden);

// Waits, and then until somebody looks: a page that nobody sees asks for nothing.
export async function pauseWhileSeen(milliseconds, signal) {
  await pause(milliseconds, signal);
  await untilVisible(signal);
}
