// A session from signing in to signing out, on a fake relay: refusals, failed fetches, and data that must not outlive it.
import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";
import { FakeStorage, load } from "./page_modules.mjs";

/** Time that a test advances. */
const time = {
  ms: 1_000_000,
  timers: new Map(),
  serial: 0,

  async settle() {
    for (let step = 0; step < 12; step += 1) await new Promise((resolve) => setImmediate(resolve));
  },

  async pass(span, step = 250) {
    for (let done = 0; done < span; done += step) {
      this.ms += step;
      for (const [id, timer] of [...this.timers]) {
        if (timer.at > this.ms || !this.timers.delete(id)) continue;
        timer.run();
      }
      await this.settle();
    }
  },
};
performance.now = () => time.ms;
Date.now = () => 1_700_000_000_000 + time.ms;
Math.random = () => 0.5;
globalThis.setTimeout = (run, after = 0, ...what) => {
  time.serial += 1;
  time.timers.set(time.serial, { at: time.ms + after, run: () => run(...what) });
  return time.serial;
};
globalThis.clearTimeout = (id) => time.timers.delete(id);
globalThis.BroadcastChannel = undefined;
globalThis.history = {
  state: null,
  replaceState: (state) => (history.state = state),
  pushState: (state) => (history.state = state),
  go() {},
};

/** The relay: {status, body} by method of `/session`, and {payload} or {error} by kind of request; nothing means no answer. */
let http;
let says;

globalThis.fetch = async (_, { method }) => {
  const { status = 200, body = {} } = (await http[method]?.()) ?? {};
  return { status, ok: status < 300, redirected: false, json: async () => body };
};

class Socket {
  static open = null;
  asked = [];

  constructor() {
    Socket.open = this;
    setImmediate(() => this.onopen?.());
  }

  close() {}

  send(text) {
    if (text === "ping") return void setImmediate(() => this.onmessage?.({ data: "pong" }));
    const frame = JSON.parse(text);
    if (frame.type !== "request") return;
    this.asked.push(frame);
    const said = says[frame.payloadType]?.(frame.payload);
    if (said) setImmediate(() => this.tell({ type: "response", id: frame.id, timestamp: Date.now(), ...said }));
  }

  tell(frame) {
    this.onmessage?.({ data: JSON.stringify(frame) });
  }
}
globalThis.WebSocket = Socket;

const session = { ...(await load("actions/session.js")), ...(await load("actions/groups.js")) };
const events = await load("actions/events.js");
const rooms = await load("actions/rooms.js");
const { changeProfile } = await load("actions/groups.js");
const { explain } = await load("actions/notices.js");
const { know } = await load("actions/people.js");
const { change, refreshChats } = await load("actions/store.js");
const { draftAt, keepDraft } = await load("actions/drafts.js");
const { announce, tell } = await load("actions/notices.js");
const { enqueue } = await load("model/state.js");
const { editKey } = await load("model/state.js");
await load("actions/restarts.js");
const storage = await load("storage.js");
const signals = await load("signals.js");
const { useLanguage } = await load("i18n/i18n.js");
await useLanguage("en");

const TAKEN = "This name is taken here. Pick another.";
const me = (userId) => ({ body: { userId, name: userId, protocol: { limits: {} } } });
const nobody = { status: 401, body: { signIn: ["password"], error: { code: "unauthorized" } } };
const item = (id, change = {}) => ({
  type: "group", id, name: id, lastMessageText: "hello", lastMessageTime: 1_000, lastMessageStatus: "read", lastMessageId: 3, missed: 0, isMine: false, ...change,
});
const page = [1, 2, 3].map((messageId) => ({
  messageId, clientMessageId: `c${messageId}`, sender: "carla", message: `m${messageId}`, status: "read", type: "new", createdAt: 1_000,
}));
const details = ({ chatId }) => ({ payload: { chatId, type: "group", name: chatId, lastMessageId: 3, missed: 0, meta: { participants: [] } } });
const asked = (kind) => Socket.open.asked.filter(({ payloadType }) => payloadType === kind);
const refused = (code, more = {}) => ({ error: { code, message: "", ...more } });

/** Sign in as somebody, with this list of chats. */
async function enter(userId = "anna", list = [item("lab"), item("crew")]) {
  http.POST = () => ({ body: { token: "t" } });
  http.GET = () => me(userId);
  says.chats ??= () => ({ payload: list });
  await session.signIn({ userId, password: "p" });
  await time.settle();
}

