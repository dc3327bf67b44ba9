// Drafts are saved: tabs that die at any key, clocks that are wrong, two stores, signing out.
import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import { FakeStorage, load } from "./page_modules.mjs";

/** Tabs get each other's news at once; a closed one gets none. */
class Channel {
  static open = new Set();

  constructor(name) {
    this.name = name;
    Channel.open.add(this);
  }

  postMessage(data) {
    const text = JSON.stringify(data);
    for (const one of Channel.open) if (one !== this && one.name === this.name) one.onmessage?.({ data: JSON.parse(text) });
  }

  close() {
    Channel.open.delete(this);
  }
}

globalThis.BroadcastChannel = Channel;
const storage = await load("storage.js");
const model = await load("model/state.js");
const { applyOther } = await load("model/events.js");
const writing = await load("model/writing.js");

const HOUR = 3_600_000;
const row = (clientMessageId, change = {}) => ({ kind: "new", clientMessageId, chatId: "ben", message: "hello", number: 1, createdAt: 1, state: "queued", ...change });
const open = (userId = "anna", onOther = () => {}) => storage.openStorage(userId, { onOther });
const draftsNow = async () => (await (await open()).load()).drafts;

beforeEach(() => {
  globalThis.localStorage = new FakeStorage();
  Channel.open.clear();
  storage.remember({ id: "anna", name: "Anna" });
});

test("a tab that dies after any key has lost nothing", async () => {
  const text = "half a thought 😀";
  for (let keys = 1; keys <= text.length; keys += 1) {
    const tab = await open();
    for (let at = 1; at <= keys; at += 1) tab.draft("ben", { text: text.slice(0, at) });
    // It dies: nothing of it runs any more, without waiting.
    assert.equal((await draftsNow()).get("ben").text, text.slice(0, keys));
  }
});

test("in two tabs that write and die at random the later word stands, and an empty one stays empty", async () => {
  let seed = 11;
  const random = (count) => (seed = (seed * 48_271) % 2_147_483_647) % count;
  const keys = ["ben", "team", model.editKey("ben", 4), model.captionKey("team")];
  const right = new Map();
  let tabs = [];
  const open2 = async () => {
    const tab = { state: model.initial({ id: "anna", name: "Anna" }) };
    tab.storage = await open("anna", (word) => (tab.state = applyOther(tab.state, word)));
    for (const [key, draft] of (await tab.storage.load()).drafts) tab.state = model.mergeDraft(tab.state, key, draft);
    return tab;
  };
  tabs = [await open2(), await open2()];
  for (let step = 0; step < 3_000; step += 1) {
    const at = random(2);
    if (random(20) === 0) {
      tabs[at] = await open2();
      for (const [key, text] of right) assert.equal(model.draftOf(tabs[at].state, key), text, `step ${step}`);
      continue;
    }
    const key = keys[random(keys.length)];
    const text = random(5) === 0 ? "" : `text ${step}`;
    const tab = tabs[at];
    // Another tab's news arrives late, like a `storage` event, but saving does not depend on it.
    const known = JSON.parse(localStorage.getItem(`draft/anna/${key}`))?.at;
    tab.state = model.mergeDraft(tab.state, key, tab.storage.draft(key, { text }, known));
    right.set(key, text);
  }
});

test("a draft that comes late does not replace a later one", () => {
  let state = model.initial({ id: "anna", name: "Anna" });
  state = applyOther(state, { kind: "draft", key: "ben", text: "the later one", at: 9 });
  state = applyOther(state, { kind: "draft", key: "ben", text: "the earlier one", at: 8 });
  assert.equal(model.draftOf(state, "ben"), "the later one");
  state = applyOther(state, { kind: "draft", key: "ben", text: "", at: 10 });
  assert.equal(model.draftOf(state, "ben"), "");
});

test("an answer and an edit are kept with the message that they are about, and the latest edit is gone on with", async () => {
  const tab = await open();
  const quote = { messageId: 4, sender: "anna", message: "old text", createdAt: 1 };
  tab.draft("ben", { text: "", quote });
  tab.draft(model.editKey("ben", 3), { text: "newer", quote: { ...quote, messageId: 3 } });
  tab.draft(model.editKey("ben", 4), { text: "newest", quote });
  tab.draft(model.editKey("be", 9), { text: "another chat", quote });
  let state = model.initial({ id: "anna", name: "Anna" });
  for (const [key, draft] of await draftsNow()) state = model.mergeDraft(state, key, draft);
  assert.deepEqual(state.drafts.get("ben").quote, quote);
  assert.equal(writing.begunEdit(state, "ben").quote.messageId, 4);
  tab.draft(model.editKey("ben", 4), { text: "" }, state.drafts.get(model.editKey("ben", 4)).at);
  state = model.initial({ id: "anna", name: "Anna" });
  for (const [key, draft] of await draftsNow()) state = model.mergeDraft(state, key, draft);
  assert.equal(writing.begunEdit(state, "ben").text, "newer");
});

test("a closing tab of before, with an empty field, does not wipe what another one wrote", async () => {
  const tab = await open();
  tab.draft("ben", { text: "kept" });
  localStorage.setItem("lastWords", JSON.stringify({ userId: "anna", chatId: "ben", text: "", at: Number.MAX_SAFE_INTEGER }));
  assert.equal((await draftsNow()).get("ben").text, "kept");
  localStorage.setItem("lastWords", JSON.stringify({ userId: "anna", chatId: "team", text: "from before", at: 5 }));
  assert.equal((await draftsNow()).get("team").text, "from before");
  assert.equal(localStorage.getItem("lastWords"), null);
});

