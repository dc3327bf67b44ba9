// The outbox: the order and time of sending, retries, and failures with their messages.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { beforeEach, test } from "node:test";
import { FakeStorage, load } from "./page_modules.mjs";

const outbox = await load("actions/outbox.js");
const { runtime } = await load("actions/store.js");
const { explain } = await load("actions/notices.js");
const { draftAt } = await load("actions/drafts.js");
const { applyOther } = await load("model/events.js");
const model = await load("model/state.js");
const { dueRows } = await load("model/writing.js");
const { clock } = await load("net/clock.js");
const { RequestError } = await load("net/socket.js");
const { STALLS_AFTER } = await load("net/upload.js");
const signals = await load("signals.js");
const { useLanguage } = await load("i18n/i18n.js");
await useLanguage("en");

const CHAT = { type: "dialog", id: "ben", name: "Ben", lastMessageId: 0, missed: 0 };
const GROUP = { type: "group", id: "team", name: "Team", lastMessageId: 0, missed: 0 };
/** Time that passes only on demand. It continues from test to test, like the page's. */
const time = {
  ms: 1_000_000,
  timers: [],
  serial: 0,

  /** Wait until nothing more happens without time passing; imports go through another thread, one by one. */
  async settle() {
    for (let turn = 0; turn < 3; turn += 1) {
      await Promise.all(["actions/outbox/uploads.js", "actions/restarts.js"].map(load));
      for (let step = 0; step < 5; step += 1) await new Promise((resolve) => setImmediate(resolve));
    }
  },

  async pass(span, step = 250) {
    for (let done = 0; done < span; done += step) {
      this.ms += step;
      for (const timer of this.timers.filter((one) => one.at <= this.ms)) {
        // One before it may have cleared it.
        if (!this.timers.includes(timer)) continue;
        this.timers = this.timers.filter((one) => one !== timer);
        timer.run();
      }
      await this.settle();
    }
  },
};
performance.now = () => time.ms;
Math.random = () => 0.5;
globalThis.setTimeout = (run, after = 0, ...what) => {
  time.serial += 1;
  time.timers.push({ id: time.serial, at: time.ms + after, run: () => run(...what) });
  return time.serial;
};
globalThis.clearTimeout = (id) => {
  time.timers = time.timers.filter((one) => one.id !== id);
};

/** The relay's side of the requests; `say` makes each answer. */
function relay(say) {
  const asked = [];
  let messageId = 0;
  runtime.wire = {
    asked,
    get state() {
      return signals.connection.value;
    },
    async request(kind, payload) {
      asked.push(payload.message ?? payload.originalMessageId);
      const failure = say?.(payload, asked.length);
      if (failure) throw failure;
      messageId += 1;
      return { messageId, timestamp: 1, clientMessageId: payload.clientMessageId };
    },
  };
  return asked;
}

/** The device's side: a disk, and news for other tabs. */
function device({ keeps = true, kept = new Map() } = {}) {
  const said = [];
  let at = 0;
  runtime.storage = {
    said,
    kept,
    tell: (word) => said.push(word),
    saveChats() {},
    savePeople() {},
    saveRoom() {},
    putRow: async (row) => (kept.set(row.clientMessageId, row), keeps),
    patchRow: async (clientMessageId, change) => (said.push({ kind: "patch", clientMessageId, change }), true),
    dropRow: async (clientMessageId) => kept.delete(clientMessageId),
    loadRow: async (id) => kept.get(id),
    draft: (key, what) => ({ ...what, at: (at += 1) }),
  };
  return runtime.storage;
}

/** Uploads; `answer` decides how the n-th one ends: "ok", "broken", "hangs", or {status, response}. */
function uploads(answer) {
  const tried = [];
  globalThis.XMLHttpRequest = class {
    upload = {};
    setRequestHeader() {}
    open() {}
    abort() {
      this.aborted = true;
      queueMicrotask(() => this.onabort());
    }
    send(blob) {
      tried.push(this);
      const end = answer(tried.length, blob);
      if (end === "hangs") return;
      queueMicrotask(() => {
        if (end === "broken") return this.onerror();
        const { status = 200, response = { id: `f${tried.length}`, type: "file", meta: {} } } = end === "ok" ? {} : end;
        Object.assign(this, { status, response });
        this.onload();
      });
    }
  };
  return tried;
}

