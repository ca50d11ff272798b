// The first view: a form for a new task, and all tasks.
import { get } from "../lib/api.js";
import { Fragment, html, useEffect } from "../lib/html.js";
import { NewTask } from "./new_task.js";
import { useLoaded } from "./parts.js";
import { TaskList } from "./task_list.js";

export function Home() {
  const projects = useLoaded((signal) => get("/projects", { signal }), []).value?.projects ?? [];
  useEffect(() => { document.title = "Tasks · Async Code"; }, []);
  return html`<${Fragment}><${NewTask} projects=${projects} />
    <${TaskList} projects=${projects} /></${Fragment}>`;
}
