// Calls the HTTP API as the signed-in user.
import { failureOf, request } from "./http.js";
import { accessToken, endSession } from "./session.js";

async function send(path, options) {
  let token = await accessToken();
  let response = await requestWith(path, options, token);
  if (response.status === 401 && token) {
    const renewed = await accessToken({ refused: token });
    if (renewed && renewed !== token) {
      token = renewed;
      response = await requestWith(path, options, token);
    }
  }
  return response;
}

function requestWith(path, { headers, ...options }, token) {
  const all = new Headers(headers);
  if (token) all.set("Authorization", `Bearer ${token}`);
  return request(path, { ...options, headers: all });
}

// Returns the response itself, for streams and files. Throws `ApiError`.
export async function open(path, options = {}) {
  const response = await send(path, options);
  if (response.status === 401) endSession();
  if (!response.ok) throw await failureOf(response);
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
export const patch = (path, body, options) => json("PATCH", path, body, options);
export const put = (path, body, options) => json("PUT", path, body, options);
export const remove = (path, options) => json("DELETE", path, undefined, options);

// Names a request, so that the server carries it out once when a click is repeated.
export function newRequestKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
