// The model: the effect of each event and each answer on the state.
import assert from "node:assert/strict";
import { test } from "node:test";
import * as events from "../../relay/web/model/events.js";
import * as messages from "../../relay/web/model/messages.js";
import * as state from "../../relay/web/model/state.js";
import { isGone } from "../../relay/web/model/timeline.js";

const model = { ...state, ...messages, ...events };

const ME = { id: "User1", name: "Anna" };
const item = (change = {}) => ({
  type: "dialog", id: "User2", name: "Ben", lastMessageText: "", lastMessageTime: 1, lastMessageStatus: "read",
  lastMessageId: 0, missed: 0, isMine: false, ...change,
});
const message = (messageId, change = {}) => ({
  messageId, clientMessageId: `c${messageId}`, sender: "User2", message: `m${messageId}`, status: "unread", type: "new",
  createdAt: messageId * 1_000, ...change,
});
const pages = (from, to, change) => Array.from({ length: to - from + 1 }, (_, at) => message(from + at, change));
const apply = (state, eventType, payload, now = 5_000) => model.applyEvent(state, { eventType, payload }, now);
const start = (...items) => model.setChats(model.initial(ME), items.length > 0 ? items : [item()]);
const ids = (state, chatId = "User2") => state.rooms.get(chatId).messages.map((one) => one.messageId);
const incoming = (messageId, change = {}) => ({
  chatId: "User2", sender: "User2", senderName: "Ben", messageId, clientMessageId: `c${messageId}`, message: `m${messageId}`,
  timestamp: messageId * 1_000, missed: 1, status: "unread", ...change,
});
const own = (state, clientMessageId, messageId, chatId = "User2") => {
  const row = { kind: "new", clientMessageId, chatId, message: "mine", createdAt: 9, state: "queued" };
  return model.applyAnswer(model.enqueue(state, row), row, { messageId, timestamp: messageId * 1_000, clientMessageId });
};

test("a new message stands at the end, in the list and in the count", () => {
  const state = apply(model.addPage(start(), "User2", pages(1, 3)), "new", incoming(4, { missed: 4 }));
  assert.deepEqual(ids(state), [1, 2, 3, 4]);
  const chat = state.chats.get("User2");
  assert.equal(chat.lastMessageText, "m4");
  assert.equal(chat.missed, 4);
  assert.equal(model.unreadTotal(state), 4);
});

test("the same event twice is one message", () => {
  let state = model.addPage(start(), "User2", pages(1, 3));
  for (let times = 0; times < 2; times += 1) state = apply(state, "new", incoming(4));
  assert.deepEqual(ids(state), [1, 2, 3, 4]);
});

test("events that come together change the state as one after the other, copy a list once, and leave the state before as it was", () => {
  const people = Array.from({ length: 50 }, (_, at) => item({ id: `p${at}`, name: `P${at}` }));
  const before = model.addPage(start(item(), ...people), "User2", pages(1, 3));
  const copy = structuredClone(before);
  const events = [
    ...people.map(({ id }, at) => ["new", incoming(4 + at, { chatId: id, sender: id, senderName: `New ${at}` })]),
    ["new", incoming(4)],
    ["online", { userId: "p3" }],
    ["typing", { userId: "p3" }],
    ["fails", {}],
    ["delete", { chatId: "User2", messageId: 5, originalMessageId: 4 }],
    ["read", { chatId: "p4", userId: ME.id, messageId: 8, missed: 0 }],
    ["offline", { userId: "p3" }],
  ].map(([eventType, payload]) => ({ eventType, payload }));
  const broken = { eventType: "new", payload: null };
  const failures = [];
  const copies = [];
  const RealMap = globalThis.Map;
  globalThis.Map = class extends RealMap {
    constructor(entries) {
      super(entries);
      if (this.size > 40) copies.push(this);
    }
  };
  const after = model.applyEvents(before, [events[0], broken, ...events.slice(1)], 5_000, (failure) => failures.push(failure));
  globalThis.Map = RealMap;
  assert.equal(failures.length, 1);
  assert.ok(copies.length <= 2, `${copies.length}`);
  assert.deepEqual(before, copy);
  const single = events.reduce((state, event) => model.applyEvent(state, event, 5_000), before);
  assert.deepEqual(structuredClone(after), structuredClone(single));
  // A later event copies again.
  const later = model.applyEvent(after, events[1], 5_000);
  assert.notEqual(later.chats, after.chats);
});

