// Steps that several views offer.
import { newRequestKey, open, post, remove } from "./api.js";
import { asksForPull } from "./automatic_pull.js";
import { go } from "./router.js";

// Starts a task like this one was at first: what was said to its agent later is not repeated.
export async function startAgain(task, turns) {
  const body = { prompt: task.prompt, repo_url: task.repo_url, model: task.agent };
  if (task.branch) body.branch = task.branch;
  if (task.project_id) body.project_id = task.project_id;
  const { agent_model: model, check_command: check, priority } = task.execution_metadata ?? {};
  if (model) body.agent_model = model;
  if (turns[0]?.mode === "plan") body.mode = "plan";
  if (check) body.check_command = check;
  if (priority) body.priority = priority;
  // Said in any case: the settings of the project may have changed since.
  body.auto_pr = asksForPull(task);
  if (task.repositories) {
    body.repositories = task.repositories.slice(1).map(({ repo_url: url, branch }) => (
      branch ? { repo_url: url, branch } : { repo_url: url }));
  }
  const headers = { "Idempotency-Key": newRequestKey() };
  const answer = await post("/start-task", body, { headers });
  go(`/tasks/${answer.task_id}`);
}

export async function downloadPatch(task, repository) {
  const query = repository ? `?repository=${encodeURIComponent(repository)}` : "";
  const response = await open(`/tasks/${task.id}/patch${query}`);
  const link = document.createElement("a");
  link.href = URL.createObjectURL(await response.blob());
  link.download = `task-${task.id}${repository ? `-${repository}` : ""}.patch`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

export const chooseTask = (groupId, taskId) =>
  post(`/task-groups/${groupId}/choose`, { task_id: taskId });

export async function deleteTask(task) {
  await remove(`/tasks/${task.id}`);
  go("/");
}

export const cancelTask = (task) => post(`/tasks/${task.id}/cancel`);