const file = (name = "a.txt") => ({ name, type: "text/plain", size: 1, slice: () => ({ arrayBuffer: async () => new ArrayBuffer(1) }) });
const unreadable = (name) => ({ name, type: "", size: 5, slice: () => ({ arrayBuffer: async () => Promise.reject(new Error("NotReadableError")) }) });
const rows = () => signals.state.value.outbox;

beforeEach(() => {
  globalThis.localStorage = new FakeStorage();
  // The outbox is cleared with the user, and a pause ends.
  signals.state.value = null;
  time.ms += 600_000;
  signals.state.value = model.setChats(model.initial({ id: "anna", name: "Anna" }), [CHAT, GROUP]);
  signals.connection.value = { name: "live" };
  signals.sure.value = new Map([CHAT, GROUP].map(({ id }) => [id, Infinity]));
  signals.notice.value = null;
  signals.route.value = { chatId: "ben", panel: null };
  device();
});

test("a message has the time of its writing, though a draft was stamped by a clock that was ahead", async () => {
  const before = clock.now();
  clock.stamp(before + 70 * 365 * 86_400_000);
  relay(() => new RequestError("connection_lost", ""));
  outbox.send("ben", { text: "hello" });
  const [{ createdAt }] = signals.state.value.outbox;
  assert.ok(createdAt >= before && createdAt <= clock.now());
});

test("a NUL character that was pasted is not sent", async () => {
  const asked = relay();
  outbox.send("ben", { text: "one\0two\0" });
  await time.settle();
  assert.deepEqual(asked, ["onetwo"]);
});

test("a message that the relay refuses for now is not overtaken by the one after it", async () => {
  const asked = relay((_, count) => (count <= 2 ? new RequestError("rate_limited", "", 500) : null));
  for (const text of ["one", "two", "three"]) outbox.send("ben", { text });
  await time.settle();
  assert.deepEqual(asked, ["one"]);
  await time.pass(5_000);
  assert.deepEqual(asked, ["one", "one", "one", "two", "three"]);
  assert.deepEqual(rows(), []);
});

test("a limit of the user holds up other chats too, a failure of one message does not", async () => {
  const asked = relay(({ message }) => ({ slow: new RequestError("rate_limited", "", 4_000), bad: new RequestError("forbidden", "") })[message]);
  outbox.send("ben", { text: "bad" });
  outbox.send("ben", { text: "after" });
  await time.settle();
  assert.deepEqual(asked, ["bad", "after"]);
  outbox.send("ben", { text: "slow" });
  await time.settle();
  outbox.send("team", { text: "other chat" });
  await time.settle();
  assert.deepEqual(asked, ["bad", "after", "slow"]);
  await time.pass(4_500);
  assert.ok(asked.includes("other chat"));
});

test("a relay that stays busy is asked ever more rarely, and given up with the reason", async () => {
  const asked = relay(() => new RequestError("unavailable", ""));
  outbox.send("ben", { text: "hello" });
  await time.pass(10_000);
  assert.ok(asked.length <= 4, `${asked.length} tries`);
  await time.pass(600_000, 5_000);
  assert.equal(asked.length, outbox.MOST_TRIES);
  assert.equal(rows()[0].state, "failed");
  assert.match(explain(rows()[0].failure), /busy/);
});

test("an upload that breaks off at once is tried a few times in ten seconds, and in the end says so", async () => {
  relay();
  const tried = uploads(() => "broken");
  outbox.send("ben", { files: [file()] });
  await time.pass(10_000);
  assert.ok(tried.length >= 2 && tried.length <= 4, `${tried.length} tries`);
  await time.pass(600_000, 5_000);
  assert.equal(tried.length, outbox.MOST_TRIES);
  assert.equal(rows()[0].failure.code, "upload_broken");
  outbox.retry(rows()[0].clientMessageId);
  await time.settle();
  assert.equal(tried.length, outbox.MOST_TRIES + 1);
});

