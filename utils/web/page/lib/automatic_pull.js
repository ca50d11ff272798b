// Where the pull request is that a task asks for: the server opens it after the end of the task, or
// an event then tells why it could not.

// What the message of such an event begins with.
const FAILURE = "auto_pr: ";

const isFailure = (item) => item.kind === "error" && item.message.startsWith(FAILURE);

// The row that is polled has a field of its own, the full one has the metadata.
export const asksForPull = (task) =>
  task.auto_pr ?? task.execution_metadata?.auto_pr === true;

// Returns the failure after the last turn, null if there is none or a pull request came later.
export function pullFailure(task, log) {
  if (task.status !== "completed" || !asksForPull(task)) return null;
  const last = log.items.findLast(
    (item) => item.kind === "turn" || item.kind === "pull_request" || isFailure(item));
  return last && isFailure(last) ? last : null;
}

// Tells whether the server still has to open it. What the log says counts once it is complete.
export function isPullDue(task, log) {
  if (task?.status !== "completed" || !asksForPull(task)) return false;
  if (log.stages.at(-1)?.stage !== "ended" || pullFailure(task, log)) return false;
  return (task.repositories ?? [task]).some(
    (one) => one.changed_files?.length > 0 && !one.pr_number);
}
