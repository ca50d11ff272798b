// The changes of a task over several repositories, one after the other.
import { parseDiff } from "../lib/diff_text.js";
import { html, useMemo } from "../lib/html.js";
import { Changes } from "./changes.js";

export function RepositoryChanges({ task, isPlan }) {
  const { repositories } = task;
  const files = useMemo(() => repositories.map((one) => parseDiff(one.git_diff)), [repositories]);
  return repositories.map((one, place) => html`<section key=${one.name} aria-label=${one.name}>
    <h2>${one.name}</h2>
    <${Changes} files=${files[place]} task=${task} repository=${one} isPlan=${isPlan} />
  </section>`);
}
