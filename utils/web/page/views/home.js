// The first view: a form for a new task, and all tasks.
import { Fragment, html, useEffect } from "../lib/html.js";
import { NewTask } from "./new_task.js";
import { TaskList } from "./task_list.js";

export function Home() {
  useEffect(() => { document.title = "Tasks · Async Code"; }, []);
  return html`<${Fragment}><${NewTask} /><${TaskList} /></${Fragment}>`;
}