test("messages that come out of order stand in order", () => {
  let state = model.addPage(start(), "User2", pages(1, 1));
  state = own(state, "mine", 3);
  state = apply(state, "new", incoming(2));
  assert.deepEqual(ids(state), [1, 2, 3]);
  assert.equal(state.chats.get("User2").lastMessageId, 3);
});

test("a message beyond a gap is not shown before what is between them", () => {
  const far = item({ lastMessageId: 90 });
  let state = model.addPage(start(far), "User2", pages(10, 20));
  state = apply(state, "new", incoming(91));
  assert.deepEqual(ids(state).at(-1), 20);
  assert.equal(model.atEnd(state, "User2"), false);
  state = model.addPage(state, "User2", pages(21, 91));
  assert.equal(model.atEnd(state, "User2"), true);
});

test("a page that does not touch what is loaded replaces it, one that does is joined to it", () => {
  let state = model.addPage(start(), "User2", pages(1, 5));
  state = model.addPage(state, "User2", pages(50, 60));
  assert.deepEqual([ids(state)[0], ids(state).at(-1)], [50, 60]);
  state = model.addPage(state, "User2", pages(40, 49));
  state = model.addPage(state, "User2", pages(55, 65));
  assert.equal(ids(state).length, 26);
  assert.deepEqual(ids(state), ids(state).toSorted((a, b) => a - b));
});

test("the start is known from the first message or from a short page", () => {
  assert.equal(model.addPage(start(), "User2", pages(1, 5)).rooms.get("User2").atStart, true);
  assert.equal(model.addPage(start(), "User2", pages(4, 5)).rooms.get("User2").atStart, false);
  assert.equal(model.addPage(start(), "User2", pages(4, 5), { reachesStart: true }).rooms.get("User2").atStart, true);
});

test("edits and deletions on a page take ids and show no rows", () => {
  const page = [message(1), message(2), { ...message(3), type: "edit", payload: { originalMessageId: 1 } }];
  const state = model.addPage(start(), "User2", page);
  assert.deepEqual(ids(state), [1, 2]);
  assert.equal(state.rooms.get("User2").last, 3);
});

test("a refreshed page keeps the messages that did not change, so that they are not drawn again", () => {
  const state = model.addPage(start(), "User2", pages(1, 3));
  const again = model.addPage(state, "User2", [message(1), message(2, { message: "other" }), message(3)]);
  assert.equal(again.rooms.get("User2").messages[0], state.rooms.get("User2").messages[0]);
  assert.equal(again.rooms.get("User2").messages[1].message, "other");
});

test("an edit changes the text, the quotes of it and the list", () => {
  const page = [message(1), message(2, { replyTo: { messageId: 1, message: "m1" } })];
  let state = model.addPage(start(item({ lastMessageId: 2 })), "User2", page);
  state = apply(state, "edit", { chatId: "User2", messageId: 3, originalMessageId: 1, message: "new text", timestamp: 9 });
  const [first, second] = state.rooms.get("User2").messages;
  assert.equal(first.message, "new text");
  assert.equal(first.updatedAt, 9);
  assert.equal(second.replyTo.message, "new text");
  assert.equal(state.rooms.get("User2").last, 3);
  state = apply(state, "edit", { chatId: "User2", messageId: 4, originalMessageId: 2, message: "last", timestamp: 9 });
  assert.equal(state.chats.get("User2").lastMessageText, "last");
});

test("a deletion leaves a mark and no content", () => {
  let state = model.addPage(start(item({ lastMessageId: 1 })), "User2", [message(1, { attachments: [{ id: "f" }] })]);
  state = apply(state, "delete", { chatId: "User2", messageId: 2, originalMessageId: 1 });
  const [gone] = state.rooms.get("User2").messages;
  assert.equal(gone.status, "deleted");
  assert.equal(gone.message ?? gone.attachments, undefined);
  assert.equal(state.chats.get("User2").lastMessageStatus, "deleted");
});