async function leave() {
  http.DELETE = () => ({ status: 204 });
  http.GET = () => nobody;
  await session.signOut();
  await time.settle();
}

beforeEach(() => {
  globalThis.localStorage = new FakeStorage();
  http = {};
  says = { profile: () => ({ payload: { id: "anna", name: "Anna" } }), chat: (what) => details(what), messages: () => ({ payload: page }) };
  signals.notice.value = null;
});

afterEach(leave);

test("a taken name is reported as taken, at sign-in and in the profile", async () => {
  http.POST = () => ({ status: 409, body: refused("conflict") });
  await assert.rejects(session.signIn({ name: "Ben" }), (failure) => explain(failure) === TAKEN);
  await enter();
  says.profile = () => refused("conflict");
  await assert.rejects(changeProfile({ name: "Ben" }), (failure) => explain(failure) === TAKEN);
});

test("another conflict is not reported as a taken name", async () => {
  http.POST = () => ({ status: 409, body: refused("conflict") });
  await assert.rejects(session.signIn({ userId: "ben", password: "p" }), ({ code }) => code === "conflict");
  assert.notEqual(explain("conflict"), TAKEN);
});

test("requests without an answer end with the session, and the same user is served again", async () => {
  says.messages = () => null;
  says.users = () => null;
  await enter();
  rooms.openChat("lab");
  know(["p1", "p2", "p3", "p4", "p5"]);
  await time.settle();
  assert.equal(asked("users").length, 4);
  await leave();
  assert.equal(signals.notice.value, null, "signing out is not a failure");
  says.messages = () => ({ payload: page });
  await enter();
  rooms.openChat("lab");
  know(["p1"]);
  await time.settle();
  assert.equal(signals.state.value.rooms.get("lab").messages.length, 3);
  assert.deepEqual(asked("users").map(({ payload }) => payload.query), ["p1"]);
});

test("the ways to sign in are known although another tab delays the erasing", async () => {
  await enter();
  globalThis.IDBRequest = class {
    addEventListener() {}
  };
  globalThis.indexedDB = { deleteDatabase: () => new IDBRequest() };
  signals.signInWays.value = [];
  http.DELETE = () => ({ status: 204 });
  http.GET = () => nobody;
  session.signOut();
  await time.settle();
  delete globalThis.indexedDB;
  assert.deepEqual(signals.signInWays.value, ["password"]);
});

test("the signed-in user is not remembered after signing out", async () => {
  await enter();
  let answer;
  http.GET = () => new Promise((resolve) => (answer = () => resolve(me("anna"))));
  // After a break the page asks the relay who is signed in, if it did not know for a while.
  await time.pass(61_000, 1_000);
  Socket.open.onclose({ code: 1006 });
  await time.pass(2_000);
  const late = answer;
  assert.ok(late, "it was asked");
  await leave();
  late();
  await time.settle();
  assert.equal(storage.remembered(), null);
});

test("messages that one user has seen in another tab do not count as seen by the next user", async () => {
  await enter();
  events.attended.set("lab", 100);
  await leave();
  assert.equal(events.attended.size, 0);
});

test("a list that the relay refuses temporarily is fetched again by itself, later each time", async () => {
  says.chats = () => refused("unavailable");
  await enter();
  assert.equal(signals.unfetched.value.get(null).code, "unavailable");
  assert.equal(signals.notice.value, null, "it is said in the place of the list");
  await time.pass(30_000, 500);
  assert.ok(asked("chats").length > 2 && asked("chats").length < 6, `${asked("chats").length}`);
  says.chats = () => ({ payload: [item("lab")] });
  await time.pass(60_000, 500);
  assert.ok(signals.state.value.chats.has("lab"));
  assert.equal(signals.unfetched.value.size, 0);
  const { length } = asked("chats");
  await time.pass(120_000, 1_000);
  assert.equal(asked("chats").length, length);
});

test("a chat that cannot be fetched says why, and a button fetches it", async () => {
  says.messages = () => refused("internal");
  await enter();
  rooms.openChat("lab");
  await time.settle();
  assert.equal(signals.unfetched.value.get("lab").code, "internal");
  assert.equal(signals.loadingRooms.value.size, 0);
  await time.pass(120_000, 1_000);
  assert.equal(asked("messages").length, 1, "a lasting refusal is not retried by itself");
  says.messages = () => ({ payload: page });
  rooms.tryAgain("lab");
  assert.equal(signals.unfetched.value.size, 0, "it is being fetched");
  await time.settle();
  assert.equal(signals.state.value.rooms.get("lab").messages.length, 3);
});