test("an upload that makes no progress is given up and tried again, and does not hold up others for ever", async () => {
  const asked = relay();
  const tried = uploads((count) => (count <= 2 ? "hangs" : "ok"));
  for (const text of ["one", "two", "three"]) outbox.send("ben", { text, files: [file()] });
  await time.settle();
  assert.equal(tried.length, 2);
  await time.pass(STALLS_AFTER + 5_000);
  assert.equal(asked.length, 3);
  assert.deepEqual(rows(), []);
});

test("an answer that is not the relay's does not count as an uploaded file", async () => {
  const asked = relay();
  const tried = uploads((count) => [{ response: null }, { status: 502, response: null }, { status: 401, response: "sign in here" }][count - 1] ?? "ok");
  outbox.send("ben", { text: "with it", files: [file()] });
  await time.pass(20_000);
  assert.equal(tried.length, 4);
  assert.deepEqual(asked, ["with it"]);
});

test("files that the relay has are not sent again with the others", async () => {
  relay();
  const tried = uploads((count) => (count === 2 ? "broken" : "ok"));
  outbox.send("ben", { files: [file("a"), file("b"), file("c")] });
  await time.pass(5_000);
  assert.equal(tried.length, 4);
  assert.deepEqual(rows(), []);
});

test("a file that cannot be read fails at once, with its name, and nothing is asked of the relay", async () => {
  relay();
  const tried = uploads(() => "ok");
  outbox.send("ben", { files: [unreadable("report.txt")] });
  await time.pass(1_000);
  assert.equal(tried.length, 0);
  assert.equal(rows()[0].failure.code, "file_unreadable");
  assert.match(explain(rows()[0].failure), /“report.txt”.*Choose it again/);
});

test("a file that changed after it was sent goes out as this device has kept it", async () => {
  const asked = relay();
  const tried = uploads(() => "ok");
  signals.connection.value = { name: "waiting" };
  const chosen = file("report.txt");
  outbox.send("ben", { text: "the report", files: [chosen] });
  const [row] = rows();
  runtime.storage.kept.set(row.clientMessageId, { ...row, files: [{ ...row.files[0], blob: file("report.txt") }] });
  chosen.slice = unreadable("report.txt").slice;
  signals.connection.value = { name: "live" };
  outbox.pump();
  await time.pass(1_000);
  assert.equal(tried.length, 1);
  assert.deepEqual(asked, ["the report"]);
});

test("the relay's limit and the user's room are told with their sizes", async () => {
  relay();
  signals.session.value = { id: "anna", limits: { fileBytes: 5_000_000 } };
  uploads((count) => [
    { status: 413, response: { error: { code: "too_large" } } },
    { status: 507, response: { error: { code: "storage_full", quota: 100_000_000 } } },
    { status: 507, response: { error: { code: "storage_full" } } },
  ][count - 1]);
  for (let times = 0; times < 3; times += 1) {
    outbox.send("ben", { files: [file("big.mov")] });
    await time.settle();
  }
  const [large, quota, full] = rows().map((row) => explain(row.failure));
  assert.match(large, /“big.mov” is too large.*5 MB/);
  assert.match(quota, /100 MB/);
  assert.match(full, /disk is full/);
});

test("a message that this device cannot keep says that the page must stay open", async () => {
  device({ keeps: false });
  signals.connection.value = { name: "waiting" };
  outbox.send("ben", { text: "hello", files: [file()] });
  await time.settle();
  assert.match(signals.notice.value.text, /Leave the page open/);
});

test("a message that waits for a lost chat is reported, kept as its draft, and gone from the disk", async () => {
  relay();
  const { kept } = device();
  signals.connection.value = { name: "waiting" };
  outbox.send("team", { text: "one" });
  outbox.send("team", { text: "two" });
  outbox.send("ben", { text: "stays" });
  await time.settle();
  signals.state.value = model.setChats(signals.state.value, [CHAT]);
  await time.pass(250);
  assert.deepEqual(rows().map((row) => row.message), ["stays"]);
  assert.deepEqual([...kept.values()].map((row) => row.message), ["stays"]);
  assert.match(signals.notice.value.text, /“Team” is gone; 2 messages/);
  assert.equal(draftAt("team").text, "one\n\ntwo");
});

