// Back and forth in the page: steps that are under way, in a browser's history whose steps end later.
import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import { load } from "./page_modules.mjs";

/** A browser's history: another site, and the page. A traversal ends in a later turn. */
const browser = {
  reset() {
    Object.assign(this, { entries: [{ site: true }, { state: null, hash: "" }], at: 1, isDeaf: false });
    location.hash = "";
  },
  get isOut() {
    return Boolean(this.entries[this.at].site);
  },
  land(by) {
    this.at = Math.max(0, this.at + by);
    if (this.isOut) return;
    location.hash = this.entries[this.at].hash;
    navigation.readAddress();
  },
};
const hashed = (address) => (address.startsWith("#") ? address : "");
globalThis.history = {
  get state() {
    return browser.entries[browser.at].state;
  },
  replaceState: (state, _, address) => (browser.entries[browser.at] = { state, hash: address ? hashed(address) : location.hash }),
  pushState(state, _, address) {
    browser.entries.splice(browser.at + 1, Infinity, { state, hash: hashed(address) });
    browser.at += 1;
  },
  go: (by) => browser.isDeaf || setImmediate(() => browser.land(by)),
  back: () => history.go(-1),
};
const settle = async () => {
  for (let step = 0; step < 6; step += 1) await new Promise((resolve) => setImmediate(resolve));
};
const timers = [];
globalThis.setTimeout = (run) => timers.push(run);

const navigation = await load("actions/navigation.js");
const { route } = await load("signals.js");
const LIST = { chatId: null, panel: null };
const ben = { chatId: "ben", panel: null };

beforeEach(async () => {
  for (const run of timers.splice(0)) run();
  browser.reset();
  route.value = LIST;
  navigation.readAddress();
});

test("Back pressed again and again at once goes to the list and not out of the page", async () => {
  navigation.go(ben);
  for (let press = 0; press < 6; press += 1) navigation.back();
  await settle();
  assert.deepEqual([browser.isOut, browser.at, route.value], [false, 1, LIST]);
  navigation.back();
  await settle();
  assert.equal(browser.isOut, false);
});

test("Back, and closing the chat at the same time, stays in the page", async () => {
  navigation.go(ben);
  navigation.back();
  navigation.closeChat();
  await settle();
  assert.deepEqual([browser.isOut, browser.at, route.value], [false, 1, LIST]);
  navigation.go(ben);
  navigation.openPanel("details");
  navigation.back();
  navigation.closeChat();
  navigation.back();
  await settle();
  assert.deepEqual([browser.isOut, route.value], [false, LIST]);
});

test("a chat that is opened while the browser goes back is open afterwards", async () => {
  navigation.go(ben);
  navigation.back();
  navigation.go({ chatId: "carla", panel: null });
  await settle();
  assert.deepEqual([browser.isOut, browser.at, route.value.chatId], [false, 2, "carla"]);
  navigation.back();
  await settle();
  assert.deepEqual([browser.isOut, route.value], [false, LIST]);
});

test("a step that the browser refuses does not hold up the ones after it", async () => {
  navigation.go(ben);
  browser.isDeaf = true;
  navigation.back();
  await settle();
  for (const run of timers.splice(0)) run();
  navigation.back();
  assert.deepEqual([browser.isOut, route.value], [false, LIST]);
});