test("a mark covers all earlier messages of one's own, and never takes a better one back", () => {
  let state = model.addPage(start(), "User2", []);
  for (const id of [1, 2, 3]) state = own(state, `x${id}`, id);
  state = apply(state, "read", { chatId: "User2", userId: "User2", messageId: 2, timestamp: 7 });
  state = apply(state, "dlvrd", { chatId: "User2", userId: "User2", messageId: 3, timestamp: 8 });
  assert.deepEqual(state.rooms.get("User2").messages.map(model.deliveryState), ["read", "read", "delivered"]);
  assert.equal(state.chats.get("User2").lastMessageStatus, "unread");
});

test("in a group a message is read when the last member has read it", () => {
  const group = item({ id: "g", type: "group", name: "G" });
  let state = model.setDetails(start(group), {
    chatId: "g", meta: { participants: ["User1", "User2", "User3"].map((id) => ({ id, name: id })) },
  });
  state = own(model.addPage(state, "g", []), "x", 1, "g");
  const mark = (kind, userId) => (state = apply(state, kind, { chatId: "g", userId, messageId: 1, timestamp: 3 }));
  const shown = () => model.deliveryState(state.rooms.get("g").messages[0]);
  mark("dlvrd", "User2");
  assert.equal(shown(), "sent");
  mark("read", "User3");
  assert.equal(shown(), "delivered");
  mark("read", "User2");
  assert.equal(shown(), "read");
});

test("reading on another device empties the badge here", () => {
  let state = model.addPage(start(item({ missed: 3, lastMessageId: 3 })), "User2", pages(1, 3));
  state = apply(state, "read", { chatId: "User2", userId: "User1", messageId: 3, missed: 0, timestamp: 3 });
  assert.equal(model.unreadTotal(state), 0);
  assert.ok(state.rooms.get("User2").messages.every((one) => one.status === "read"));
});

test("reading a part here leaves the rest unread until the relay says how many", () => {
  let state = model.addPage(start(item({ missed: 3, lastMessageId: 3 })), "User2", pages(1, 3));
  state = model.readHere(state, "User2", 2);
  assert.equal(state.chats.get("User2").missed, 1);
  state = model.readHere(state, "User2", 2, 5);
  assert.equal(state.chats.get("User2").missed, 5);
});

test("a waiting message is replaced by the real one, whichever news comes first", () => {
  const row = { kind: "new", clientMessageId: "x", chatId: "User2", message: "hi", createdAt: 9, state: "queued" };
  const answer = { messageId: 1, timestamp: 10, clientMessageId: "x" };
  const base = model.enqueue(model.addPage(start(), "User2", []), row);
  const answered = model.applyAnswer(base, row, answer);
  assert.deepEqual([answered.outbox.length, ids(answered)], [0, [1]]);
  const told = apply(base, "new", incoming(1, { sender: "User1", clientMessageId: "x" }));
  assert.deepEqual([told.outbox.length, ids(told)], [0, [1]]);
  assert.deepEqual(ids(model.applyAnswer(told, row, answer)), [1]);
  const paged = model.addPage(base, "User2", [message(1, { sender: "User1", clientMessageId: "x" })]);
  assert.equal(paged.outbox.length, 0);
});

test("a failed row keeps its reason and can wait again", () => {
  const row = { kind: "new", clientMessageId: "x", chatId: "User2", message: "hi", createdAt: 9, state: "queued" };
  let state = model.patchOutbox(model.enqueue(start(), row), "x", { state: "failed", failure: { code: "forbidden" } });
  assert.deepEqual(state.outbox[0].failure, { code: "forbidden" });
  assert.equal(model.deliveryState(state.outbox[0]), "failed");
  state = model.dropOutbox(state, "x");
  assert.deepEqual(state.outbox, []);
});

test("a chat that is absent from the list is gone with its messages, but not with what waits for it unsaid", () => {
  let state = model.addPage(start(), "User2", pages(1, 2));
  state = model.enqueue(state, { clientMessageId: "x", chatId: "User2", createdAt: 1, state: "queued" });
  state = model.setChats(state, []);
  assert.equal(state.rooms.has("User2"), false);
  assert.deepEqual(state.outbox.map((row) => row.clientMessageId), ["x"]);
});

