// Starts the page.
import { html, render } from "./lib/html.js";
import { startRouter } from "./lib/router.js";
import { applyTheme } from "./lib/theme.js";
import { App } from "./views/app.js";

applyTheme();
startRouter();
const root = document.getElementById("page");
root.replaceChildren();
render(html`<${App} />`, root);
