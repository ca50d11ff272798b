// Splits a git diff into its files and reads their headers. Rendering lines is diff2html's work.

const NAMED = { "\\": "\\", '"': '"', n: "\n", t: "\t", r: "\r", a: "\x07", b: "\b", f: "\f", v: "\v" };

// git quotes odd names, with the bytes of other letters as octal numbers.
function unquote(name) {
  if (!name.startsWith('"')) return name;
  const bytes = [];
  const encoder = new TextEncoder();
  for (const [part, octal, letter] of name.slice(1, -1).matchAll(/\\([0-7]{3})|\\(.)|[^\\]+/gs)) {
    if (octal) bytes.push(parseInt(octal, 8));
    else bytes.push(...encoder.encode(letter ? NAMED[letter] ?? letter : part));
  }
  return new TextDecoder().decode(new Uint8Array(bytes));
}

function withoutPrefix(name) {
  return unquote(name.replace(/\t$/, "")).replace(/^[ab]\//, "");
}

// The first line holds the name twice, and blanks in a name make the middle unclear.
function nameOfFirstLine(line) {
  const both = line.slice("diff --git ".length);
  if (both.startsWith('"')) return withoutPrefix(/^"(?:[^"\\]|\\.)*"/.exec(both)?.[0] ?? both);
  return both.slice(2, (both.length - 1) / 2);
}

const HEADERS = [
  [/^new file mode (\d+)/, (file, mode) => { file.kind = "added"; file.mode = mode; }],
  [/^deleted file mode (\d+)/, (file, mode) => { file.kind = "deleted"; file.mode = mode; }],
  [/^old mode (\d+)/, (file, mode) => { file.oldMode = mode; }],
  [/^new mode (\d+)/, (file, mode) => { file.mode = mode; }],
  [/^rename from (.*)/, (file, name) => { file.kind = "renamed"; file.oldName = unquote(name); }],
  [/^rename to (.*)/, (file, name) => { file.name = unquote(name); }],
  [/^copy from (.*)/, (file, name) => { file.kind = "copied"; file.oldName = unquote(name); }],
  [/^copy to (.*)/, (file, name) => { file.name = unquote(name); }],
  [/^--- (.*)/, (file, name) => { if (name !== "/dev/null") file.oldName ??= withoutPrefix(name); }],
  [/^\+\+\+ (.*)/, (file, name) => { if (name !== "/dev/null") file.name = withoutPrefix(name); }],
  [/^(GIT binary patch|Binary files )/, (file) => { file.isBinary = true; }],
];

function readHeader(file, lines) {
  let place = 1;
  for (; place < lines.length && !lines[place].startsWith("@@"); place += 1) {
    for (const [pattern, take] of HEADERS) {
      const match = pattern.exec(lines[place]);
      if (match) take(file, match[1]);
    }
    if (file.isBinary) break;
  }
  return place;
}

function parseFile(text) {
  const lines = text.split("\n");
  const file = {
    text, name: nameOfFirstLine(lines[0]), kind: "changed", isBinary: false, additions: 0,
    deletions: 0,
  };
  const start = readHeader(file, lines);
  if (!file.isBinary) {
    for (let place = start; place < lines.length; place += 1) {
      if (lines[place][0] === "+") file.additions += 1;
      else if (lines[place][0] === "-") file.deletions += 1;
    }
  }
  file.lines = lines.length - start;
  return file;
}

// Every line of a hunk begins with a sign, so no other line begins like this.
export function parseDiff(text) {
  if (!text) return [];
  return text.split(/^(?=diff --git )/m).filter((part) => part.startsWith("diff --git "))
    .map(parseFile);
}
