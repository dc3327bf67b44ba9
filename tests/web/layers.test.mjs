// The page's modules lie in layers: each imports only from its own layer or from those below, and never in a circle.
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";

const WEB = new URL("../../relay/web/", import.meta.url).pathname;
const LAYERS = [
  ["i18n/", "model/", "net/", "storage.js"],
  ["signals.js"],
  ["notify.js"],
  ["actions/"],
  ["views/"],
  ["app.js"],
];
const layer = (name) => LAYERS.findIndex((heads) => heads.some((head) => name.startsWith(head)));

const STATIC = /^(?:import|export)\b(?:[^;"'\n]|\n(?!import|export))*?["'](\.[^"']+)["']/gm;
const LATER = /\bimport\(\s*["'](\.[^"']+)["']/g;

/** Give the modules of ours that a module names in imports of one form. */
function imported(path, form) {
  const found = readFileSync(path, "utf8").matchAll(form);
  return [...found].map(([, name]) => new URL(name, `file://${path}`).pathname.slice(WEB.length));
}

/** Our modules that each module imports on loading. */
const imports = new Map(
  readdirSync(WEB, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith(".js") && entry.name !== "sw.js")
    .map((entry) => join(entry.parentPath ?? entry.path, entry.name))
    .filter((path) => !path.includes("/vendor/"))
    .map((path) => {
      return [path.slice(WEB.length), imported(path, STATIC)];
    }),
);

test("every module of the page has a layer", () => {
  assert.ok(imports.size > 30);
  for (const name of imports.keys()) assert.notEqual(layer(name), -1, name);
});

test("no module imports from a layer above its own", () => {
  for (const [name, others] of imports) {
    for (const other of others) assert.ok(layer(other) <= layer(name), `${name} imports ${other}`);
  }
});

test("no module imports from a layer above its own later on", () => {
  let count = 0;
  for (const name of imports.keys()) {
    for (const other of imported(join(WEB, name), LATER)) {
      assert.ok(layer(other) <= layer(name), `${name} imports ${other}`);
      count += 1;
    }
  }
  assert.ok(count > 3);
});

test("no module imports by a computed name, but a language", () => {
  for (const name of imports.keys()) {
    const source = readFileSync(join(WEB, name), "utf8").replace(/\bimport\(`(?:\$\{import\.meta\.resolve\(`)?(?:\.\.\/i18n\/|\.\/)\$\{\w+\}\.js/g, "");
    assert.doesNotMatch(source, /\bimport\(\s*(?!["'\s])/, name);
  }
});

test("imports of every form are seen", () => {
  const source = `import { a } from './one.js'\nexport * from "./two.js";\nimport {\n  b,\n} from "./three.js"\nimport './four.js';\n`;
  assert.deepEqual([...source.matchAll(STATIC)].map(([, name]) => name), ["./one.js", "./two.js", "./three.js", "./four.js"]);
});

test("a room of the page has at most 12 modules", () => {
  const rooms = new Map();
  for (const name of imports.keys()) {
    const room = name.slice(0, name.lastIndexOf("/") + 1);
    rooms.set(room, (rooms.get(room) ?? 0) + 1);
  }
  assert.ok(rooms.size > 5);
  for (const [room, count] of rooms) assert.ok(count <= 12, `${room} has ${count} modules`);
});

test("a module of the page has at most 400 lines, but for tables", () => {
  for (const name of imports.keys()) {
    const lines = readFileSync(join(WEB, name), "utf8").trimEnd().split("\n").length;
    assert.ok(lines <= 400 || name === "model/looks.js", `${name} has ${lines} lines`);
  }
});

test("no modules import each other in a circle", () => {
  const done = new Set();
  const visit = (name, path) => {
    assert.ok(!path.includes(name), [...path, name].join(" imports "));
    if (done.has(name)) return;
    for (const other of imports.get(name) ?? []) visit(other, [...path, name]);
    done.add(name);
  };
  for (const name of imports.keys()) visit(name, []);
});

test("only the clock asks the device what time it is", () => {
  const sources = readdirSync(WEB, { recursive: true }).filter((name) => name.endsWith(".js") && !name.startsWith("vendor/"));
  assert.ok(sources.length > 30);
  for (const name of sources.filter((one) => one !== "net/clock.js")) {
    assert.doesNotMatch(readFileSync(join(WEB, name), "utf8"), /\bDate\.now\b|\bnew Date\(\)|\bperformance\.timeOrigin\b/, name);
  }
});

test("the composed message and a dialog's message are named by ids, not copied", () => {
  for (const name of imports.keys()) {
    const assigned = readFileSync(join(WEB, name), "utf8").match(/\b(?:composing|dialog)\.value = \{(?:[^}]*,)?\s*message\s*[,:}]/g);
    assert.equal(assigned, null, name);
  }
});

// Rows of the outbox end with it, names that were looked up are of the user who did, and a blob's address is revoked.
const FORGOTTEN_OTHERWISE = ["own", "busy", "uploading", "waits", "finished", "running", "asking", "elsewhere", "blobUrls", "asked"];

test("every Map or Set of the actions is registered to be forgotten with the user", () => {
  let count = 0;
  for (const name of imports.keys()) {
    if (!name.startsWith("actions/")) continue;
    const text = readFileSync(join(WEB, name), "utf8");
    count += [...text.matchAll(/^(?:export )?const \w+ = of(?:User|Messages)\(/gm)].length;
    const loose = [...text.matchAll(/^(?:export )?const (\w+) = new (?:Map|Set)\(\);/gm)].map(([, what]) => what);
    assert.deepEqual(loose.filter((what) => !FORGOTTEN_OTHERWISE.includes(what)), [], name);
  }
  assert.ok(count > 8);
});