test("an unchanged chat keeps its identity when the list comes again", () => {
  const state = start(item(), item({ id: "User3", name: "Carla" }));
  const again = model.setChats(state, [item(), item({ id: "User3", name: "Carla", missed: 2 })]);
  assert.equal(again.chats.get("User2"), state.chats.get("User2"));
  assert.notEqual(again.chats.get("User3"), state.chats.get("User3"));
});

test("the list puts the latest first, and what waits to be sent counts", () => {
  let state = start(item({ lastMessageTime: 5 }), item({ id: "User3", lastMessageTime: 9 }));
  assert.deepEqual(model.sortedChats(state).map((one) => one.id), ["User3", "User2"]);
  state = model.enqueue(state, { clientMessageId: "x", chatId: "User2", createdAt: 20, state: "queued" });
  assert.deepEqual(model.sortedChats(state).map((one) => one.id), ["User2", "User3"]);
});

test("typing ends with a stop, with the message, with going offline, and by itself", () => {
  const begin = () => apply(start(), "typing", { userId: "User2" }, 1_000);
  assert.ok(begin().typing.get("User2").has("User2"));
  assert.equal(apply(begin(), "typing", { userId: "User2", stop: true }).typing.size, 0);
  assert.equal(apply(begin(), "new", incoming(1)).typing.size, 0);
  assert.equal(apply(begin(), "offline", { userId: "User2" }).typing.size, 0);
  assert.equal(model.expireTyping(begin(), 1_000 + model.TYPING_LASTS).typing.size, 0);
  assert.equal(model.expireTyping(begin(), 1_001).typing.size, 1);
});

test("the users online are forgotten with the connection, and the times when they left are kept", () => {
  let state = apply(start(), "online", { userId: "User2" });
  assert.ok(state.online.has("User2"));
  state = apply(state, "offline", { userId: "User2" }, 77);
  assert.equal(state.people.get("User2").lastSeen, 77);
  state = model.disconnected(apply(state, "online", { userId: "User2" }));
  assert.equal(state.online.size, 0);
});

test("an unknown event changes nothing", () => {
  const state = start();
  assert.equal(apply(state, "confetti", {}), state);
});

test("the later of two drafts wins in any order, even an empty one", () => {
  const drafts = [{ text: "hel", at: 1 }, { text: "hello", at: 3 }, { text: "", at: 4 }, { text: "hell", at: 2 }];
  for (const [a, b] of drafts.flatMap((a) => drafts.map((b) => [a, b]))) {
    const state = model.mergeDraft(model.mergeDraft(start(), "User2", a), "User2", b);
    assert.equal(model.draftOf(state, "User2"), (a.at > b.at ? a : b).text);
    assert.equal(model.mergeDraft(state, "User2", a), state);
  }
  assert.equal(model.draftOf(start(), "User2"), "");
});

test("an action of another tab is applied once, like one of this tab", () => {
  const row = { kind: "new", clientMessageId: "x", chatId: "User2", message: "hi", createdAt: 9, state: "queued" };
  const hear = (state, kind, word) => model.applyOther(state, { kind, at: 10, ...word });
  let state = hear(model.addPage(start(), "User2", pages(1, 3)), "draft", { key: "User2", text: "hel", at: 5 });
  assert.equal(model.draftOf(state, "User2"), "hel");
  state = hear(state, "row", { row });
  state = hear(state, "patch", { clientMessageId: "x", change: { state: "failed", failure: { code: "forbidden" } } });
  assert.equal(hear(state, "row", { row }), state);
  assert.deepEqual(state.outbox, [{ ...row, state: "failed", failure: { code: "forbidden" } }]);
  assert.deepEqual(hear(state, "drop", { clientMessageId: "x" }).outbox, []);
  const sent = { row, answer: { messageId: 4, timestamp: 4_000 } };
  state = hear(hear(state, "sent", sent), "sent", sent);
  assert.deepEqual([state.outbox.length, ids(state)], [0, [1, 2, 3, 4]]);
  state = hear(state, "read", { chatId: "User2", messageId: 2, missed: 1 });
  assert.deepEqual(state.rooms.get("User2").messages.map((one) => one.status), ["read", "read", "unread", "undelivered"]);
  assert.equal(hear(state, "closing", {}), state);
  assert.equal(hear(state, "toString", {}), state);
});

