// Settings of the user and of this browser, and what the server can do.
import { get, put } from "../lib/api.js";
import { config } from "../lib/config.js";
import { Fragment, html, useEffect, useState } from "../lib/html.js";
import { currentSession, signOut } from "../lib/session.js";
import { chooseTheme, chosenTheme } from "../lib/theme.js";
import { ApiKeys } from "./api_keys.js";
import { Field, LoadFailure, Notice, useAction, useLoaded } from "./parts.js";
import { Workers } from "./workers.js";

function GitHubToken({ profile }) {
  const [token, setToken] = useState("");
  const save = useAction(async (value) => {
    await put("/users/me", { github_token: value });
    setToken("");
    profile.reload();
  });
  const isStored = Boolean(profile.value?.user.has_github_token);
  function submit(event) {
    event.preventDefault();
    save.run(token.trim());
  }
  return html`<form class="card" onSubmit=${submit} aria-labelledby="github-title">
    <h2 id="github-title">GitHub</h2>
    <${Field} label="GitHub token" hint=${isStored
      ? "A token is stored. A new one takes its place."
      : "Stored encrypted, and used for private repositories and pull requests."}>
      ${(props) => html`<input type="password" autocomplete="off" required value=${token} ...${props}
        onInput=${(event) => setToken(event.target.value)} />`}</${Field}>
    ${save.error && html`<${Notice}>${save.error.message}</${Notice}>`}
    <${LoadFailure} error=${profile.error} reload=${profile.reload} />
    <div class="buttons buttons-end">
      ${isStored && html`<button type="button" disabled=${save.isBusy}
        onClick=${() => save.run(null)}>Remove the token</button>`}
      <button class="primary" disabled=${save.isBusy}>Store the token</button></div>
  </form>`;
}

function Appearance() {
  const [theme, setTheme] = useState(chosenTheme);
  function choose(name) {
    chooseTheme(name);
    setTheme(name);
  }
  return html`<section class="card" aria-labelledby="look-title"><h2 id="look-title">Appearance</h2>
    <div class="choice" role="group" aria-labelledby="look-title">
      ${[["auto", "As the system"], ["light", "Light"], ["dark", "Dark"]].map(([name, title]) => html`
        <button type="button" aria-pressed=${theme === name} onClick=${() => choose(name)}>${
          title}</button>`)}</div></section>`;
}

function Server() {
  const { value, error, reload } = useLoaded((signal) => get("/health/ready", { signal }), []);
  return html`<section class="card" aria-labelledby="server-title"><h2 id="server-title">Server</h2>
    <${LoadFailure} error=${error} reload=${reload} />
    <p class="muted">Version ${config.version}${value && html`, sandboxes: ${value.mode}, ${
      value.running} running, ${value.queued} queued`}</p>
    <ul class="plain">${value?.agents.map((agent) => html`<li key=${agent.name}>
      <strong>${agent.name}</strong> <span class="muted">${
        agent.reason ?? (agent.usable ? "ready" : "not usable")}</span></li>`)}</ul>
    <p><a href="/docs" target="_blank" rel="noopener">API reference</a></p></section>`;
}

export function Settings() {
  const profile = useLoaded((signal) => get("/users/me", { signal }), []);
  useEffect(() => { document.title = "Settings · Async Code"; }, []);
  return html`<${Fragment}>
    <h1>Settings</h1>
    <div class="section-head"><p class="muted">Signed in: ${currentSession()?.name}</p>
      <button type="button" onClick=${() => signOut()}>Sign out of this browser</button></div>
    <${GitHubToken} profile=${profile} /><${ApiKeys} /><${Appearance} /><${Server} />
    ${profile.value?.user.is_admin && html`<${Workers} />`}
  </${Fragment}>`;
}
