// The service worker on fake caches and a fake network: what it caches, and what it opens on a broken network.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import vm from "node:vm";

const SOURCE = readFileSync(new URL("../../relay/web/sw.js", import.meta.url), "utf8");
const ORIGIN = "https://relay.test";
const FOREVER = { "Cache-Control": "public, max-age=31536000, immutable" };
const page = (stamp) => `<script type="importmap">{"imports":{"/app.js":"/app.js?v=${stamp}","idb":"/vendor/idb.js"}}</script>`;
const CAPTIVE = '<form action="/login">Welcome to the hotel</form>';

/** A network: by address a function that answers, or one that never does. */
function setUp(network) {
  const kept = new Map();
  const cache = {
    keys: async () => [...kept.keys()].map((address) => ({ url: ORIGIN + address })),
    put: async (address, response) => void kept.set(address, await response.text()),
    delete: async (address) => kept.delete(address),
  };
  const listeners = {};
  const timers = [];
  const self = { addEventListener: (name, listener) => (listeners[name] = listener), skipWaiting: () => {}, clients: {} };
  const addressOf = (what) => (typeof what === "string" ? what : what.url.slice(ORIGIN.length));
  vm.runInNewContext(SOURCE, {
    self,
    URL,
    AbortSignal,
    location: { origin: ORIGIN },
    setTimeout: (fn) => timers.push(fn),
    caches: {
      open: async () => (self.isBroken ? Promise.reject(new Error("Unexpected internal error.")) : cache),
      match: async (what) => (self.isBroken ? Promise.reject(new Error("Unexpected internal error.")) : kept.has(addressOf(what)) ? new Response(kept.get(addressOf(what))) : undefined),
    },
    fetch: async (what) => network(addressOf(what)),
  });
  const fire = (name, event) => {
    const lasting = [];
    let answer;
    listeners[name]({ waitUntil: (work) => lasting.push(work), respondWith: (response) => (answer = response), ...event });
    return { answer, done: async () => { for (const work of lasting) await work; } };
  };
  return {
    kept,
    self,
    /** Click the notification of a chat. */
    click: (chatId) => fire("notificationclick", { notification: { data: { chatId }, close() {} } }).done(),
    install: () => fire("install", {}).done(),
    open: (address = "/", mode = "navigate") => fire("fetch", { request: { url: ORIGIN + address, method: "GET", mode } }),
    /** The page's time limit has passed. */
    async lateness() {
      for (let tries = 0; timers.length === 0 && tries < 50; tries += 1) await new Promise((resolve) => setImmediate(resolve));
      for (const fn of timers.splice(0)) fn();
    },
  };
}

/** The relay with a page of this version. */
const relay = (stamp) => (address) => {
  if (address === "/") return new Response(page(stamp), { headers: { "Cache-Control": "no-cache" } });
  return new Response(`content of ${address}`, { headers: FOREVER });
};

async function installed(stamp = "aaaaaaaaaa") {
  let network = relay(stamp);
  const it = setUp((address) => network(address));
  await it.install();
  return Object.assign(it, { use: (next) => (network = next) });
}

test("installed, the worker keeps the page and each file that it names", async () => {
  const it = await installed();
  assert.deepEqual([...it.kept.keys()].sort(), ["/", "/app.js?v=aaaaaaaaaa", "/vendor/idb.js"]);
});

test("a newer page takes the place of the kept one, with its files", async () => {
  const it = await installed();
  it.use(relay("bbbbbbbbbb"));
  const { answer, done } = it.open();
  assert.match(await (await answer).text(), /bbbbbbbbbb/);
  await done();
  assert.deepEqual([...it.kept.keys()].sort(), ["/", "/app.js?v=bbbbbbbbbb", "/vendor/idb.js"]);
});

for (const [name, network] of [
  ["a network that asks to sign in", () => new Response(CAPTIVE, { headers: { "Content-Type": "text/html" } })],
  ["a proxy without a relay", () => new Response("bad gateway", { status: 502 })],
  ["a proxy that wants a password", () => new Response("who are you", { status: 401 })],
  ["an address that leads elsewhere", () => Object.defineProperty(new Response(page("cccccccccc")), "redirected", { value: true })],
  ["no network", () => Promise.reject(new TypeError("failed to fetch"))],
]) {
  test(`behind ${name} the kept page opens and stays kept`, async () => {
    const it = await installed();
    const before = [...it.kept];
    it.use(network);
    const { answer, done } = it.open();
    assert.match(await (await answer).text(), /aaaaaaaaaa/);
    await done();
    assert.deepEqual([...it.kept], before);
  });
}

test("a page that hangs is answered from the kept one, and kept when it comes after all", async () => {
  const it = await installed();
  let come;
  it.use((address) => (address === "/" ? new Promise((resolve) => (come = () => resolve(relay("bbbbbbbbbb")("/")))) : relay("bbbbbbbbbb")(address)));
  const { answer, done } = it.open();
  await it.lateness();
  assert.match(await (await answer).text(), /aaaaaaaaaa/);
  come();
  await done();
  assert.match(it.kept.get("/"), /bbbbbbbbbb/);
});

test("a page whose files come from somebody else is not kept", async () => {
  const it = await installed();
  it.use((address) => (address === "/" ? relay("bbbbbbbbbb")("/") : new Response(CAPTIVE, { headers: { "Cache-Control": "no-store" } })));
  const { answer, done } = it.open();
  assert.match(await (await answer).text(), /bbbbbbbbbb/);
  await done();
  assert.match(it.kept.get("/"), /aaaaaaaaaa/);
  assert.ok(it.kept.has("/app.js?v=aaaaaaaaaa"));
});

test("without a kept page the answer is shown, and is not kept unless it is a page of ours", async () => {
  const it = setUp(() => new Response(CAPTIVE));
  const { answer, done } = it.open();
  assert.equal(await (await answer).text(), CAPTIVE);
  await done();
  assert.equal(it.kept.size, 0);
});

test("an address with a query shows what really answers", async () => {
  const it = await installed();
  assert.equal(it.open("/?show").answer, undefined);
});

test("with a broken cache the page and its files come from the network", async () => {
  const it = await installed();
  it.self.isBroken = true;
  const { answer, done } = it.open();
  assert.match(await (await answer).text(), /aaaaaaaaaa/);
  await done();
  assert.match(await (await it.open("/app.js?v=aaaaaaaaaa", "cors").answer).text(), /content of/);
});

test("a clicked notification opens its chat in the page, not in a picture's tab", async () => {
  const it = await installed();
  const heard = [];
  const tab = (path) => ({ url: ORIGIN + path, postMessage: ({ chatId }) => heard.push([path, chatId]), focus: () => heard.push([path]) });
  const open = [tab("/files/7"), tab("/openapi")];
  it.self.clients = { matchAll: async () => open, openWindow: async (address) => heard.push(address) };
  await it.click("ben");
  assert.deepEqual(heard.splice(0), ["/#chat=ben"]);
  open.push(tab("/#chat=carla"));
  await it.click("ben");
  assert.deepEqual(heard, [["/#chat=carla", "ben"], ["/#chat=carla"]]);
});