test("a quote says what its message says now, and stays as it was when that is not loaded", () => {
  let state = model.addPage(start(), "User2", pages(1, 3));
  const quote = model.asQuote(model.messageOf(state, "User2", 2));
  assert.equal(model.quoteOf(state, "User2", quote), quote);
  state = apply(state, "edit", { chatId: "User2", messageId: 4, originalMessageId: 2, message: "better" });
  assert.deepEqual(model.quoteOf(state, "User2", quote), { ...quote, message: "better" });
  state = apply(state, "delete", { chatId: "User2", messageId: 5, originalMessageId: 2 });
  assert.deepEqual(model.quoteOf(state, "User2", quote), { ...quote, message: undefined, status: "deleted" });
  assert.equal(model.quoteOf(start(), "User2", quote), quote);
  const row = { kind: "new", clientMessageId: "x", chatId: "User2", message: "yes", replyTo: quote, createdAt: 9, state: "queued" };
  state = model.applyAnswer(model.enqueue(state, row), row, { messageId: 6, timestamp: 6_000 });
  assert.equal(model.messageOf(state, "User2", 6).replyTo.status, "deleted");
});

test("the last message of one's own that may be edited has a text and is not deleted", () => {
  const mine = { sender: "User1" };
  const page = [message(1, mine), message(2, { ...mine, status: "deleted" }), message(3, { ...mine, message: undefined }), message(4)];
  assert.equal(model.lastOwnEditable(model.addPage(start(), "User2", page), "User2").messageId, 1);
  assert.equal(model.lastOwnEditable(start(), "User2"), null);
});

test("ten thousand messages take another in a moment", () => {
  let state = model.addPage(start(item({ lastMessageId: 10_000 })), "User2", pages(1, 10_000));
  const begin = performance.now();
  for (let id = 10_001; id <= 10_050; id += 1) state = apply(state, "new", incoming(id));
  assert.ok(performance.now() - begin < 500);
  assert.equal(ids(state).length, 10_050);
});

test("a trimmed chat keeps its end, and knows that there is more", () => {
  const state = model.trim(model.addPage(start(), "User2", pages(1, 50)), "User2", 20);
  assert.deepEqual([ids(state)[0], ids(state).length], [31, 20]);
  assert.equal(state.rooms.get("User2").atStart, false);
  assert.equal(state.rooms.get("User2").first, 31);
  assert.ok(model.atEnd(state, "User2"));
});

test("the first unread is after the last read one, and never one's own", () => {
  const read = { status: "read" };
  const mine = { sender: "User1", status: "undelivered" };
  const page = [message(1, read), message(2), message(3, mine), message(4)];
  assert.deepEqual(model.unreadAmong(page, "User1"), { first: 2, count: 2, bounded: true });
  assert.equal(model.unreadAmong([message(1, read), message(2, mine)], "User1").first, undefined);
});

test("a page holds the first unread message when a read one stands before it, or when all are on it", () => {
  assert.equal(model.reachesUnread(pages(400, 900), "User1", 900), false);
  assert.equal(model.reachesUnread([message(399, { status: "read" }), ...pages(400, 900)], "User1", 900), true);
  assert.equal(model.reachesUnread(pages(400, 900), "User1", 501), true);
  assert.equal(model.reachesUnread(pages(1, 500), "User1", 900), true);
  // An edit counts neither as an unread nor as a read message.
  const edit = { ...message(398, { status: "read" }), type: "edit", payload: { originalMessageId: 1 } };
  assert.equal(model.reachesUnread([edit, ...pages(400, 900)], "User1", 900), false);
});

test("the quote of a deleted message is told from that of a picture, from whichever page the deletion comes", () => {
  const quote = (messageId) => ({ messageId, clientMessageId: `c${messageId}`, sender: "User2", createdAt: 1 });
  const deletion = { ...message(30, { message: undefined }), type: "delete", payload: { originalMessageId: 2 } };
  const older = [...pages(10, 18), message(19, { replyTo: quote(2) }), message(20, { replyTo: quote(3) })];
  const newer = [...pages(21, 29), deletion];
  const both = (first, second) => model.addPage(model.addPage(start(), "User2", first), "User2", second);
  for (const state of [model.addPage(start(), "User2", [...older, ...newer]), both(older, newer), both(newer, older)]) {
    const { messages } = state.rooms.get("User2");
    assert.equal(model.findMessage({ messages }, 19).replyTo.status, "deleted");
    assert.equal(model.findMessage({ messages }, 20).replyTo.status, undefined);
  }
});

