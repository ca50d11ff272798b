// Writes values for people.
const MINUTE = 60;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

export function seconds(value) {
  if (value < 10) return `${value.toFixed(1)} s`;
  if (value < MINUTE) return `${Math.round(value)} s`;
  if (value < HOUR) return `${Math.floor(value / MINUTE)} min ${Math.round(value % MINUTE)} s`;
  return `${Math.floor(value / HOUR)} h ${Math.round((value % HOUR) / MINUTE)} min`;
}

export function secondsBetween(start, end) {
  return Math.max(0, (new Date(end ?? Date.now()) - new Date(start)) / 1000);
}

export function age(moment) {
  const passed = secondsBetween(moment, null);
  if (passed < 45) return "just now";
  if (passed < HOUR) return `${Math.max(1, Math.round(passed / MINUTE))} min ago`;
  if (passed < DAY) return `${Math.round(passed / HOUR)} h ago`;
  if (passed < 7 * DAY) return `${Math.round(passed / DAY)} d ago`;
  return new Date(moment).toLocaleDateString(undefined, { dateStyle: "medium" });
}

// For what happens every few seconds.
export function ago(moment) {
  const passed = secondsBetween(moment, null);
  return passed < MINUTE ? `${Math.round(passed)} s ago` : age(moment);
}

export function fullTime(moment) {
  return new Date(moment).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "medium" });
}

export function dollars(value) {
  if (value === null || value === undefined) return null;
  return `$${value.toFixed(value > 0 && value < 0.1 ? 4 : 2)}`;
}

export function count(number, one, many = `${one}s`) {
  return `${number.toLocaleString()} ${number === 1 ? one : many}`;
}

export function shortNumber(number) {
  if (number < 1_000) return String(number);
  return number < 1_000_000 ? `${(number / 1_000).toFixed(1)}k` : `${(number / 1e6).toFixed(1)}M`;
}

// The name by which people know a repository: owner and name, or the folder.
export function repositoryName(url) {
  const path = url.replace(/^[a-z+]+:\/\/[^/]+\//, "").replace(/\.git$/, "").replace(/\/+$/, "");
  return path.split("/").slice(-2).join("/");
}

const TITLE_CHARACTERS = 120;

// A prompt may be one line of any length.
export function firstLine(text) {
  const line = text.trim().split("\n", 1)[0];
  return line.length > TITLE_CHARACTERS ? `${line.slice(0, TITLE_CHARACTERS)}…` : line;
}