test("a row of a chat that was gone before the page opened does not stay for ever where nobody sees it", async () => {
  relay(() => new RequestError("not_found", ""));
  const row = { kind: "new", clientMessageId: "left", chatId: "old", to: "Old team", message: "hello", createdAt: 1, state: "queued" };
  signals.state.value = model.enqueue(signals.state.value, row);
  outbox.pump();
  await time.pass(250);
  assert.deepEqual(rows(), []);
  assert.match(signals.notice.value.text, /“Old team” is gone; 1 message /);
});

test("a file is not sent by two tabs: the one that has it says so", async () => {
  relay();
  const tried = uploads(() => "ok");
  const row = { kind: "new", clientMessageId: "theirs", chatId: "ben", message: "", files: [{ blob: file(), name: "a", size: 1 }], createdAt: 1, state: "queued" };
  signals.state.value = model.enqueue(signals.state.value, row);
  outbox.pump();
  await time.settle();
  assert.deepEqual(runtime.storage.said.map((word) => word.kind), ["whose"]);
  outbox.hear({ kind: "mine", clientMessageId: "theirs" });
  await time.pass(1_250);
  assert.equal(tried.length, 0);
  // That tab has died meanwhile, without notice.
  await time.pass(10_000);
  assert.equal(tried.length, 1);
  assert.deepEqual(rows(), []);
});

test("a long upload of another tab is checked ever more rarely, and delays no file of this tab", async () => {
  relay();
  const tried = uploads(() => "ok");
  const theirs = (clientMessageId) => ({ kind: "new", clientMessageId, chatId: "ben", message: "", files: [{ name: "a", size: 1 }], createdAt: 1, state: "queued" });
  for (const id of ["theirs", "theirs too"]) signals.state.value = model.enqueue(signals.state.value, theirs(id));
  let asked = 0;
  runtime.storage.tell = ({ kind, clientMessageId }) => {
    if (kind !== "whose") return;
    asked += 1;
    queueMicrotask(() => outbox.hear({ kind: "mine", clientMessageId }));
  };
  outbox.pump();
  await time.settle();
  assert.equal(asked, 2);
  outbox.send("ben", { files: [file()] });
  await time.settle();
  assert.equal(tried.length, 1, "the other tab has answered, so nothing is waited for");
  await time.pass(300_000, 1_000);
  assert.ok(asked > 10 && asked < 24, `${asked}`);
  assert.equal(tried.length, 1);
});

test("a lost chat that is removed from the list leaves nothing on the device", async () => {
  relay();
  const kept = new Map();
  const storage = device({ kept });
  let rooms;
  storage.tidyRooms = (ids) => (rooms = ids);
  const lost = { ...GROUP, lastMessageId: 3, gone: { reason: "removed", by: "ben" } };
  signals.state.value = model.setChats(signals.state.value, [CHAT]);
  signals.state.value = { ...signals.state.value, chats: new Map(signals.state.value.chats).set("team", lost) };
  const row = { kind: "new", clientMessageId: "waits", chatId: "team", message: "secret", createdAt: 1, state: "failed" };
  signals.state.value = model.enqueue(signals.state.value, row);
  kept.set("waits", row);
  for (const key of ["team", "caption/team", "edit/team/3", "ben", "edit/ben/4"]) {
    signals.state.value = model.mergeDraft(signals.state.value, key, { text: "secret", at: 0 });
  }
  (await load("actions/restarts.js")).forgetChat("team");
  assert.equal(kept.size, 0);
  assert.deepEqual(rows(), []);
  assert.deepEqual([...signals.state.value.drafts].filter(([, { text }]) => text).map(([key]) => key), ["ben", "edit/ben/4"]);
  assert.deepEqual([...rooms], ["ben"]);
  assert.equal(signals.state.value.chats.has("team"), false);
});

test("a tab that has a row's files says so, and sends them when another tab says to try again", async () => {
  relay();
  const tried = uploads((count) => (count === 1 ? { status: 413, response: { error: { code: "too_large" } } } : "ok"));
  outbox.send("ben", { files: [file()] });
  await time.settle();
  const [{ clientMessageId, state }] = rows();
  assert.equal(state, "failed");
  outbox.hear({ kind: "whose", clientMessageId, tabId: "other" });
  assert.equal(runtime.storage.said.at(-1).kind, "mine");
  const word = { kind: "patch", clientMessageId, change: { state: "queued", failure: undefined } };
  signals.state.value = applyOther(signals.state.value, word);
  outbox.hear(word);
  await time.settle();
  assert.equal(tried.length, 2);
  assert.deepEqual(rows(), []);
});

