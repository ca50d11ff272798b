// The changes of a task: all files of its diff, side by side or in one column.
import { imageType } from "../lib/binary_patch.js";
import { count } from "../lib/format.js";
import { html, useEffect, useLayoutEffect, useRef, useState } from "../lib/html.js";
import { loadScript } from "../lib/scripts.js";
import { readItem, writeItem } from "../lib/storage.js";
import { downloadPatch } from "../lib/task_actions.js";
import { isActive } from "../lib/task_state.js";
import { ImageChange } from "./image_change.js";
import { Notice, useAction } from "./parts.js";

const FORM = "async-code-diff-form";
const FORMS = { unified: "line-by-line", split: "side-by-side" };
// What is opened at once is drawn at once.
const LINES_OPENED = 3_000;
const LINES_OF_ONE_FILE = 1_000;
const WIDE = "(min-width: 900px)";

function Lines({ file, form }) {
  const element = useRef(null);
  const [error, setError] = useState(null);
  useLayoutEffect(() => {
    let isThere = true;
    loadScript("diff2html.js").then(() => {
      if (!isThere) return;
      // diff2html escapes all text of the diff.
      element.current.innerHTML = Diff2Html.html(file.text, {
        drawFileList: false, matching: "lines", outputFormat: FORMS[form], colorScheme: "light",
      });
      // What scrolls sideways is reached by keyboard.
      for (const part of element.current.querySelectorAll(".d2h-file-diff, .d2h-file-side-diff")) {
        part.tabIndex = 0;
        part.setAttribute("role", "group");
        part.setAttribute("aria-label", `Lines of ${file.name}`);
      }
    }, setError);
    return () => { isThere = false; };
  }, [file, form]);
  return html`<div class="diff-lines" ref=${element}></div>
    ${error && html`<${Notice}>${error.message}</${Notice}>`}`;
}

function fileNotes(file) {
  const notes = [];
  if (file.kind !== "changed") notes.push(file.kind);
  if (file.isBinary) notes.push("binary");
  if (file.oldMode && file.mode) notes.push(`mode ${file.oldMode} to ${file.mode}`);
  if (file.mode === "120000") notes.push("link");
  return notes;
}

function FileBody({ file, form }) {
  if (file.isBinary && imageType(file.name)) return html`<${ImageChange} file=${file} />`;
  if (file.isBinary) return html`<p class="muted pad">A binary file has no lines to show.</p>`;
  if (!file.lines || !(file.additions + file.deletions)) {
    return html`<p class="muted pad">No line was changed.</p>`;
  }
  return html`<${Lines} file=${file} form=${form} />`;
}

function File({ file, form, isOpenAtFirst }) {
  const [isOpen, setOpen] = useState(isOpenAtFirst);
  const isMoved = file.kind === "renamed" || file.kind === "copied";
  return html`<details class="file" open=${isOpen} onToggle=${(event) => setOpen(event.target.open)}>
    <summary>
      <span class="file-name">${isMoved && html`<span class="muted">${file.oldName} → </span>`}${
        file.name}</span>
      ${fileNotes(file).map((note) => html`<span class="badge">${note}</span>`)}
      ${!file.isBinary && html`<span class="counts"><span class="plus">+${file.additions}</span>
        <span class="minus">−${file.deletions}</span></span>`}
    </summary>
    ${isOpen && html`<${FileBody} file=${file} form=${form} />`}
  </details>`;
}

function FormChoice({ form, onChoose }) {
  return html`<div class="choice" role="group" aria-label="Form of the diff">
    ${[["unified", "Unified"], ["split", "Split"]].map(([name, title]) => html`
      <button type="button" aria-pressed=${form === name} onClick=${() => onChoose(name)}>${
        title}</button>`)}</div>`;
}

// Opens files from the first on until they are many lines, and no file that is long by itself.
function openAtFirst(files) {
  let lines = 0;
  return files.map((file) => {
    if (file.lines > LINES_OF_ONE_FILE) return false;
    lines += file.lines;
    return lines <= LINES_OPENED;
  });
}

function startForm() {
  return readItem(FORM) ?? (matchMedia(WIDE).matches ? "split" : "unified");
}

// What the result lacks, or has against the expectation.
function Notes({ notes }) {
  return notes.length > 0 && html`<${Notice} kind="info"><ul class="plain">${
    notes.map((note) => html`<li>${note}</li>`)}</ul></${Notice}>`;
}

function Empty({ task, notes, isPlan }) {
  if (isActive(task)) {
    return html`<p class="empty">The changes are shown when the agent has ended.</p>`;
  }
  if (isPlan) return html`<p class="empty">A plan changes nothing. Carry it out below the log.</p>`;
  return html`<p class="empty">${notes.length ? notes.join(" ") : "The task changed nothing."}</p>`;
}

// Of a task over several repositories, those in one of them.
export function Changes({ files, task, repository, isPlan }) {
  const [form, setForm] = useState(startForm);
  const patch = useAction(() => downloadPatch(task, repository?.name));
  useEffect(() => { loadScript("diff2html.js").catch(() => {}); }, []);
  function choose(name) {
    setForm(name);
    writeItem(FORM, name, { keep: true });
  }
  const notes = (repository ?? task.execution_metadata)?.notes ?? [];
  if (!files.length) return html`<${Empty} task=${task} notes=${notes} isPlan=${isPlan} />`;
  const opened = openAtFirst(files);
  const additions = files.reduce((sum, file) => sum + file.additions, 0);
  const deletions = files.reduce((sum, file) => sum + file.deletions, 0);
  return html`<div class="changes">
    <div class="section-head">
      <p>${count(files.length, "file")} <span class="counts"><span class="plus">+${additions}</span>
        <span class="minus">−${deletions}</span></span></p>
      <div class="buttons"><${FormChoice} form=${form} onChoose=${choose} />
        ${(repository ?? task).has_patch && html`<button type="button" disabled=${patch.isBusy}
          onClick=${() => patch.run()}>Download patch</button>`}</div>
    </div>
    ${patch.error && html`<${Notice}>${patch.error.message}</${Notice}>`}
    <${Notes} notes=${notes} />
    ${files.map((file, index) => html`<${File} file=${file} form=${form}
      isOpenAtFirst=${opened[index]} key=${file.name} />`)}
  </div>`;
}