test("an open chat that the relay refuses temporarily is fetched again by itself", async () => {
  says.messages = () => refused("rate_limited", { retryAfter: 5_000 });
  await enter();
  rooms.openChat("lab");
  await time.pass(4_750);
  assert.equal(asked("messages").length, 1);
  await time.pass(500);
  assert.equal(asked("messages").length, 2);
  rooms.openChat("crew");
  await time.settle();
  const ofLab = () => asked("messages").filter(({ payload }) => payload.chatId === "lab").length;
  const before = ofLab();
  await time.pass(20_000);
  assert.equal(ofLab(), before);
});

test("a failed look-up of a person can be repeated", async () => {
  says.messages = () => refused("not_found");
  says.chat = () => refused("not_found");
  says.users = () => refused("internal");
  await enter();
  rooms.openChat("dora");
  await time.settle();
  assert.equal(signals.unfetched.value.get("dora").code, "internal");
  says.users = () => ({ payload: [{ id: "dora", name: "Dora" }] });
  rooms.tryAgain("dora");
  await time.settle();
  assert.equal(signals.state.value.rooms.get("dora").loaded, true);
});

test("earlier messages that cannot be fetched say why, are not requested at each scroll, and a button fetches them", async () => {
  const late = page.map((one) => ({ ...one, messageId: one.messageId + 50, clientMessageId: `d${one.messageId}` }));
  says.chats = () => ({ payload: [item("lab", { lastMessageId: 53 })] });
  says.chat = ({ chatId }) => ({ payload: { ...details({ chatId }).payload, lastMessageId: 53 } });
  says.messages = ({ endId }) => (endId ? refused("internal") : { payload: late, more: true });
  await enter();
  rooms.openChat("lab");
  await time.settle();
  await rooms.loadOlder("lab");
  assert.equal(signals.unfetched.value.get("lab").code, "internal");
  const { length } = asked("messages");
  for (let scroll = 0; scroll < 5; scroll += 1) {
    await time.pass(4_000);
    await rooms.loadOlder("lab");
  }
  assert.equal(asked("messages").length, length);
  says.messages = () => ({ payload: page });
  rooms.tryAgain("lab");
  await time.settle();
  assert.equal(signals.state.value.rooms.get("lab").messages[0].messageId, 1);
});

test("somebody's typing ends although its end is lost and other events continue", async () => {
  await enter();
  Socket.open.tell({ type: "event", eventType: "typing", timestamp: Date.now(), payload: { chatId: "lab", userId: "carla" } });
  await time.pass(500);
  assert.equal(signals.state.value.typing.size, 1);
  for (let second = 0; second < 20; second += 1) {
    const userId = `p${second}`;
    Socket.open.tell({ type: "event", eventType: "online", timestamp: Date.now(), payload: { userId } });
    await time.pass(1_000);
  }
  assert.equal(signals.state.value.typing.size, 0);
});

test("an open chat that the user left on another device is reported once", async () => {
  await enter();
  rooms.openChat("lab");
  await time.settle();
  const gone = { chatId: "lab", title: "Lab", by: "anna", byName: "Anna", reason: "left" };
  Socket.open.tell({ type: "event", id: 1, eventType: "chatGone", timestamp: Date.now(), payload: gone });
  const seen = new Set();
  for (let step = 0; step < 60; step += 1) {
    await time.pass(250);
    if (signals.notice.value) seen.add(signals.notice.value.text);
  }
  assert.deepEqual([...seen], ["You left “Lab”"]);
  assert.equal(signals.route.value.chatId, null);
});

