// Reads the contents of a changed image out of git's binary patch, which holds both directions.
// Each is either the whole content or its difference to the other side.

const ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;<=>?@^_`{|}~";
const VALUES = new Map([...ALPHABET].map((character, value) => [character, value]));
const TYPES = {
  png: "image/png", jpg: "image/jpeg", jpeg: "image/jpeg", gif: "image/gif", webp: "image/webp",
  avif: "image/avif", ico: "image/x-icon", bmp: "image/bmp",
};

export function imageType(name) {
  return TYPES[name.split(".").at(-1).toLowerCase()] ?? null;
}

// The first letter of a line is the number of its bytes.
function lineBytes(line) {
  const code = line.charCodeAt(0);
  return code <= 90 ? code - 64 : code - 96 + 26;
}

function decodeLines(lines) {
  const bytes = [];
  for (const line of lines) {
    const length = lineBytes(line);
    const decoded = [];
    for (let place = 1; place < line.length; place += 5) {
      let value = 0;
      for (const character of line.slice(place, place + 5)) value = value * 85 + VALUES.get(character);
      decoded.push(value >>> 24, (value >>> 16) & 255, (value >>> 8) & 255, value & 255);
    }
    bytes.push(...decoded.slice(0, length));
  }
  return new Uint8Array(bytes);
}

async function inflate(bytes) {
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

async function readPart(lines, start) {
  const [kind] = lines[start].split(" ");
  let end = start + 1;
  while (lines[end]) end += 1;
  return { kind, bytes: await inflate(decodeLines(lines.slice(start + 1, end))), end };
}

function readSize(bytes, place) {
  let size = 0;
  let shift = 1;
  for (;;) {
    const byte = bytes[place];
    place += 1;
    size += (byte & 127) * shift;
    shift *= 128;
    if (byte < 128) return [size, place];
  }
}

// A copy names the bytes of offset and length that are not zero.
function readNumber(bytes, place, flags, count) {
  let number = 0;
  for (let index = 0; index < count; index += 1) {
    if (flags & (1 << index)) {
      number += bytes[place] * 256 ** index;
      place += 1;
    }
  }
  return [number, place];
}

function applyDelta(delta, base) {
  let [, place] = readSize(delta, 0);
  let size;
  [size, place] = readSize(delta, place);
  const result = new Uint8Array(size);
  let filled = 0;
  while (place < delta.length) {
    const command = delta[place];
    place += 1;
    let part;
    if (command & 128) {
      let offset;
      let length;
      [offset, place] = readNumber(delta, place, command & 15, 4);
      [length, place] = readNumber(delta, place, (command >> 4) & 7, 3);
      part = base.subarray(offset, offset + (length || 65_536));
    } else {
      part = delta.subarray(place, place + command);
      place += command;
    }
    result.set(part, filled);
    filled += part.length;
  }
  return result;
}

// Returns the contents before and after; null for a side that the patch does not hold alone.
export async function contentsOf(file) {
  const lines = file.text.split("\n");
  const start = lines.indexOf("GIT binary patch") + 1;
  if (!start) return { before: null, after: null };
  const forward = await readPart(lines, start);
  const reverse = lines[forward.end + 1] ? await readPart(lines, forward.end + 1) : null;
  let after = forward.kind === "literal" ? forward.bytes : null;
  let before = reverse?.kind === "literal" ? reverse.bytes : null;
  if (!after && before) after = applyDelta(forward.bytes, before);
  if (!before && after && reverse) before = applyDelta(reverse.bytes, after);
  return {
    before: file.kind === "added" ? null : before,
    after: file.kind === "deleted" ? null : after,
  };
}
