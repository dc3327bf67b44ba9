// Names and presence: people drawn without a name, known presence, and texts in two directions.
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { applyEvent, disconnected } from "../../relay/web/model/events.js";
import { addPage } from "../../relay/web/model/messages.js";
import { isolate } from "../../relay/web/model/text.js";
import * as model from "../../relay/web/model/state.js";
import { strangersOf } from "../../relay/web/model/strangers.js";

const WEB = new URL("../../relay/web/", import.meta.url).pathname;
const ME = { id: "anna", name: "Anna" };
const item = (change = {}) => ({
  type: "group", id: "G", name: "Lab", lastMessageText: "x", lastMessageTime: 1, lastMessageStatus: "read", lastMessageId: 1,
  lastMessageAuthor: "carla", missed: 0, isMine: false, ...change,
});
const dialog = (id, change = {}) => item({ type: "dialog", id, name: id.toUpperCase(), lastMessageAuthor: id, ...change });
const start = (...items) => model.connected(model.setChats(model.initial(ME), items));
const online = (state, userId) => applyEvent(state, { eventType: "online", payload: { userId } }, 5);
const page = (from, to, sender) => Array.from({ length: to - from + 1 }, (_, at) => ({ messageId: from + at, sender, message: "x", type: "new", createdAt: 1 }));

test("an author in the list whose name is unknown is a stranger, and no more once it is learnt", () => {
  const state = start(item(), dialog("ben"), item({ id: "H", lastMessageAuthor: "anna", isMine: true }));
  assert.deepEqual(strangersOf(state), ["carla"]);
  const told = model.learnPeople(state, [{ id: "carla", name: "Carla" }]);
  assert.deepEqual(strangersOf(told), []);
  assert.equal(model.nameOf(told, "carla"), "Carla");
});

test("somebody whose name is their id is not a stranger", () => {
  assert.deepEqual(strangersOf(model.learnPeople(start(item()), [{ id: "carla", name: "carla" }])), []);
});

test("strangers are named in the order of the list, each once", () => {
  const state = start(item({ id: "A", lastMessageTime: 1, lastMessageAuthor: "old" }), item({ id: "B", lastMessageTime: 9, lastMessageAuthor: "new" }), item({ id: "C", lastMessageTime: 5, lastMessageAuthor: "new" }));
  assert.deepEqual(strangersOf(state), ["new", "old"]);
});

test("authors of messages, of quotes, and those who type are strangers too", () => {
  let state = model.learnPeople(start(item()), [{ id: "carla", name: "Carla" }]);
  state = addPage(state, "G", [...page(1, 3, "dora"), { ...page(4, 4, "carla")[0], replyTo: { messageId: 1, sender: "emil" } }]);
  state = applyEvent(state, { eventType: "typing", payload: { chatId: "G", userId: "fred" } }, 5);
  assert.deepEqual(strangersOf(state).sort(), ["dora", "emil", "fred"]);
});

test("only changes since the former state are looked at", () => {
  const before = addPage(start(item({ lastMessageId: 9 }), dialog("ben")), "G", page(5, 7, "dora"));
  assert.deepEqual(strangersOf(before, before), []);
  const after = addPage(addPage(before, "G", page(3, 4, "emil")), "G", page(8, 9, "fred"));
  assert.deepEqual(strangersOf(after, before).sort(), ["emil", "fred"]);
});

test("only those whom the relay tells of are online or offline", () => {
  const state = online(start(item(), dialog("ben"), dialog("cara")), "ben");
  assert.equal(model.presenceOf(state, "ben"), "online");
  assert.equal(model.presenceOf(state, "cara"), "offline");
  assert.equal(model.presenceOf(state, "anna"), "online");
  assert.equal(model.presenceOf(state, "stranger"), undefined);
  const told = model.learnPeople(state, [{ id: "seen", name: "Seen", lastSeen: 5 }, { id: "met", name: "Met" }]);
  assert.equal(model.presenceOf(told, "seen"), "offline");
  assert.equal(model.presenceOf(told, "met"), undefined);
  const member = model.setDetails(told, { chatId: "G", type: "group", meta: { participants: [{ id: "met", name: "Met" }] } });
  assert.equal(model.presenceOf(member, "met"), "offline");
});

test("while the relay is away nobody is online or offline", () => {
  const away = disconnected(online(start(dialog("ben")), "ben"));
  for (const id of ["ben", "anna"]) assert.equal(model.presenceOf(away, id), undefined);
  assert.equal(disconnected(away), away);
  assert.equal(model.presenceOf(model.connected(away), "ben"), "offline");
});

test("the list is sorted again only when chats or what waits has changed", () => {
  const state = start(item(), dialog("ben", { lastMessageTime: 5 }));
  const sorted = model.sortedChats(state);
  assert.deepEqual(sorted.map((one) => one.id), ["ben", "G"]);
  assert.equal(model.sortedChats(online(state, "ben")), sorted);
  assert.equal(model.sortedChats(applyEvent(state, { eventType: "typing", payload: { chatId: "G", userId: "ben" } }, 5)), sorted);
  assert.notEqual(model.sortedChats(model.enqueue(state, { kind: "new", clientMessageId: "c", chatId: "G", createdAt: 9 })), sorted);
});

test("names of the other direction are set apart, and nothing else is", () => {
  assert.equal(isolate("فريد"), "\u2068فريد\u2069");
  assert.equal(isolate("דנה @dana"), "\u2068דנה @dana\u2069");
  for (const name of ["Jörg", "李雷", "Мария", "🙂", ""]) assert.equal(isolate(name), name);
});

test("no text is cut between the halves of a character: model/text.js cuts", () => {
  for (const name of readdirSync(WEB, { recursive: true }).filter((one) => one.endsWith(".js") && !one.startsWith("vendor/"))) {
    const found = readFileSync(join(WEB, name), "utf8").match(/\.charAt\(|\.substr(?:ing)?\(|\b(?:message|body|title|label)\??\.slice\([^)]*\)/g);
    assert.equal(found, null, name);
  }
});

test("no name stands in an element whose direction it decides", () => {
  for (const file of readdirSync(join(WEB, "views"), { recursive: true }).filter((name) => name.endsWith(".js"))) {
    const found = readFileSync(join(WEB, "views", file), "utf8").match(/dir="auto">\$\{[^}]*(?:tellOf|nameOf|chatName|chatLabel|label|name)\b[^}]*\}/g);
    assert.equal(found, null, file);
  }
});