test("a deletion that comes while an answer stands there changes its quote", () => {
  const replyTo = { messageId: 1, clientMessageId: "c1", message: "m1", sender: "User2", createdAt: 1 };
  let state = model.addPage(start(), "User2", [message(1), message(2, { replyTo })]);
  state = apply(state, "edit", { chatId: "User2", messageId: 3, originalMessageId: 1, message: "better" });
  assert.deepEqual(model.findMessage(state.rooms.get("User2"), 2).replyTo, { ...replyTo, message: "better" });
  state = apply(state, "delete", { chatId: "User2", messageId: 4, originalMessageId: 1 });
  const quote = model.findMessage(state.rooms.get("User2"), 2).replyTo;
  assert.equal(quote.status, "deleted");
  assert.equal(quote.message, undefined);
});

// ---------------------------------------------------------------- ranges of ids

const edit = (messageId, originalMessageId, change = {}) =>
  ({ ...message(messageId, { message: undefined }), type: "edit", payload: { originalMessageId }, ...change });
const answered = (state, asked, page, more = false, options = {}) =>
  model.takePage(state, "User2", asked, Object.assign(page, more && { more }), options);

test("a page of edits alone counts as loaded, and what was said before them joins it", () => {
  const edits = Array.from({ length: 81 }, (_, at) => edit(321 + at, 1));
  let state = answered(start(), { count: 81 }, edits, true);
  assert.deepEqual([ids(state), model.atEnd(state, "User2")], [[], true]);
  state = answered(state, { endId: 321 }, [message(1), ...Array.from({ length: 319 }, (_, at) => edit(2 + at, 1))]);
  const { first, last, atStart } = state.rooms.get("User2");
  assert.deepEqual([ids(state), first, last, atStart], [[1], 1, 401, true]);
  state = apply(state, "new", incoming(402));
  assert.deepEqual([ids(state), model.atEnd(state, "User2")], [[1, 402], true]);
});

test("an empty page ends the way to the end or to the start", () => {
  let state = start(item({ lastMessageId: 9 }));
  state = answered(state, { startId: 5, top: 9 }, []);
  assert.equal(model.atEnd(state, "User2"), true);
  assert.equal(answered(state, { endId: 5, top: 9 }, []).rooms.get("User2").atStart, true);
});

test("an event beyond what is loaded makes no hole, one that skips ids at the end remembers them", () => {
  let state = answered(start(item({ lastMessageId: 30 })), { startId: 10 }, pages(10, 20), true);
  assert.deepEqual(ids(apply(state, "new", incoming(31))), ids(state));
  state = answered(start(), { count: 3 }, pages(18, 20), true);
  state = apply(state, "new", incoming(23));
  assert.deepEqual([ids(state).at(-1), [...state.rooms.get("User2").holes]], [23, [21, 22]]);
  assert.equal(model.isWhole(state, "User2"), false);
  assert.equal(model.joinsRoom(state, "User2", {}, Object.assign(pages(23, 25), { more: true })), false);
  state = answered(apply(state, "new", incoming(22)), { startId: 21 }, pages(21, 23));
  assert.deepEqual([ids(state), model.isWhole(state, "User2")], [[18, 19, 20, 21, 22, 23], true]);
});

test("far from the end nothing is the newest: neither what may be edited nor what the list shows", () => {
  const mine = { sender: "User1", status: "read" };
  let state = start(item({ lastMessageId: 90, lastMessageText: "newest" }));
  state = answered(state, { startId: 10 }, pages(10, 20, mine), true, { far: true });
  assert.equal(model.lastOwnEditable(state, "User2"), null);
  assert.equal(model.newestShown(state, "User2"), undefined);
  state = apply(state, "edit", { chatId: "User2", messageId: 91, originalMessageId: 20, message: "changed", timestamp: 9 });
  assert.equal(state.chats.get("User2").lastMessageText, "newest");
  state = apply(state, "edit", { chatId: "User2", messageId: 92, originalMessageId: 90, message: "newer", timestamp: 9 });
  assert.equal(state.chats.get("User2").lastMessageText, "newer");
  state = model.leaveFar(state, "User2");
  assert.equal(state.rooms.get("User2").loaded, false);
  const near = answered(state, { count: 3 }, pages(90, 92), true);
  assert.equal(model.leaveFar(near, "User2"), near);
});

