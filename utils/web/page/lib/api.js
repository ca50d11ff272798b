// Calls the HTTP API as the signed-in user.
import { accessToken, endSession } from "./session.js";

// An answer that is no success: `message` is for people, `code` for the page.
export class ApiError extends Error {
  constructor(status, code, message) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

async function send(path, options) {
  let token = await accessToken();
  let response = await fetchWith(path, options, token);
  if (response.status === 401 && token) {
    const renewed = await accessToken({ refused: token });
    if (renewed && renewed !== token) {
      token = renewed;
      response = await fetchWith(path, options, token);
    }
  }
  return response;
}

async function fetchWith(path, { headers, ...options }, token) {
  const all = new Headers(headers);
  if (token) all.set("Authorization", `Bearer ${token}`);
  try {
    return await fetch(`/api${path}`, { ...options, headers: all, cache: "no-store" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, "unreachable", "The server does not answer. Check that it is running.");
  }
}

export async function failure(response) {
  const answer = await response.json().catch(() => ({}));
  const text = answer.error ?? `The server answered with an error (${response.status}).`;
  if (response.status === 401) endSession();
  return new ApiError(response.status, answer.code ?? "unknown", text);
}

// Returns the response itself, for streams and files. Throws `ApiError`.
export async function open(path, options = {}) {
  const response = await send(path, options);
  if (!response.ok) throw await failure(response);
  return response;
}

async function json(method, path, body, options = {}) {
  const headers = { Accept: "application/json", ...options.headers };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const response = await open(path, {
    ...options, method, headers, body: body === undefined ? undefined : JSON.stringify(body),
  });
  return response.json();
}

export const get = (path, options) => json("GET", path, undefined, options);
export const post = (path, body = {}, options) => json("POST", path, body, options);
export const put = (path, body, options) => json("PUT", path, body, options);
export const remove = (path, options) => json("DELETE", path, undefined, options);

// Names a request, so that the server carries it out once when a click is repeated.
export function newRequestKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
