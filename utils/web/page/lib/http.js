// Sends requests, and turns everything that is no success into one kind of error.

// `message` is for people, `code` for the page; the status 0 means that there was no answer.
export class ApiError extends Error {
  constructor(status, code, message) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

export async function request(path, options) {
  try {
    return await fetch(`/api${path}`, { ...options, cache: "no-store" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, "unreachable", "The server does not answer. Check that it is running.");
  }
}

export async function failureOf(response) {
  const answer = await response.json().catch(() => ({}));
  const text = answer.error ?? `The server answered with an error (${response.status}).`;
  return new ApiError(response.status, answer.code ?? "unknown", text);
}

// Returns the answer of a success. Throws `ApiError`.
export async function answerOf(response) {
  if (!response.ok) throw await failureOf(response);
  return response.json();
}
