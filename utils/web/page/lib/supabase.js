// Supabase's own client keeps and renews the session of a user who signs in with a password.
import { config } from "./config.js";
import { loadScript } from "./scripts.js";

let created = null;

async function create(keep) {
  await loadScript("supabase.js");
  const { url, key } = config.supabase;
  return globalThis.supabase.createClient(url, key, {
    auth: {
      storage: keep ? localStorage : sessionStorage,
      storageKey: "async-code-supabase",
      persistSession: true,
      autoRefreshToken: true,
      // The page reads no token from an address.
      detectSessionInUrl: false,
    },
  });
}

export function supabaseClient(keep) {
  if (created?.keep !== keep) created = { keep, client: create(keep) };
  return created.client;
}
