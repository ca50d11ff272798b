// The ways to sign in that this server offers.
import { config } from "../lib/config.js";
import { html, useState } from "../lib/html.js";
import {
  canSignInWithPassword, hasSessionEnded, signInAsDeveloper, signInWithPassword, signInWithToken,
} from "../lib/session.js";
import { Field, Notice, useAction } from "./parts.js";

function Keep({ value, onChange }) {
  return html`<label class="check"><input type="checkbox" checked=${value}
    onChange=${(event) => onChange(event.target.checked)} /> Stay signed in on this device</label>`;
}

function PasswordForm() {
  const [email, setEmail] = useState("");
  const [password, setPassword] = useState("");
  const [keep, setKeep] = useState(true);
  const action = useAction(() => signInWithPassword(email.trim(), password, keep));
  function submit(event) {
    event.preventDefault();
    action.run();
  }
  return html`<form onSubmit=${submit} aria-label="Sign in with a password">
    <${Field} label="E-mail address">${(props) => html`<input type="email" required
      autocomplete="username" value=${email} onInput=${(e) => setEmail(e.target.value)}
      ...${props} />`}</${Field}>
    <${Field} label="Password">${(props) => html`<input type="password" required
      autocomplete="current-password" value=${password}
      onInput=${(e) => setPassword(e.target.value)} ...${props} />`}</${Field}>
    <${Keep} value=${keep} onChange=${setKeep} />
    ${action.error && html`<${Notice}>${action.error.message}</${Notice}>`}
    <button class="primary wide" disabled=${action.isBusy}>Sign in</button>
  </form>`;
}

function TokenForm() {
  const [token, setToken] = useState("");
  const [keep, setKeep] = useState(false);
  const action = useAction(() => signInWithToken(token.trim(), keep));
  function submit(event) {
    event.preventDefault();
    action.run();
  }
  return html`<form onSubmit=${submit} aria-label="Sign in with a key">
    <${Field} label="API key or access token"
      hint="The operator of the server makes a key with ./run.sh add-user <name>.">
      ${(props) => html`<input type="password" required autocomplete="off" spellcheck="false"
        value=${token} onInput=${(e) => setToken(e.target.value)} ...${props} />`}</${Field}>
    <${Keep} value=${keep} onChange=${setKeep} />
    ${action.error && html`<${Notice}>${action.error.message}</${Notice}>`}
    <button class=${canSignInWithPassword || config.developer ? "wide" : "primary wide"}
      disabled=${action.isBusy}>Sign in with this key</button>
  </form>`;
}

function DeveloperForm() {
  const action = useAction(() => signInAsDeveloper(config.developer));
  return html`<div>
    <p class="muted">This server runs for development, and trusts whoever reaches it.</p>
    ${action.error && html`<${Notice}>${action.error.message}</${Notice}>`}
    <button type="button" class="primary wide" disabled=${action.isBusy}
      onClick=${() => action.run()}>Continue as development user</button>
  </div>`;
}

export function SignIn() {
  const others = config.developer !== null || canSignInWithPassword;
  return html`<main class="sign-in" tabindex="-1">
    <h1>Async Code</h1>
    <p class="lead">Give a coding agent a task, watch it work, and review what it changed.</p>
    ${hasSessionEnded() && html`<${Notice} kind="info">
      Your session has ended. Sign in again.</${Notice}>`}
    ${config.developer !== null && html`<${DeveloperForm} />`}
    ${canSignInWithPassword && html`<${PasswordForm} />`}
    ${others
      ? html`<details class="other-way"><summary>Use an API key or a token</summary>
          <${TokenForm} /></details>`
      : html`<${TokenForm} />`}
  </main>`;
}