test("a text that another tab wrote goes out from here when that tab has died", async () => {
  const asked = relay();
  const word = { kind: "row", row: { kind: "new", clientMessageId: "theirs", chatId: "ben", message: "hello", createdAt: 1, state: "queued" } };
  signals.state.value = applyOther(signals.state.value, word);
  outbox.hear(word);
  await time.settle();
  assert.deepEqual(asked, []);
  await time.pass(5_000);
  assert.deepEqual(asked, ["hello"]);
});

test("a message that is discarded in another tab is uploaded no further", async () => {
  relay();
  const tried = uploads(() => "hangs");
  outbox.send("ben", { files: [file()] });
  await time.settle();
  signals.state.value = applyOther(signals.state.value, { kind: "drop", clientMessageId: rows()[0].clientMessageId });
  await time.settle();
  assert.equal(tried[0].aborted, true);
  await time.pass(60_000, 5_000);
  assert.equal(tried.length, 1);
});

test("rows stand in the order of writing though the device's clock was set back between them", () => {
  const row = (clientMessageId, number, createdAt) => ({ clientMessageId, number, createdAt, chatId: "ben", state: "queued" });
  let state = model.initial({ id: "anna", name: "Anna" });
  for (const one of [row("b", 2, 50), row("a", 1, 900), row("c", 3, 20)]) state = model.enqueue(state, one);
  assert.deepEqual(state.outbox.map((one) => one.clientMessageId), ["a", "b", "c"]);
});

test("at any moment each chat has one message on its way at most, and none before an earlier one", () => {
  let seed = 7;
  const random = (count) => (seed = (seed * 16_807) % 2_147_483_647) % count;
  for (let round = 0; round < 2_000; round += 1) {
    const list = Array.from({ length: random(12) }, (_, at) => ({
      clientMessageId: `r${at}`, chatId: `chat${random(3)}`, state: random(5) === 0 ? "failed" : "queued",
      ...(random(4) === 0 ? { files: [{}], ...(random(2) ? { attachments: [{}] } : {}) } : {}),
    }));
    const busy = new Set(list.filter(() => random(6) === 0).map((row) => row.clientMessageId));
    const waits = new Map(list.filter(() => random(4) === 0).map((row) => [row.clientMessageId, { notBefore: random(20) }]));
    const free = random(3);
    const { rows: due, next } = dueRows(list, { busy, waits, now: 10, pausedUntil: random(2) ? 0 : random(20), uploads: free, isCurrent: () => true });
    const loads = (row) => row.files && !row.attachments;
    assert.ok(due.filter(loads).length <= free);
    assert.ok(next > 10);
    for (const row of due) {
      assert.equal(row.state, "queued");
      assert.ok(!busy.has(row.clientMessageId));
      assert.ok(!(waits.get(row.clientMessageId)?.notBefore > 10));
      if (loads(row)) continue;
      const before = list.slice(0, list.indexOf(row)).filter((one) => one.chatId === row.chatId && one.state === "queued" && !loads(one));
      assert.deepEqual(before, []);
    }
  }
});

test("every code of a failure has words of its own, in the protocol and in the page", () => {
  const contract = readFileSync(new URL("../../relay/protocol/PROTOCOL.md", import.meta.url), "utf8");
  const line = contract.match(/Error codes: (.*)/)[1];
  const codes = [...line.matchAll(/`([a-z_]+)`/g)].map(([, code]) => code).filter((code) => !["quota"].includes(code) && /^[a-z]+(_[a-z]+)*$/.test(code));
  const own = ["name_taken", "connection_lost", "upload_broken", "file_unreadable", "folder", "stale_page", "busy", "aborted", "quota_full"];
  const fallback = explain("internal");
  for (const code of [...codes, ...own]) {
    if (code === "internal") continue;
    assert.notEqual(explain({ code, name: "a", limit: 1, quota: 1 }), fallback, code);
  }
  assert.ok(codes.length >= 11, codes.join(" "));
  assert.match(explain({ code: "rate_limited", retryAfter: 5_000 }), /5 seconds/);
  assert.doesNotMatch(explain("rate_limited"), /\d/);
});
