// Maps addresses to views. Links work without it too: every address is served by the server.
const listeners = new Set();

const ROUTES = [
  [/^\/$/, "home"],
  [/^\/tasks\/(\d+)\/?$/, "task"],
  [/^\/groups\/(\d+)\/?$/, "group"],
  [/^\/projects\/?$/, "projects"],
  [/^\/schedules\/?$/, "schedules"],
  [/^\/usage\/?$/, "usage"],
  [/^\/settings\/?$/, "settings"],
];

export function currentRoute() {
  for (const [pattern, name] of ROUTES) {
    const match = pattern.exec(location.pathname);
    if (match) return { name, id: match[1] ? Number(match[1]) : null };
  }
  return { name: "unknown", id: null };
}

// What a view shows of itself in its address, so that going back and reloading find it again.
export function currentQuery() {
  return Object.fromEntries(new URLSearchParams(location.search));
}

export function changeQuery(changes) {
  const query = new URLSearchParams(location.search);
  for (const [name, value] of Object.entries(changes)) {
    if (value) query.set(name, value);
    else query.delete(name);
  }
  const text = query.toString();
  history.replaceState(null, "", location.pathname + (text && `?${text}`));
}

function announce() {
  for (const listener of listeners) listener(currentRoute());
}

export function onRouteChange(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

export function go(path) {
  history.pushState(null, "", path);
  announce();
  scrollTo(0, 0);
  // Readers of the screen are told where they are, as after a real navigation.
  requestAnimationFrame(() => document.querySelector("main")?.focus({ preventScroll: true }));
}

export function startRouter() {
  addEventListener("popstate", announce);
  document.addEventListener("click", (event) => {
    const link = event.target.closest?.("a[href]");
    const isPlain = event.button === 0 && !event.metaKey && !event.ctrlKey && !event.shiftKey &&
      !event.altKey && !event.defaultPrevented;
    if (!link || !isPlain || link.target || link.hasAttribute("download")) return;
    const target = new URL(link.href);
    const isOwn = target.origin === location.origin &&
      ROUTES.some(([pattern]) => pattern.test(target.pathname));
    if (!isOwn || target.hash) return;
    event.preventDefault();
    go(target.pathname + target.search);
  });
}
