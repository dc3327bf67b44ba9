// The model of the chat list in version 2: its pages, single changes, and lost chats.
import assert from "node:assert/strict";
import { test } from "node:test";
import { applyEvent } from "../../relay/web/model/events.js";
import { addPage, atEnd } from "../../relay/web/model/messages.js";
import * as model from "../../relay/web/model/state.js";

const ME = { id: "ben", name: "Ben" };
const item = (id, change = {}) => ({
  type: "group", id, name: id, lastMessageText: "hello", lastMessageTime: 1_000, lastMessageStatus: "read",
  lastMessageId: 3, missed: 0, isMine: false, ...change,
});
const pages = (...ids) => ids.map((messageId) => ({
  messageId, clientMessageId: `c${messageId}`, sender: "anna", message: `m${messageId}`, status: "read", type: "new",
}));
const apply = (state, eventType, payload, now = 5_000) => applyEvent(state, { eventType, payload }, now);
const start = (...items) => model.setChats(model.initial(ME), items);
const lab = () => addPage(start(item("lab"), item("crew")), "lab", pages(1, 2, 3), { reachesStart: true });
const removal = { chatId: "lab", title: "Lab", by: "anna", byName: "Anna", reason: "removed" };
const texts = (state, chatId) => state.rooms.get(chatId)?.messages.map((one) => one.message);

test("pages of the list add up, and what none of them has is gone at the end", () => {
  let state = model.beginList(start(item("old"), item("crew")));
  state = model.addChats(state, [item("lab")]);
  assert.deepEqual([...state.chats.keys()].sort(), ["crew", "lab", "old"], "shown from the first page on");
  state = model.endList(model.addChats(state, [item("crew")]));
  assert.deepEqual([...state.chats.keys()].sort(), ["crew", "lab"]);
});

test("a chat that appears while the list is fetched stays, though no page has it", () => {
  let state = model.addChats(model.beginList(start()), [item("crew")]);
  state = apply(state, "chat", { item: item("lab") });
  state = model.endList(state);
  assert.deepEqual([...state.chats.keys()].sort(), ["crew", "lab"]);
});

test("a changed chat is changed alone", () => {
  const state = apply(start(item("lab"), item("crew")), "chat", { item: item("lab", { name: "Laboratory" }) });
  assert.equal(state.chats.get("lab").name, "Laboratory");
  assert.equal(state.chats.size, 2);
});

test("somebody who is removed by another reads on what the device has, and can write nothing", () => {
  const state = apply(lab(), "chatGone", removal, 9_000);
  const chat = state.chats.get("lab");
  assert.deepEqual(chat.gone, { reason: "removed", by: "anna", byName: "Anna" });
  assert.deepEqual([chat.name, chat.missed, chat.lastMessageTime], ["Lab", 0, 9_000]);
  assert.deepEqual(texts(state, "lab"), ["m1", "m2", "m3"]);
  assert.equal(model.mayWrite(state, "lab"), false);
  assert.equal(model.nameOf(state, "anna"), "Anna");
});

test("a late message in a lost chat is not unread: nobody could read it", () => {
  const state = apply(apply(lab(), "chatGone", removal), "new", { chatId: "lab", messageId: 4, sender: "anna", message: "late", missed: 4 });
  assert.equal(state.chats.get("lab").missed, 0);
  assert.equal(model.unreadTotal(state), 0);
});

test("a lost chat is at its end, whatever was said since it was loaded", () => {
  const behind = model.addChats(lab(), [item("lab", { lastMessageId: 9 })]);
  assert.equal(atEnd(behind, "lab"), false);
  assert.equal(atEnd(apply(behind, "chatGone", removal), "lab"), true);
});

test("a lost chat stays when the whole list comes without it, and goes when it is dismissed", () => {
  const kept = model.setChats(apply(lab(), "chatGone", removal), [item("crew")]);
  assert.ok(kept.chats.get("lab").gone);
  const gone = model.forget(kept, ["lab"]);
  assert.equal(gone.chats.has("lab") || gone.rooms.has("lab"), false);
});

