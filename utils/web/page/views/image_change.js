// An image before and after its change.
import { contentsOf, imageType } from "../lib/binary_patch.js";
import { html, useEffect, useState } from "../lib/html.js";

function urlOf(bytes, name) {
  return bytes && URL.createObjectURL(new Blob([bytes], { type: imageType(name) }));
}

export function ImageChange({ file }) {
  const [images, setImages] = useState(null);
  useEffect(() => {
    let urls = [];
    let isThere = true;
    contentsOf(file).catch(() => ({ before: null, after: null })).then(({ before, after }) => {
      urls = [urlOf(before, file.oldName ?? file.name), urlOf(after, file.name)];
      if (isThere) setImages({ before: urls[0], after: urls[1] });
    });
    return () => {
      isThere = false;
      for (const url of urls) if (url) URL.revokeObjectURL(url);
    };
  }, [file]);
  if (!images) return html`<p class="muted pad">Reading the image</p>`;
  if (!images.before && !images.after) {
    return html`<p class="muted pad">The patch does not hold the whole image.</p>`;
  }
  return html`<div class="images">
    ${[["before", "Before"], ["after", "After"]].map(([name, title]) => images[name] && html`
      <figure key=${name}><img src=${images[name]} alt="${file.name}, ${title.toLowerCase()}" />
        <figcaption>${title}</figcaption></figure>`)}
  </div>`;
}
