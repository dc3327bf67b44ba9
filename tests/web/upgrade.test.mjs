// A page that reloads by itself for a newer version loses nothing: it asks the disk, and looks whether it is in use.
import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import { FakeStorage, load } from "./page_modules.mjs";

const storage = await load("storage.js");
const model = await load("model/state.js");
const signals = await load("signals.js");
const { runtime } = await load("actions/store.js");
const { keepDraft } = await load("actions/drafts.js");
const { isSafe } = await load("actions/upgrade.js");

// An open channel would keep the test running.
globalThis.BroadcastChannel = undefined;
const elements = [];
Object.assign(document, { visibilityState: "hidden", querySelectorAll: () => elements });

beforeEach(async () => {
  globalThis.localStorage = new FakeStorage();
  elements.length = 0;
  storage.remember({ id: "anna" });
  runtime.storage = await storage.openStorage("anna", { onOther: () => {} });
  signals.state.value = model.initial({ id: "anna", name: "Anna" });
});

test("with its texts on the disk a hidden page may reload", async () => {
  assert.equal(await isSafe(), true);
  keepDraft("ben", "half a thought");
  assert.equal(await isSafe(), true);
});

test("a text that the browser refused to save keeps the page", async () => {
  keepDraft("ben", "half");
  localStorage.full = true;
  keepDraft("ben", "half a thought");
  assert.equal(await isSafe(), false);
  localStorage.full = false;
  keepDraft("ben", "half a thought more");
  assert.equal(await isSafe(), true);
});

test("a text that something removed from the disk keeps the page", async () => {
  keepDraft("ben", "half a thought");
  localStorage.values.clear();
  assert.equal(await isSafe(), false);
});

test("a playing recording and a search that is typed keep the page", async () => {
  elements.push({ paused: false });
  assert.equal(await isSafe(), false);
  elements[0].paused = true;
  assert.equal(await isSafe(), true);
  elements.push({ value: "inv" });
  assert.equal(await isSafe(), false);
});