test("a jump is far until its pages reach the end", () => {
  let state = answered(start(item({ lastMessageId: 30 })), { startId: 10 }, pages(10, 20), true, { far: true });
  assert.equal(state.rooms.get("User2").far, true);
  state = answered(state, { startId: 21 }, pages(21, 30));
  assert.deepEqual([state.rooms.get("User2").far, model.atEnd(state, "User2")], [false, true]);
});

test("an edit that this page did not hear of makes its message stale until it is fetched again", () => {
  let state = answered(start(), { count: 3 }, [message(1), message(2, { replyTo: { messageId: 1, message: "m1" } }), message(3)]);
  state = answered(state, { startId: 4 }, [edit(4, 1), message(5)]);
  assert.deepEqual([...state.rooms.get("User2").stale], [1, 2]);
  const again = [message(1, { message: "better", updatedAt: 4_000 }), message(2, { replyTo: { messageId: 1, message: "better" } })];
  state = answered(state, { startId: 1 }, again, true);
  assert.equal(state.rooms.get("User2").stale.size, 0);
  assert.deepEqual(state.rooms.get("User2").messages.map((one) => one.message), ["better", "m2", "m3", "m5"]);
  assert.equal(state.rooms.get("User2").messages[1].replyTo.message, "better");
});

test("an older page, edit or answer takes back neither a later edit nor a deletion", () => {
  let state = answered(start(), { count: 2 }, [message(1), message(2)]);
  state = apply(state, "edit", { chatId: "User2", messageId: 4, originalMessageId: 1, message: "later", timestamp: 4_000 });
  state = apply(state, "edit", { chatId: "User2", messageId: 3, originalMessageId: 1, message: "earlier", timestamp: 3_000 });
  state = apply(state, "delete", { chatId: "User2", messageId: 5, originalMessageId: 2 });
  state = apply(state, "edit", { chatId: "User2", messageId: 6, originalMessageId: 2, message: "again", timestamp: 6_000 });
  state = answered(state, { startId: 1 }, [message(1), message(2)], true);
  assert.deepEqual(state.rooms.get("User2").messages.map((one) => [one.message, one.status]), [["later", "unread"], [undefined, "deleted"]]);
});

test("a page that has a mark gives it to all earlier messages of the same kind", () => {
  const mine = (messageId, status) => message(messageId, { sender: "User1", status });
  let state = answered(start(), { count: 4 }, [mine(1, "read"), mine(2, "undelivered"), message(3), mine(4, "undelivered")]);
  state = answered(state, { startId: 5 }, [message(5, { status: "read" }), mine(6, "unread"), message(7), mine(8, "undelivered")]);
  const statuses = state.rooms.get("User2").messages.map((one) => one.status);
  assert.deepEqual(statuses, ["read", "unread", "read", "unread", "read", "unread", "unread", "undelivered"]);
});

test("the relay decides what is unread, whatever this device had read", () => {
  const page = [message(1), message(2, { status: "read" }), message(3, { sender: "User1", status: "read" }), message(4, { status: "read" })];
  const state = model.unreadHere(answered(start(), { count: 4 }, page), "User2", 1);
  assert.deepEqual(state.rooms.get("User2").messages.map((one) => one.status), ["read", "read", "read", "unread"]);
  assert.equal(model.readsMore(state, "User2", 4), true);
  assert.equal(model.readsMore(state, "User2", 3), false);
});

