// Shows the colours of terminals. The policy of the page forbids style attributes, so colours
// beyond the sixteen that the style sheet knows are set by script.
import { AnsiUp } from "../vendor/ansi_up.js";

const MARK = "data-ansi";
const ESCAPE = "\u001b";

// A program redraws its line after a carriage return: the last drawing is what a terminal shows.
function lastDrawings(text) {
  return text.includes("\r") ? text.replace(/\r\n/g, "\n").replace(/^.*\r(?=.)/gm, "") : text;
}

// Programs choose colours for one ground; on the other one they keep their hue.
function makeReadable(part) {
  const { color, backgroundColor } = part.style;
  if (!color || backgroundColor) return;
  const on = (lightness) => `oklch(from ${color} ${lightness} c h)`;
  part.style.color = `light-dark(${on("min(l, 0.48)")}, ${on("max(l, 0.78)")})`;
}

export function fillWithOutput(element, text) {
  const plain = lastDrawings(text);
  if (!plain.includes(ESCAPE)) {
    element.textContent = plain;
    return;
  }
  const ansi = new AnsiUp();
  ansi.use_classes = true;
  // Links of a terminal show one text and lead to another place.
  ansi.url_allowlist = {};
  // Quotes in the text are escaped, so each of these is an attribute.
  element.innerHTML = ansi.ansi_to_html(plain).replaceAll(' style="', ` ${MARK}="`);
  for (const part of element.querySelectorAll(`[${MARK}]`)) {
    part.style.cssText = part.getAttribute(MARK);
    part.removeAttribute(MARK);
    makeReadable(part);
  }
}