test("after a restore under the page a message with a former id is shown, read, and not edited, answered or deleted", async () => {
  await enter();
  rooms.openChat("lab");
  await time.settle();
  const event = (id, eventType, payload) => Socket.open.tell({ type: "event", id, eventType, timestamp: Date.now(), payload: { chatId: "lab", ...payload } });
  const said = (messageId, message) => ({ messageId, clientMessageId: message, sender: "carla", message, status: "unread", missed: 1, timestamp: Date.now() });
  says.read = () => ({ payload: { missed: 0 } });
  says.edit = says.new = () => refused("forbidden");
  event(1, "delete", { messageId: 4, originalMessageId: 3 });
  event(2, "new", said(5, "five"));
  await time.pass(500);
  rooms.markRead("lab", 5);
  events.attended.set("lab", 5);
  const quote = { messageId: 3, sender: "anna", message: "m3", createdAt: 1 };
  keepDraft("lab", "my answer", quote);
  keepDraft(editKey("lab", 2), "my edit", { ...quote, messageId: 2 });
  const row = { chatId: "lab", createdAt: 1, state: "failed", failure: { code: "forbidden" } };
  change((now) => enqueue(now, { ...row, clientMessageId: "w1", kind: "delete", originalMessageId: 3 }));
  change((now) => enqueue(now, { ...row, clientMessageId: "w2", kind: "edit", originalMessageId: 2, message: "my other edit" }));
  change((now) => enqueue(now, { ...row, clientMessageId: "w3", kind: "new", message: "reply", replyTo: quote }));
  await time.pass(1_000);
  says.chats = () => ({ payload: [item("lab", { lastMessageId: 2 }), item("crew")] });
  says.messages = () => ({ payload: page.slice(0, 2) });
  says.chat = ({ chatId }) => ({ payload: { ...details({ chatId }).payload, lastMessageId: 2 } });
  Socket.open.onclose?.({});
  await time.pass(10_000);
  // Imports go through another thread, one by one.
  for (let turn = 0; turn < 3; turn += 1) await load("actions/restarts.js").then(() => time.settle());
  event(9, "new", said(3, "three new"));
  await time.pass(500);
  const shown = signals.state.value.rooms.get("lab").messages.map(({ messageId, message, status }) => [messageId, message, status]);
  assert.deepEqual(shown.at(-1), [3, "three new", "unread"]);
  rooms.markRead("lab", 3);
  await time.settle();
  assert.deepEqual(asked("read").map(({ payload }) => payload.messageId), [3]);
  assert.equal(events.attended.has("lab"), false);
  assert.deepEqual(signals.state.value.outbox.map(({ message, replyTo }) => [message, replyTo]), [["reply", undefined]]);
  assert.equal(draftAt(editKey("lab", 2)).text, "");
  assert.deepEqual([draftAt("lab").text, draftAt("lab").quote], ["my answer\n\nmy edit\n\nmy other edit", undefined]);
});

/** A backup is restored while the connection is away; `lastMessageId` and `time` are what the list says then. */
async function restore({ lastMessageId, time: lastMessageTime, messages }) {
  const list = [item("lab", { lastMessageId, lastMessageTime }), item("crew")];
  says.chats = () => null;
  // The open chat itself is slow to come.
  says.messages = ({ startId }) => startId && { payload: messages.filter(({ messageId }) => messageId >= startId) };
  says.chat = ({ chatId }) => ({ payload: { ...details({ chatId }).payload, lastMessageId } });
  says.edit = says.delete = says.new = ({ clientMessageId }) => ({ payload: { messageId: lastMessageId + 1, clientMessageId, timestamp: Date.now() } });
  return async () => {
    Socket.open.tell({ type: "response", id: asked("chats").at(-1).id, timestamp: Date.now(), payload: list });
    for (let turn = 0; turn < 4; turn += 1) await load("actions/restarts.js").then(() => time.settle());
    await time.pass(1_000);
  };
}

for (const [what, lastMessageId, lastMessageTime] of [["as many", 3, 2_000], ["more", 4, 2_000], ["fewer", 2, 500]]) {
  test(`an edit, a deletion and a reply that wait while a backup with ${what} messages is restored go to no other message`, async () => {
    const outbox = await load("actions/outbox.js");
    await enter();
    rooms.openChat("lab");
    await time.settle();
    const others = [...page.slice(0, 1), ...[2, 3, 4].map((messageId) => ({ ...page[0], messageId, clientMessageId: `other${messageId}`, createdAt: 2_000 }))];
    const come = await restore({ lastMessageId, time: lastMessageTime, messages: others.slice(0, lastMessageId) });
    // The edit is under way when the connection breaks, the others wait.
    says.edit = () => null;
    outbox.edit("lab", 3, "my edit");
    await time.settle();
    assert.equal(asked("edit").length, 1);
    Socket.open.onclose?.({});
    await time.settle();
    outbox.remove("lab", 3);
    outbox.send("lab", { text: "my reply", replyTo: { messageId: 2, clientMessageId: "c2", sender: "carla", message: "m2" } });
    outbox.send("crew", { text: "no ids" });
    await time.pass(2_000);
    for (let turn = 0; turn < 3; turn += 1) await load("actions/outbox.js").then(() => time.settle());
    await time.pass(3_000);
    assert.deepEqual(Socket.open.asked.filter(({ payloadType }) => ["edit", "delete", "new"].includes(payloadType)).map(({ payload }) => payload.message), ["no ids"]);
    await come();
    assert.equal(asked("edit").length + asked("delete").length, 0);
    assert.deepEqual(asked("new").map(({ payload }) => [payload.message, payload.replyTo]), [["no ids", undefined], ["my reply", undefined]]);
    assert.equal(draftAt("lab").text, "my edit");
    assert.equal(signals.notice.value.text, "The message you were editing was deleted. Your text is kept as a draft.");
  });
}

