// Rows from messages: days, groups, the divider, what waits.
import assert from "node:assert/strict";
import { test } from "node:test";
import { addPage } from "../../relay/web/model/messages.js";
import { enqueue, initial } from "../../relay/web/model/state.js";
import { buildRows, drawnMessage, GROUP_WITHIN, waitingChanges, waitingMessage } from "../../relay/web/model/timeline.js";

const NOON = new Date(2026, 4, 5, 12).getTime();
const message = (messageId, at, change = {}) => ({
  messageId, clientMessageId: `c${messageId}`, sender: "User2", message: "m", status: "unread", createdAt: NOON + at, ...change,
});
const rows = (messages, options = {}) => buildRows(messages, { me: "User1", ...options });
const shape = (list) => list.map((row) => (row.type === "message" ? `${row.starts ? "[" : ""}${row.message.messageId ?? "w"}${row.ends ? "]" : ""}` : row.type));

test("messages of one person within five minutes form a group", () => {
  const list = [message(1, 0), message(2, 1_000), message(3, 2_000 + GROUP_WITHIN), message(4, 3_000 + GROUP_WITHIN, { sender: "User1" })];
  assert.deepEqual(shape(rows(list)), ["day", "[1", "2]", "[3]", "[4]"]);
});

test("a new day has a separator and ends a group", () => {
  const midnight = 12 * 3_600_000;
  assert.deepEqual(shape(rows([message(1, midnight - 1_000), message(2, midnight + 1_000)])), ["day", "[1]", "day", "[2]"]);
});

test("the divider stands before the first new message and ends a group", () => {
  const list = rows([message(1, 0), message(2, 1_000)], { dividerId: 2, dividerCount: 1 });
  assert.deepEqual(shape(list), ["day", "[1]", "new", "[2]"]);
  assert.equal(list[2].count, 1);
});

test("a slice goes on with the group and the day of what is before it", () => {
  assert.deepEqual(shape(rows([message(2, 1_000)], { before: message(1, 0) })), ["2]"]);
});

test("keys are unique, and a sent message keeps the key it waited under", () => {
  const row = { kind: "new", clientMessageId: "x", message: "hi", createdAt: NOON, state: "queued" };
  const [, waiting] = rows([waitingMessage(initial({ id: "User1" }), row)]);
  const [, sent] = rows([message(9, 0, { sender: "User1", clientMessageId: "x" })]);
  assert.equal(waiting.key, sent.key);
  assert.ok(waiting.mine);
});

test("waiting messages stand at the end, even when this device's clock is days behind", () => {
  const late = waitingMessage(initial({ id: "User1" }), { clientMessageId: "x", createdAt: NOON - 9 * 86_400_000, state: "queued" });
  const list = rows([message(1, 0), late]);
  assert.deepEqual(shape(list), ["day", "[1]", "[w]"]);
});

test("a waiting edit and a waiting deletion show at once, a failed one does not pretend", () => {
  const change = (kind, state) => ({ kind, state, chatId: "User2", clientMessageId: "e", originalMessageId: 1, message: "better", createdAt: NOON });
  const shown = (row) => rows([message(1, 0, { sender: "User1" })], { changes: waitingChanges([row], "User2") })[1].message;
  assert.equal(shown(change("edit", "queued")).message, "better");
  assert.equal(shown(change("delete", "queued")).status, "deleted");
  assert.equal(shown(change("edit", "failed")).message, "m");
  assert.equal(shown(change("edit", "failed")).changing, "failed");
});

test("a message is found as it is drawn: waiting, sent, with a change that waits, and not once it is gone", () => {
  const chatId = "User2";
  const row = { kind: "new", clientMessageId: "x", chatId, message: "hi", createdAt: NOON, state: "queued" };
  const edit = { kind: "edit", clientMessageId: "e", chatId, originalMessageId: 1, message: "better", createdAt: NOON, state: "queued" };
  const page = [message(1, 0, { sender: "User1" })];
  let state = enqueue(enqueue(addPage(initial({ id: "User1", name: "Anna" }), chatId, page), row), edit);
  assert.equal(drawnMessage(state, { chatId, messageId: 1 }).message, "better");
  assert.equal(drawnMessage(state, { chatId, clientMessageId: "x" }).state, "queued");
  assert.equal(drawnMessage(state, { chatId, messageId: 2, clientMessageId: "x" }), undefined);
  assert.equal(drawnMessage(state, { chatId: "User3", messageId: 1 }), undefined);
  state = addPage(state, chatId, [message(2, 0, { sender: "User1", clientMessageId: "x" })]);
  assert.equal(drawnMessage(state, { chatId, clientMessageId: "x" }).messageId, 2);
});