test("a chat that is missing from the list first, and explained afterwards, is kept to be read", () => {
  const missing = model.setChats(lab(), [item("crew")]);
  assert.equal(missing.chats.has("lab"), false);
  const state = apply(missing, "chatGone", removal);
  assert.equal(state.chats.get("lab").gone.reason, "removed");
  assert.deepEqual(texts(state, "lab"), ["m1", "m2", "m3"]);
});

test("a chat that is open before the list has arrived is kept to be read like any other", () => {
  const state = apply(addPage(model.initial(ME), "lab", pages(1, 2, 3)), "chatGone", removal);
  assert.deepEqual([state.chats.get("lab").name, state.chats.get("lab").gone.by], ["Lab", "anna"]);
  assert.deepEqual(texts(model.setChats(state, []), "lab"), ["m1", "m2", "m3"]);
});

test("a loss without a reason is explained by the one that follows", () => {
  const state = apply(apply(lab(), "chatGone", { chatId: "lab" }), "chatGone", removal);
  assert.deepEqual(texts(state, "lab"), ["m1", "m2", "m3"]);
});

test("a loss that is told again changes nothing", () => {
  const once = apply(lab(), "chatGone", removal);
  assert.equal(apply(once, "chatGone", { chatId: "lab" }), once);
  assert.deepEqual(apply(once, "chatGone", removal).chats.get("lab"), once.chats.get("lab"));
});

test("a chat that one left, deleted or cleared on another device is gone", () => {
  for (const reason of ["left", "deleted"]) {
    const state = apply(lab(), "chatGone", { ...removal, by: "ben", byName: "Ben", reason });
    assert.equal(state.chats.has("lab") || state.rooms.has("lab") || state.lost.has("lab"), false);
  }
});

test("a chat without a message leaves nothing to read", () => {
  const state = apply(start(item("lab", { lastMessageId: 0 })), "chatGone", removal);
  assert.equal(state.chats.has("lab"), false);
});

test("somebody who is added again begins with what the relay has", () => {
  const state = apply(apply(lab(), "chatGone", removal), "chat", { item: item("lab", { lastMessageId: 8 }) });
  assert.equal(state.chats.get("lab").gone, undefined);
  assert.equal(state.rooms.has("lab"), false, "there may be a hole");
  assert.equal(model.mayWrite(state, "lab"), true);
});

test("the data kept of lost chats is bounded, and the oldest goes first", () => {
  const many = Array.from({ length: model.MOST_LOST + 5 }, (_, at) => item(`g${at}`));
  let state = start(...many);
  for (const { id } of many) state = apply(state, "chatGone", { ...removal, chatId: id });
  assert.equal(state.chats.size, model.MOST_LOST);
  assert.equal(state.chats.has("g4"), false);
  assert.ok(state.chats.has("g5"));
  state = model.setChats(start(...many), []);
  assert.equal(state.lost.size, model.MOST_LOST);
});

test("messages that wait in a lost chat are not thrown away", () => {
  const row = { kind: "new", clientMessageId: "1", chatId: "lab", message: "wait", createdAt: 1, state: "queued" };
  const state = apply(model.enqueue(lab(), row), "chatGone", removal);
  assert.equal(state.outbox.length, 1);
});

test("a lost chat with something unsent stays, however it was lost and however little was said in it", () => {
  const ways = [removal, { ...removal, by: "ben", reason: "left" }];
  for (const loss of ways) for (const lastMessageId of [0, 3]) for (const key of ["lab", model.captionKey("lab"), model.editKey("lab", 2)]) {
    const typed = model.mergeDraft(start(item("lab", { lastMessageId })), key, { text: "half a thought", at: 1 });
    const state = apply(typed, "chatGone", loss);
    assert.equal(state.chats.get("lab")?.gone.reason, loss.reason, `${loss.reason} ${lastMessageId} ${key}`);
    assert.deepEqual(model.draftsFor(state, "lab").map(([, { text }]) => text), ["half a thought"]);
  }
  const emptied = model.mergeDraft(start(item("lab", { lastMessageId: 0 })), "lab", { text: " ", at: 1 });
  assert.equal(apply(emptied, "chatGone", removal).chats.has("lab"), false);
});