test("an edit under way when the connection breaks goes out after the list, without a wait, if ids are the same", async () => {
  const outbox = await load("actions/outbox.js");
  await enter();
  rooms.openChat("lab");
  await time.settle();
  const come = await restore({ lastMessageId: 3, time: 1_000, messages: page });
  says.edit = () => null;
  outbox.edit("lab", 3, "my edit");
  await time.settle();
  Socket.open.onclose?.({});
  await time.pass(3_000);
  says.edit = ({ clientMessageId }) => ({ payload: { messageId: 4, clientMessageId, timestamp: Date.now() } });
  assert.equal(asked("edit").length, 0);
  await come();
  assert.deepEqual(asked("edit").map(({ payload }) => [payload.originalMessageId, payload.message]), [[3, "my edit"]]);
  assert.equal(asked("messages").length, 1, "the list told enough");
});

test("a read mark under way when the connection breaks is repeated only for the same message", async () => {
  for (const lastMessageTime of [1_000, 2_000]) {
    says.messages = () => ({ payload: page.map((one) => ({ ...one, status: "unread" })) });
    says.chat = (what) => ({ payload: { ...details(what).payload, missed: 3 } });
    says.chats = undefined;
    await enter("anna", [item("lab", { missed: 3 }), item("crew")]);
    rooms.openChat("lab");
    await time.settle();
    rooms.markRead("lab", 3);
    await time.settle();
    assert.equal(asked("read").length, 1);
    const isSame = lastMessageTime === 1_000;
    const messages = isSame ? page : page.map((one) => ({ ...one, clientMessageId: `other${one.messageId}` }));
    const come = await restore({ lastMessageId: 3, time: lastMessageTime, messages });
    says.messages = () => null;
    Socket.open.onclose?.({});
    await time.pass(3_000);
    assert.equal(asked("read").length, 0);
    await come();
    assert.deepEqual(asked("read").map(({ payload }) => payload.messageId), isSame ? [3] : []);
    await leave();
  }
});

test("a list that was asked for before a message came forgets nothing", async () => {
  await enter();
  rooms.openChat("lab");
  await time.settle();
  says.chats = () => null;
  const fetching = refreshChats();
  const { id } = asked("chats").at(-1);
  Socket.open.tell({ type: "event", id: 1, eventType: "new", timestamp: Date.now(), payload: { chatId: "lab", messageId: 4, clientMessageId: "c4", sender: "carla", message: "m4", status: "unread", missed: 1, timestamp: Date.now() } });
  await time.settle();
  Socket.open.tell({ type: "response", id, timestamp: Date.now(), payload: [item("lab"), item("crew")] });
  await fetching;
  await time.settle();
  assert.equal(signals.state.value.rooms.get("lab").messages.at(-1).messageId, 4);
});

test("the latest three of the waiting notices are shown", async () => {
  await enter();
  const seen = [];
  const stop = signals.notice.subscribe((one) => one && seen.push(one.text));
  for (const text of ["1", "2", "3", "4", "5", "6"]) tell(text);
  await time.pass(60_000);
  stop();
  assert.deepEqual(seen, ["1", "4", "5", "6"]);
  await leave();
});

test("signing out forgets all that was announced, told, shown or loaded of the user", async () => {
  await enter();
  announce("Ben: the secret is 4711");
  for (const text of ["one", "two", "three"]) tell(`the secret ${text}`, { action: "Copy", onAction() {} });
  signals.uploads.value = new Map([["c1", 0.5]]);
  signals.target.value = { chatId: "lab", messageId: 1 };
  await leave();
  await time.pass(20_000);
  const left = Object.entries(signals).filter(([name]) => !["settings", "signedOut", "session"].includes(name)).map(([, one]) => one?.value);
  assert.doesNotMatch(JSON.stringify(left, (_, one) => (one instanceof Map || one instanceof Set ? [...one] : one)), /secret|lab|c1/);
});
