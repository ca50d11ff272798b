// Light, dark, or as the system says.
import { readItem, removeItem, writeItem } from "./storage.js";

const NAME = "async-code-theme";

export function chosenTheme() {
  return readItem(NAME) ?? "auto";
}

export function applyTheme() {
  const theme = chosenTheme();
  if (theme === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
}

export function chooseTheme(theme) {
  if (theme === "auto") removeItem(NAME);
  else writeItem(NAME, theme, { keep: true });
  applyTheme();
}
