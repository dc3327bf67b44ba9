/**
 * Makes the visible rows of messages: day separators, the "N new" divider, groups of one person, and the outbox at the
 * end. Pure.
 */
import { messageOf, quoteOf } from "./messages.js";

/** Messages of one person within this time form a group. */
export const GROUP_WITHIN = 5 * 60_000;

function dayOf(timestamp) {
  const date = new Date(timestamp);
  return date.getFullYear() * 10_000 + date.getMonth() * 100 + date.getDate();
}

/** Whether two messages of one day that follow each other belong together. */
function grouped(before, after) {
  return before?.sender === after.sender && after.createdAt - before.createdAt < GROUP_WITHIN;
}

/** A row waiting in the outbox, in the shape of a message. */
export function waitingMessage(state, row) {
  return {
    clientMessageId: row.clientMessageId,
    sender: state.me.id,
    message: row.message,
    attachments: row.attachments,
    files: row.files,
    replyTo: row.replyTo && quoteOf(state, row.chatId, row.replyTo),
    createdAt: row.createdAt,
    state: row.state,
    failure: row.failure,
  };
}

/** Find a drawn message by its id or, while pending, by its client id; undefined if it is gone. */
export function drawnMessage(state, { chatId, messageId, clientMessageId }) {
  const message = messageOf(state, chatId, messageId);
  if (message) return withChange(message, waitingChanges(state.outbox, chatId).get(messageId));
  if (messageId !== undefined || clientMessageId === undefined) return undefined;
  const row = state.outbox.find((one) => one.clientMessageId === clientMessageId);
  if (row) return waitingMessage(state, row);
  // It was sent meanwhile.
  return state.rooms.get(chatId)?.messages.findLast((one) => one.sender === state.me.id && one.clientMessageId === clientMessageId);
}

/** Edits and deletions that wait in the outbox, by the message they change. */
export function waitingChanges(outbox, chatId) {
  const changes = new Map();
  for (const row of outbox) {
    if (row.chatId === chatId && row.kind !== "new") changes.set(row.originalMessageId, row);
  }
  return changes;
}

/**
 * The rows of a chat that are drawn: its loaded messages from index `start` to `end`, and pending ones, if `waiting`;
 * other options see `buildRows`.
 */
export function drawnRows(state, chatId, { start, end, waiting, ...options }) {
  const messages = state.rooms.get(chatId)?.messages ?? [];
  const slice = messages.slice(start, end);
  if (waiting) slice.push(...waitingRows(state, chatId).map((row) => waitingMessage(state, row)));
  const changes = waitingChanges(state.outbox, chatId);
  return buildRows(slice, { before: messages[start - 1], me: state.me.id, changes, ...options });
}

/** The pending messages of a chat. */
export function waitingRows(state, chatId) {
  return state.outbox.filter((row) => row.chatId === chatId && row.kind === "new");
}

/** A message with its pending edits and deletions applied. */
function withChange(message, row) {
  if (!row) return message;
  const change = { changing: row.state, failure: row.failure, changeId: row.clientMessageId };
  if (row.state === "failed") return { ...message, ...change };
  if (row.kind === "delete") return { ...message, message: undefined, attachments: undefined, status: "deleted", ...change };
  return { ...message, message: row.message, updatedAt: row.createdAt, ...change };
}

/**
 * Rows for a slice of messages.
 *
 * @param {object[]} messages ascending
 * @param {object} options
 * @param {object=} options.before the message before the slice, for grouping
 * @param {string} options.me own user id
 * @param {number=} options.dividerId the first message that was new when the chat was opened
 * @param {number=} options.dividerCount
 * @param {Map} options.changes from waitingChanges
 * @returns {object[]} {type: "day", key, timestamp} | {type: "new", key, count} |
 *   {type: "message", key, message, mine, starts, ends}
 */
export function buildRows(messages, { before, me, dividerId, dividerCount, changes = new Map() }) {
  const rows = [];
  let previous = before;
  let last = null;
  for (const original of messages) {
    let message = withChange(original, changes.get(original.messageId));
    // Pending messages have this device's time, which may be behind the relay's.
    if (message.state && previous && message.createdAt < previous.createdAt) {
      message = { ...message, createdAt: previous.createdAt };
    }
    const day = dayOf(message.createdAt);
    const newDay = previous === undefined || dayOf(previous.createdAt) !== day;
    if (newDay) rows.push({ type: "day", key: `day${day}`, timestamp: message.createdAt });
    const divides = dividerId !== undefined && message.messageId === dividerId;
    if (divides) rows.push({ type: "new", key: "new", count: dividerCount });
    const starts = newDay || divides || !grouped(previous, message);
    if (last && starts) last.ends = true;
    last = {
      type: "message",
      key: `${message.sender}/${message.clientMessageId}`,
      message,
      mine: message.sender === me,
      starts,
      ends: false,
    };
    rows.push(last);
    previous = message;
  }
  if (last) last.ends = true;
  return rows;
}

/** Whether the loaded part goes past the place of a message without it. */
export function isGone(state, chatId, messageId) {
  const room = state.rooms.get(chatId);
  return Boolean(room?.loaded) && messageId <= room.last && (room.atStart || messageId >= room.first) && !messageOf(state, chatId, messageId);
}