test("empty drafts and captions are forgotten after a day, and the number of drafts has a bound", async () => {
  const put = (key, text, at) => localStorage.setItem(`draft/anna/${key}`, JSON.stringify({ text, at }));
  const now = Date.now();
  put("sent", "", now - 25 * HOUR);
  put("sent by a clock ahead", "", now + 9_000 * HOUR);
  put("just sent", "", now - HOUR);
  put("old", "a year ago", now - 9_000 * HOUR);
  put(model.captionKey("ben"), "of a picture of last week", now - 170 * HOUR);
  assert.deepEqual([...(await draftsNow()).keys()].sort(), ["just sent", "old"]);
  for (let at = 0; at < 700; at += 1) put(`chat${at}`, "text", now + at);
  assert.equal((await draftsNow()).size, 500);
  assert.equal([...localStorage.values.keys()].filter((name) => name.startsWith("draft/")).length, 500);
});

test("nothing fails with a full localStorage, and the other tabs are still told", async () => {
  let heard;
  const tab = await open();
  await open("anna", (word) => (heard = word));
  localStorage.full = true;
  assert.equal(tab.draft("ben", { text: "hello" }).text, "hello");
  assert.deepEqual([heard.kind, heard.key, heard.text], ["draft", "ben", "hello"]);
  assert.equal(await tab.putRow(row("x")), false);
});

test("a message that was sent is kept before its tab can die, in the order of writing", async () => {
  const tab = await open();
  tab.putRow(row("one"));
  tab.putRow(row("two", { number: 2, files: [{ blob: {}, name: "a.txt", size: 1 }] }));
  const rows = (await (await open()).load()).outbox;
  assert.deepEqual(rows.map((one) => one.clientMessageId), ["one", "two"]);
  assert.equal(rows[1].files[0].blob, undefined);
  tab.patchRow("one", { state: "failed", failure: { code: "forbidden" } });
  tab.dropRow("two");
  const [left, ...others] = (await (await open()).load()).outbox;
  assert.deepEqual([left.state, left.failure.code, others], ["failed", "forbidden", []]);
});

test("a message with a file that no database keeps is not said to be kept, a text is", async () => {
  const tab = await open();
  assert.equal(await tab.putRow(row("text")), true);
  assert.equal(await tab.putRow(row("file", { files: [{ name: "a", size: 1 }] })), false);
});

test("signing out erases every text of the user and of nobody else, and what another tab still writes", async () => {
  const tab = await open();
  const other = await open();
  storage.remember({ id: "ben" });
  (await open("ben")).draft("anna", { text: "ben's" });
  storage.remember({ id: "anna" });
  tab.draft("ben", { text: "secret" });
  tab.putRow(row("x", { message: "secret" }));
  storage.remember(null);
  await tab.erase();
  tab.draft("ben", { text: "secret" });
  other.draft("ben", { text: "secret" });
  other.putRow(row("y", { message: "secret" }));
  await other.erase();
  const left = JSON.stringify([...localStorage.values]);
  assert.ok(!left.includes("secret"), left);
  assert.ok(left.includes("ben's"));
});

test("two tabs agree on what waits, fails, is tried again and is discarded", async () => {
  let state = model.initial({ id: "anna", name: "Anna" });
  const tab = await open();
  await open("anna", (word) => (state = applyOther(state, word)));
  const shown = () => state.outbox.map((one) => [one.clientMessageId, one.state, one.failure?.code]);
  tab.putRow(row("x", { files: [{ blob: {}, name: "a.txt", size: 50_000 }] }));
  assert.deepEqual(shown(), [["x", "queued", undefined]]);
  tab.patchRow("x", { state: "failed", failure: { code: "too_large" } });
  assert.deepEqual(shown(), [["x", "failed", "too_large"]]);
  tab.patchRow("x", { state: "queued", failure: undefined });
  assert.deepEqual([state.outbox[0].state, state.outbox[0].files[0].name], ["queued", "a.txt"]);
  tab.dropRow("x");
  assert.deepEqual(shown(), []);
});

test("typed text that no store keeps is told once, and an emptied field is not", async () => {
  let told = 0;
  const tab = await storage.openStorage("anna", { onOther() {}, onUnkept: () => (told += 1) });
  const settle = () => new Promise((resolve) => setImmediate(resolve));
  tab.draft("ben", { text: "kept" });
  await settle();
  assert.equal(told, 0);
  localStorage.full = true;
  tab.draft("ben", { text: "" });
  await settle();
  assert.equal(told, 0);
  for (const text of ["n", "no", "not kept"]) {
    tab.draft("ben", { text });
    await settle();
  }
  assert.equal(told, 1);
});

test("typed text is told as not kept if the user was never remembered here, and again if it was kept in between", async () => {
  let told = 0;
  const settle = () => new Promise((resolve) => setImmediate(resolve));
  storage.remember(null);
  const tab = await storage.openStorage("anna", { onOther() {}, onUnkept: () => (told += 1) });
  tab.draft("ben", { text: "not kept" });
  await settle();
  assert.equal(told, 1);
  storage.remember({ id: "anna" });
  tab.draft("ben", { text: "kept" });
  await settle();
  localStorage.full = true;
  tab.draft("ben", { text: "not kept again" });
  await settle();
  assert.equal(told, 2);
});
