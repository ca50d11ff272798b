// Signs in and out, and gives every request its access token. Tokens are kept by this browser and
// sent in a header; they are never part of an address.
import { config } from "./config.js";
import { answerOf, request } from "./http.js";
import { isKept, readItem, removeItem, writeItem } from "./storage.js";
import { supabaseClient } from "./supabase.js";

const NAME = "async-code-session";
const EARLY_SECONDS = 60;
const listeners = new Set();
let isOver = false;

export function currentSession() {
  return readItem(NAME);
}

export function onSessionChange(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

// Tells whether a session has ended that nobody has ended here.
export function hasSessionEnded() {
  return isOver;
}

function change(session, keep) {
  isOver = false;
  if (session) writeItem(NAME, session, { keep });
  else removeItem(NAME);
  for (const listener of listeners) listener(session);
}

// Another tab has signed in or out.
addEventListener("storage", (event) => {
  if (event.key === NAME) for (const listener of listeners) listener(currentSession());
});

async function post(path, body) {
  return answerOf(await request(path, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  }));
}

function pairSession(pair, name) {
  return {
    kind: "pair",
    name,
    accessToken: pair.access_token,
    refreshToken: pair.refresh_token,
    expiresAt: Date.now() / 1000 + pair.expires_in,
  };
}

export async function signInAsDeveloper(userId) {
  change(pairSession(await post("/auth/token", { user_id: userId }), "Development user"), true);
}

export async function signInWithToken(token, keep) {
  await answerOf(await request("/auth/verify", { headers: { Authorization: `Bearer ${token}` } }));
  const name = token.startsWith("ac_") ? "API key" : "Access token";
  change({ kind: "token", name, accessToken: token }, keep);
}

export async function signInWithPassword(email, password, keep) {
  const client = await supabaseClient(keep);
  const { error } = await client.auth.signInWithPassword({ email, password });
  if (error && !error.status) throw new Error("The sign-in service does not answer. Try again.");
  if (error) throw new Error(`${error.message}. Check the e-mail address and the password.`);
  change({ kind: "supabase", name: email }, keep);
}

export async function signOut() {
  const session = currentSession();
  change(null);
  if (session?.kind === "pair") {
    await post("/auth/logout", { refresh_token: session.refreshToken }).catch(() => {});
  } else if (session?.kind === "supabase") {
    const client = await supabaseClient(true).catch(() => null);
    await client?.auth.signOut({ scope: "local" }).catch(() => {});
  }
}

// A refresh token works once. Tabs share it, so they take turns, and each looks again first.
function inTurn(action) {
  return navigator.locks ? navigator.locks.request(NAME, action) : action();
}

async function refreshPair(seen) {
  return inTurn(async () => {
    const session = currentSession();
    if (!session || session.accessToken !== seen.accessToken) return session;
    try {
      const pair = await post("/auth/refresh", { refresh_token: session.refreshToken });
      const next = pairSession(pair, session.name);
      writeItem(NAME, next, { keep: isKept(NAME) });
      return next;
    } catch (error) {
      // Only a refusal ends the session; an outage does not.
      if (error.status !== 401) throw error;
      endSession();
      return null;
    }
  });
}

async function supabaseToken(keep) {
  const client = await supabaseClient(keep);
  const { data } = await client.auth.getSession();
  if (!data.session) endSession();
  return data.session?.access_token ?? null;
}

// Returns the token for the next request, and null when nobody is signed in.
export async function accessToken({ refused = null } = {}) {
  let session = currentSession();
  if (!session) return null;
  if (session.kind === "supabase") return supabaseToken(isKept(NAME));
  if (session.kind === "pair") {
    const isOld = session.expiresAt - Date.now() / 1000 < EARLY_SECONDS;
    if (isOld || refused === session.accessToken) session = await refreshPair(session);
  }
  return session?.accessToken ?? null;
}

export function endSession() {
  if (!currentSession()) return;
  removeItem(NAME);
  isOver = true;
  for (const listener of listeners) listener(null);
}

export const canSignInWithPassword = config.supabase !== null;
