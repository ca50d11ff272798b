// The frame around all views: who is signed in, where one is, and how to get elsewhere.
import { Fragment, html, useEffect, useState } from "../lib/html.js";
import { currentRoute, onRouteChange } from "../lib/router.js";
import { currentSession, onSessionChange, signOut } from "../lib/session.js";
import { Group } from "./group.js";
import { Home } from "./home.js";
import { Projects } from "./projects.js";
import { Schedules } from "./schedules.js";
import { Settings } from "./settings.js";
import { SignIn } from "./sign_in.js";
import { Task } from "./task.js";
import { Usage } from "./usage.js";

const VIEWS = {
  home: Home, task: Task, group: Group, projects: Projects, schedules: Schedules,
  usage: Usage, settings: Settings,
};
const LINKS = [["/", "home", "Tasks"], ["/projects", "projects", "Projects"],
  ["/schedules", "schedules", "Schedules"], ["/usage", "usage", "Usage"], ["/settings", "settings", "Settings"]];

function Header({ route, session }) {
  return html`<header class="top">
    <a class="skip" href="#main">Skip to the content</a>
    <a class="brand" href="/">Async Code</a>
    <nav aria-label="Pages">${LINKS.map(([path, name, title]) => html`
      <a href=${path} aria-current=${route.name === name ? "page" : undefined}>${title}</a>`)}
    </nav>
    <div class="who"><span class="muted">${session.name}</span>
      <button type="button" class="quiet" onClick=${() => signOut()}>Sign out</button></div>
  </header>`;
}

function Unknown() {
  return html`<h1>This page does not exist</h1><p><a href="/">Go to your tasks</a></p>`;
}

export function App() {
  const [session, setSession] = useState(currentSession);
  const [route, setRoute] = useState(currentRoute);
  useEffect(() => onSessionChange(setSession), []);
  useEffect(() => onRouteChange(setRoute), []);
  useEffect(() => {
    if (!session) document.title = "Sign in · Async Code";
  }, [session]);
  if (!session) return html`<${SignIn} />`;
  const View = VIEWS[route.name] ?? Unknown;
  return html`<${Fragment}>
    <${Header} route=${route} session=${session} />
    <main id="main" tabindex="-1"><${View} id=${route.id} key=${`${route.name} ${route.id}`} /></main>
  </${Fragment}>`;
}
