// Served files match the record: vendored files, cache stamps, and no bypass of the content policy.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { gzipSync } from "node:zlib";

const WEB = new URL("../../relay/web/", import.meta.url).pathname;
const HERE = new URL(".", import.meta.url).pathname;
const index = readFileSync(join(WEB, "index.html"), "utf8");
const digest = (path) => createHash("sha256").update(readFileSync(path)).digest("hex");
const files = (folder) =>
  readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath ?? entry.path, entry.name));
const ours = files(WEB).filter((path) => path.endsWith(".js") && !path.includes("/vendor/"));
const map = JSON.parse(index.match(/<script type="importmap">(.*?)<\/script>/s)[1]).imports;

test("vendored files are the recorded ones, each package with its licence", () => {
  const packages = JSON.parse(readFileSync(join(WEB, "vendor/packages.json"), "utf8"));
  const known = new Set(["packages.json"]);
  for (const one of packages) {
    assert.match(one.integrity, /^sha512-/);
    assert.ok(one.files.some((file) => file.to.includes("LICENSE")), one.name);
    for (const file of one.files) {
      known.add(file.to);
      assert.equal(digest(join(WEB, "vendor", file.to)), file.sha256, file.to);
    }
  }
  assert.deepEqual(readdirSync(join(WEB, "vendor")).filter((name) => !known.has(name)), []);
});

test("every address with a stamp carries the hash of the file it names", () => {
  const stamped = [...index.matchAll(/"(\/[\w./-]+)\?v=(\w+)"/g)];
  assert.ok(stamped.length > 20);
  for (const [, path, stamp] of stamped) assert.equal(digest(join(WEB, path)).slice(0, 8), stamp, `${path}: run packaging/web_assets.py stamp`);
});

test("every module of ours has a stamp", () => {
  for (const path of ours) {
    const name = path.slice(WEB.length - 1);
    if (name !== "/sw.js") assert.ok(map[name], name);
  }
});

test("every import leads to a file", () => {
  for (const path of ours) {
    for (const [, name] of readFileSync(path, "utf8").matchAll(/(?:from|import\()\s*"([^"]+)"/g)) {
      const target = name.startsWith(".") ? new URL(name, `file://${path}`).pathname : join(WEB, map[name] ?? "missing");
      assert.ok(existsSync(target), `${path} imports ${name}`);
    }
  }
});

test("every module of ours can be parsed", () => {
  for (const path of ours) {
    const { status, stderr } = spawnSync(process.execPath, ["--check", "--input-type=module"], { input: readFileSync(path) });
    assert.equal(status, 0, `${path}: ${stderr}`);
  }
});

test("every imported name is used", () => {
  for (const path of ours) {
    const text = readFileSync(path, "utf8");
    const imports = /^import\s*\{([^}]*)\}\s*from\s*"[^"]+";/gm;
    const body = text.replace(imports, "").replace(/\/\*[\s\S]*?\*\/|\/\/.*$/gm, "");
    for (const [, names] of text.matchAll(imports)) {
      for (const name of names.split(",").map((one) => one.trim().split(/\s+as\s+/).at(-1)).filter(Boolean)) {
        assert.match(body, new RegExp(`(?<![\\w$]|(?<!\\.\\.)\\.)${name.replace("$", "\\$")}(?![\\w$])`), `${path} imports ${name}`);
      }
    }
  }
});

test("every icon that is named is drawn", () => {
  const drawn = new Set([...["parts", "frames"].map((name) => readFileSync(join(WEB, `views/${name}.js`), "utf8")).join("").matchAll(/^ {2}(\w+): "M/gm)].map(([, name]) => name));
  for (const path of ours) {
    for (const [, name] of readFileSync(path, "utf8").matchAll(/(?:\$\{Icon\} name|\bicon)="(\w+)"/g)) assert.ok(drawn.has(name), `${path}: ${name}`);
  }
});

test("nothing makes markup or code from text", () => {
  const forbidden = /\b(innerHTML|outerHTML|insertAdjacentHTML|document\.write|dangerouslySetInnerHTML|eval\(|new Function|srcdoc|cssText)\b/;
  for (const path of ours) assert.doesNotMatch(readFileSync(path, "utf8"), forbidden, path);
  assert.doesNotMatch(index.replace(/<script type="importmap">.*?<\/script>/s, ""), /<script(?![^>]*\bsrc=)|<style|\bstyle=|\bon\w+=/);
});

test("only net/clock.js reads a clock of the device", () => {
  const reading = ours.filter((path) => /\b(?:Date|performance)\.now\b|\bnew Date\(\)|\bDate\(\)/.test(readFileSync(path, "utf8")));
  assert.deepEqual(reading.map((path) => path.slice(WEB.length)), ["net/clock.js"]);
});

test("every exported name has a reader in another module, or in a test", () => {
  const texts = new Map([...ours, ...files(HERE).filter((path) => /\.(?:mjs|py)$/.test(path))].map((path) => [path, readFileSync(path, "utf8")]));
  const unread = [];
  for (const path of ours) {
    const text = texts.get(path);
    // A language is loaded by its default export.
    for (const [, name] of text.matchAll(/^export (?:async )?(?:function\*?|const|let|class) (\w+)/gm)) {
      const read = new RegExp(`\\b${name}\\b`);
      if (![...texts].some(([other, others]) => other !== path && read.test(others))) unread.push(`${path.slice(WEB.length)}: ${name}`);
    }
  }
  assert.deepEqual(unread, []);
});

test("nothing leads out of the origin", () => {
  for (const path of [...ours, join(WEB, "index.html"), ...files(join(WEB, "styles"))]) {
    const found = readFileSync(path, "utf8").match(/\b(?:https?|wss?):\/\/[\w-]+\.[^\s"'`]+/g) ?? [];
    assert.deepEqual(found.filter((url) => !url.includes("www.w3.org")), [], path);
  }
});

test("the first load, a chat that is open included, is within 120 KiB compressed and 30 requests", () => {
  const loaded = new Set([...index.matchAll(/(?:href|src)="(\/(?:vendor|styles|app|signals|net|actions|model|views|i18n|storage)[\w./-]*)/g)].map(([, path]) => path));
  // Everything requested later is known from the beginning.
  const waiting = [...loaded].filter((path) => path.endsWith(".js") && !path.includes("/vendor/"));
  for (const path of waiting) {
    for (const [, name] of readFileSync(join(WEB, path), "utf8").matchAll(/^(?:import|export)\b[^;(]*?"(\.[^"]+)";/gm)) {
      const found = new URL(name, `file://${path}`).pathname;
      assert.ok(loaded.has(found), `${path} imports ${found}, which index.html does not fetch ahead`);
    }
  }
  // The session is one request more.
  for (const path of ["index.html", "i18n/en.js"]) loaded.add(`/${path}`);
  assert.ok(loaded.size + 1 <= 30, `${loaded.size + 1} requests`);
  // The files of a chat that is opened with the page.
  for (const path of ["model/timeline.js", "model/markup.js", "views/chat/conversation.js", "views/chat/messagelist.js", "views/chat/message.js", "views/chat/composer.js", "actions/drafts.js", "actions/outbox.js", "model/writing.js"]) {
    loaded.add(`/${path}`);
  }
  const bytes = [...loaded].reduce((sum, path) => sum + gzipSync(readFileSync(join(WEB, path))).length, 0);
  assert.ok(bytes <= 120 * 1024, `${bytes} bytes`);
});