test("a waiting message quotes the present text of a message that is not loaded", () => {
  const replyTo = { messageId: 2, message: "m2", sender: "User2" };
  const row = (clientMessageId) => ({ kind: "new", clientMessageId, chatId: "User2", message: "yes", replyTo, createdAt: 9, state: "queued" });
  let state = model.enqueue(start(), row("x"));
  state = apply(state, "edit", { chatId: "User2", messageId: 3, originalMessageId: 2, message: "better" });
  assert.equal(state.outbox[0].replyTo.message, "better");
  state = apply(state, "delete", { chatId: "User2", messageId: 4, originalMessageId: 2 });
  state = model.applyOther(state, { kind: "row", row: row("y") });
  for (const { replyTo: quote } of state.outbox) assert.deepEqual([quote.message, quote.status], [undefined, "deleted"]);
  const hear = (quote) => model.applyOther(model.enqueue(start(), row("x")), { kind: "patch", clientMessageId: "x", change: { replyTo: quote } });
  assert.equal(hear({ ...replyTo, message: "other" }).outbox[0].replyTo.message, "m2");
  assert.equal(hear({ ...replyTo, message: undefined, status: "deleted" }).outbox[0].replyTo.status, "deleted");
});

test("how many are unread is told by the event, though an answer has shown a later message already", () => {
  let state = own(model.addPage(start(), "User2", pages(1, 3, { status: "read" })), "mine", 6);
  state = apply(state, "new", incoming(4, { missed: 2 }));
  const { missed, lastMessageId } = state.chats.get("User2");
  assert.deepEqual([missed, lastMessageId], [2, 6]);
});

test("an edit leaves the mark in the list as the list has it", () => {
  const mine = { sender: ME.id, status: "undelivered" };
  let state = model.addPage(start(item({ lastMessageId: 3, isMine: true, lastMessageStatus: "undelivered" })), "User2", pages(1, 3, mine));
  // This tab missed the receipt; the list tells it.
  state = model.addChats(state, [item({ lastMessageId: 3, isMine: true, lastMessageStatus: "unread" })]);
  state = apply(state, "edit", { chatId: "User2", messageId: 4, originalMessageId: 3, message: "better" });
  const { lastMessageText, lastMessageStatus } = state.chats.get("User2");
  assert.deepEqual([lastMessageText, lastMessageStatus], ["better", "unread"]);
});

test("a page that was answered before one read shows nothing as unread that stands before what is read", () => {
  let state = model.addPage(start(item({ lastMessageId: 9, missed: 9 })), "User2", pages(1, 9));
  state = model.readHere(state, "User2", 9);
  state = model.addPage(state, "User2", pages(3, 5), { first: 3, last: 5 });
  assert.deepEqual(state.rooms.get("User2").messages.map(({ status }) => status), Array(9).fill("read"));
  // One's own, too: a mark of somebody else covers all that is earlier.
  const own = (from, to, status) => pages(from, to, { sender: ME.id, status });
  state = model.addPage(start(item({ lastMessageId: 6 })), "User2", own(4, 6, "read"));
  state = model.addPage(state, "User2", own(1, 3, "undelivered"), { first: 1, last: 3 });
  assert.deepEqual(state.rooms.get("User2").messages.map(({ status }) => status), Array(6).fill("read"));
});

test("the changes that a chat remembers are bounded", () => {
  const deletions = (from, to) =>
    Array.from({ length: to - from + 1 }, (_, at) => ({ ...message(from + at), type: "delete", payload: { originalMessageId: from + at - 10_000 } }));
  let state = answered(start(), { count: 1 }, deletions(20_001, 26_000), true);
  assert.equal(state.rooms.get("User2").deleted.size, 5_000);
  state = apply(state, "new", incoming(26_502));
  assert.equal(state.rooms.get("User2").last, 26_000);
  assert.equal(model.atEnd(state, "User2"), false);
});

test("a quoted message is gone when the loaded part goes past its place without it, and unknown before that", () => {
  const loaded = model.addPage(start(), "User2", pages(10, 12));
  assert.equal(isGone(loaded, "User2", 5), false);
  assert.equal(isGone(loaded, "User2", 11), false);
  assert.equal(isGone(loaded, "User2", 13), false);
  assert.equal(isGone(start(), "User2", 5), false);
  const whole = model.addPage(start(), "User2", pages(10, 12), { reachesStart: true });
  assert.equal(isGone(whole, "User2", 5), true);
  const gap = model.addPage(start(), "User2", [message(3), message(5)], { first: 2, last: 6 });
  assert.deepEqual([1, 2, 3, 4, 5, 7].map((id) => isGone(gap, "User2", id)), [false, true, false, true, false, false]);
});
