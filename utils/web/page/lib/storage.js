// Browsers may forbid storage altogether; the page then forgets, and works otherwise.
function guarded(action) {
  try {
    return action();
  } catch {
    return null;
  }
}

export function readItem(name) {
  const text = guarded(() => sessionStorage.getItem(name) ?? localStorage.getItem(name));
  return text === null || text === undefined ? null : guarded(() => JSON.parse(text));
}

// With `keep` the value outlives the tab, and all tabs share it.
export function writeItem(name, value, { keep }) {
  removeItem(name);
  guarded(() => (keep ? localStorage : sessionStorage).setItem(name, JSON.stringify(value)));
}

export function isKept(name) {
  return guarded(() => localStorage.getItem(name)) !== null;
}

export function removeItem(name) {
  guarded(() => sessionStorage.removeItem(name));
  guarded(() => localStorage.removeItem(name));
}
