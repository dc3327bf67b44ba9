// Lets tests load modules of the page that import others by bare names, and provides a browser's globals.
import { readFileSync } from "node:fs";
import { register } from "node:module";

const WEB = new URL("../../relay/web/", import.meta.url);
const index = readFileSync(new URL("index.html", WEB), "utf8");
const map = JSON.parse(index.match(/<script type="importmap">(.*?)<\/script>/s)[1]).imports;
const bare = Object.fromEntries(
  Object.entries(map).filter(([name]) => !name.startsWith("/")).map(([name, path]) => [name, new URL(`.${path.split("?")[0]}`, WEB).href]),
);
const hook = `
const bare = ${JSON.stringify(bare)};
export function resolve(name, context, next) {
  return bare[name] ? { url: bare[name], shortCircuit: true, format: "module" } : next(name, context);
}`;
register(`data:text/javascript,${encodeURIComponent(hook)}`);

/** A localStorage; `full` lets it refuse to write. */
export class FakeStorage {
  values = new Map();
  full = false;

  get length() {
    return this.values.size;
  }

  key(at) {
    return [...this.values.keys()][at] ?? null;
  }

  getItem(name) {
    return this.values.get(name) ?? null;
  }

  setItem(name, value) {
    if (this.full) throw new Error("QuotaExceededError");
    this.values.set(name, String(value));
  }

  removeItem(name) {
    this.values.delete(name);
  }
}

globalThis.localStorage = new FakeStorage();
globalThis.location = { hash: "", pathname: "/", origin: "http://relay.example" };
Object.defineProperty(globalThis, "navigator", { value: { languages: ["en-GB"] }, configurable: true });
globalThis.document = { documentElement: { lang: "" } };
globalThis.history = { state: null, replaceState() {}, pushState() {}, back() {} };

/** Load a module of the page, e.g. "actions/outbox.js". */
export const load = (path) => import(new URL(path, WEB).href);
