/** The model's messages: joining pages of history, and changing single messages. Pure. */

import { withChat, withEntry } from "./state.js";

/**
 * The loaded part of a chat. Messages ascend. The range `first` to `last` counts ids, not rows: edits, deletions and
 * hidden messages take ids too. Further: `follows`: the relay has more after `last`. `holes`: ids of the range that
 * events have skipped so far: of a pending own message, or of hidden ones. `deleted`: ids of deleted messages, loaded
 * or not. `stale`: ids of loaded messages that were edited since they were loaded, as a later page tells without the
 * new text. `far`: the user jumped here, far from the end.
 */
const emptyRoom = {
  messages: [], first: 1, last: 0, atStart: false, follows: false, loaded: false, far: false,
  deleted: new Set(), holes: new Set(), stale: new Set(),
};
/** Maximum ids that an event may skip, and remembered deletions per chat. */
const MOST_HOLES = 500;
const MOST_DELETED = 5_000;

/** Ranks of a status, which never goes back. */
export const RANK = { undelivered: 0, unread: 1, read: 2 };

/** Change fields of the loaded part of a chat. */
export function withRoom(state, chatId, change) {
  const room = { ...(state.rooms.get(chatId) ?? emptyRoom), ...change };
  return { ...state, rooms: withEntry(state.rooms, chatId, room) };
}

/** Find the index of a message, or where it would be, in an ascending list. */
export function indexOf(messages, messageId) {
  let low = 0;
  let high = messages.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (messages[middle].messageId < messageId) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Find a message; undefined when it is not loaded. */
export function findMessage(room, messageId) {
  const message = room?.messages[indexOf(room.messages, messageId)];
  return message?.messageId === messageId ? message : undefined;
}

/** Find a message of a chat; undefined when it is not loaded. */
export function messageOf(state, chatId, messageId) {
  return messageId === undefined ? undefined : findMessage(state.rooms.get(chatId), messageId);
}

/** Make the quote of a message for a reply to it. */
export function asQuote({ messageId, clientMessageId, message, sender, createdAt }) {
  return { messageId, clientMessageId, message, sender, createdAt };
}

/** Return a quote with the current text: {messageId, sender, message?, status?}. One that is not loaded stays. */
export function quoteOf(state, chatId, replyTo) {
  const room = state.rooms.get(chatId);
  if (replyTo.status === "deleted" || room?.deleted.has(replyTo.messageId)) return asDeleted(replyTo);
  const message = messageOf(state, chatId, replyTo.messageId);
  if (!message) return replyTo;
  if (message.status === "deleted") return asDeleted(replyTo);
  return message.message === replyTo.message ? replyTo : { ...replyTo, message: message.message };
}

/** Find the user's last message that may be edited; null when there is none, or the end of the chat is not loaded. */
export function lastOwnEditable(state, chatId) {
  const messages = atEnd(state, chatId) ? state.rooms.get(chatId).messages : [];
  for (let at = messages.length - 1; at >= 0; at -= 1) {
    const message = messages[at];
    if (message.sender === state.me.id && message.status !== "deleted" && message.message) return message;
  }
  return null;
}

/** Find the newest message of a chat; undefined if the end of the chat is not loaded. */
export function newestShown(state, chatId) {
  return atEnd(state, chatId) ? state.rooms.get(chatId).messages.at(-1) : undefined;
}

// ---------------------------------------------------------------- pages of history

/** Split a page into messages, and edits and deletions, which have ids of their own. */
function shown(messages) {
  return messages.filter((message) => !message.type || message.type === "new");
}

/** List the ids of the messages that these deletions remove. */
function deletedBy(messages) {
  return messages.filter((one) => one.type === "delete").map((one) => one.payload?.originalMessageId);
}

/** A quote of a deleted message. */
function asDeleted(replyTo) {
  return replyTo.status === "deleted" ? replyTo : { ...replyTo, message: undefined, status: "deleted" };
}

/** Mark a message or its quote as deleted: the relay only omits a quote's text, which a picture does not have either.
 * */
function withDeletions(message, deleted) {
  if (deleted.has(message.messageId)) return message.status === "deleted" ? message : withoutContent(message);
  if (!message.replyTo || message.replyTo.status === "deleted" || !deleted.has(message.replyTo.messageId)) return message;
  return { ...message, replyTo: asDeleted(message.replyTo) };
}

/** The remains of a deleted message. */
function withoutContent(message, deletedAt) {
  return { ...message, message: undefined, attachments: undefined, replyTo: undefined, status: "deleted", deletedAt };
}

/** The first id after a loaded one that is not loaded. */
export function nextId(room) {
  return room.holes.size > 0 ? Math.min(...room.holes) : room.last + 1;
}

/** Whether the ids from `first` to `last` continue the loaded ones without a gap. */
function touches(room, first, last) {
  if (!room?.loaded) return false;
  // Nothing is known to be complete beyond a hole that the page does not fill.
  const next = nextId(room);
  return first <= (next < first ? next : room.last + 1) && last >= room.first - 1;
}

/** The ids that an answer to the request `messages` covers: {first, last, follows}; `follows`: there is more after it. */
function rangeOf({ startId, endId, top = 0 }, page) {
  const last = page.at(-1)?.messageId ?? 0;
  if (endId !== undefined) return { first: page.more ? page[0].messageId : 1, last: endId - 1, follows: false };
  const first = startId ?? (page.more ? page[0].messageId : 1);
  // At the end of a chat the relay has no more of the ids known at the request.
  const follows = startId !== undefined && Boolean(page.more);
  return { first, last: follows ? last : Math.max(last, top), follows };
}

/** Whether an answer to `messages` continues the loaded part; otherwise it replaces that. */
export function joinsRoom(state, chatId, asked, page) {
  const { first, last } = rangeOf(asked, page);
  return touches(state.rooms.get(chatId), first, last);
}

/**
 * Apply an answer to the request `messages`.
 *
 * @param {{startId?: number, endId?: number, top?: number}} asked the request; `top` is the highest id known then
 * @param {object[]} page with `more`
 * @param {{reset?: boolean, far?: boolean}} options `reset` drops the loaded part, `far` too: the user jumps there
 */
export function takePage(state, chatId, asked, page, { reset = false, far = false } = {}) {
  const { first, last, follows } = rangeOf(asked, page);
  return addPage(state, chatId, page, { first, last, follows, reset, far, reachesStart: first <= 1 });
}

/**
 * Apply a page of history. `messages` ascends and has all visible ones of the ids `first` to `last`.
 *
 * @param {object} options see `takePage`; `deleted` names further messages that were deleted
 */
export function addPage(state, chatId, messages, options = {}) {
  const { first = messages[0]?.messageId ?? 1, last = messages.at(-1)?.messageId ?? 0 } = options;
  const { reachesStart = false, follows = false, far = false, reset = far } = options;
  const room = state.rooms.get(chatId) ?? emptyRoom;
  if (last < first && room.loaded && !reset) {
    return withRoom(state, chatId, { atStart: room.atStart || (reachesStart && room.first <= first) });
  }
  const topId = state.chats.get(chatId)?.topId ?? 0;
  const joins = !reset && touches(room, first, last);
  const held = joins ? room.messages : [];
  // A deletion comes after nearly all replies to its message, so it is on this page or already loaded.
  const deleted = withIds(room.deleted, [...deletedBy(messages), ...(options.deleted ?? [])]);
  const clean = (message) => withDeletions(message, deleted);
  const came = shown(messages).map((message) => newerOf(findMessage(room, message.messageId), clean(message), state.me.id));
  const before = held.slice(0, indexOf(held, first)).map(clean);
  const after = held.slice(indexOf(held, last + 1)).map(clean);
  const rest = [...raised(came, after, state.me.id), ...after];
  const outside = (id) => id < first || id > last;
  const next = {
    loaded: true,
    deleted,
    first: joins ? Math.min(first, room.first) : first,
    last: joins ? Math.max(last, room.last) : last,
    follows: joins && room.last > last ? room.follows : follows,
    holes: joins ? new Set([...room.holes].filter(outside)) : emptyRoom.holes,
    stale: joins ? staleAfter(room, messages, outside) : emptyRoom.stale,
    messages: [...raised(before, rest, state.me.id), ...rest],
  };
  next.atStart = next.first <= 1 || (reachesStart && first <= next.first) || (joins && room.atStart);
  next.far = (far || (joins && room.far)) && (next.follows || next.last < topId);
  const result = withRoom(last > topId ? withChat(state, chatId, { topId: last }) : state, chatId, next);
  return requoted(dropDelivered(withListStatus(result, chatId), chatId, came), chatId);
}

/** Show the newest message's status in the list, which does not get it for a group that is not loaded. */
function withListStatus(state, chatId) {
  const chat = state.chats.get(chatId);
  const { status } = (chat?.isMine && messageOf(state, chatId, chat.lastMessageId)) || {};
  return RANK[status] > RANK[chat?.lastMessageStatus] ? withChat(state, chatId, { lastMessageStatus: status }) : state;
}

/** Update the quotes in pending messages. */
export function requoted(state, chatId) {
  const outbox = state.outbox.map((row) => {
    const replyTo = row.chatId === chatId && row.replyTo ? quoteOf(state, chatId, row.replyTo) : row.replyTo;
    return replyTo === row.replyTo ? row : { ...row, replyTo };
  });
  return outbox.some((row, at) => row !== state.outbox[at]) ? { ...state, outbox } : state;
}

function withIds(set, ids) {
  const fresh = ids.filter((id) => !set.has(id));
  return fresh.length === 0 ? set : new Set([...set, ...fresh].slice(-MOST_DELETED));
}

/**
 * Choose between the loaded version of a message and a page's: the later change, of mine the higher status.
 * The relay may not know what was read here.
 */
function newerOf(known, message, me) {
  if (!known) return message;
  if (message.status === "deleted" && known.status !== "deleted") return message;
  if (known.status === "deleted" || (known.updatedAt ?? 0) > (message.updatedAt ?? 0)) return known;
  const better = message.sender === me && RANK[known.status] > RANK[message.status];
  const next = better ? { ...message, status: known.status, delivering: known.delivering } : message;
  const { editId, ...rest } = known;
  // The same object again, so that its view is not rendered again.
  return JSON.stringify(rest) === JSON.stringify(next) ? known : next;
}

/** An answer came after later messages, so its message may have changed meanwhile. `always`: its quote, too. */
export function markStale(state, chatId, messageId, { always = false } = {}) {
  const room = state.rooms.get(chatId);
  if (!findMessage(room, messageId) || (messageId === room.last && !always)) return state;
  return withRoom(state, chatId, { stale: new Set([...room.stale, messageId]) });
}

/** Ids of loaded messages, not on this page, that an edit on it changed since: them or their quotes. */
function staleAfter(room, page, outside) {
  const stale = new Set([...room.stale].filter(outside));
  const edited = new Set();
  for (const { messageId, type, payload, createdAt } of page) {
    if (type !== "edit") continue;
    const message = outside(payload.originalMessageId) && findMessage(room, payload.originalMessageId);
    if (message && message.status !== "deleted" && (message.updatedAt ?? 0) < createdAt) stale.add(message.messageId);
    if (messageId > room.last || room.holes.has(messageId)) edited.add(payload.originalMessageId);
  }
  if (edited.size === 0) return stale;
  for (const { messageId, replyTo } of room.messages) if (edited.has(replyTo?.messageId) && outside(messageId)) stale.add(messageId);
  return stale;
}

/** A mark covers all earlier messages of a chat: apply the marks of `page` to those before it. */
function raised(before, page, me) {
  let messages = before;
  for (const isMine of [true, false]) {
    const counts = (message) => (message.sender === me) === isMine && message.status !== "deleted";
    const status = page.find(counts)?.status;
    if (RANK[status] === undefined) continue;
    for (let at = before.length - 1; at >= 0; at -= 1) {
      if (!counts(before[at])) continue;
      if (!(RANK[status] > RANK[before[at].status])) break;
      if (messages === before) messages = [...before];
      messages[at] = { ...before[at], status };
    }
  }
  return messages;
}

/** Remove messages from the outbox that the relay has returned. */
function dropDelivered(state, chatId, messages) {
  if (state.outbox.length === 0) return state;
  const known = new Set(messages.filter((one) => one.sender === state.me.id).map((one) => one.clientMessageId));
  const outbox = state.outbox.filter((row) => row.chatId !== chatId || !known.has(row.clientMessageId));
  return outbox.length === state.outbox.length ? state : { ...state, outbox };
}

/** Forget all but the newest messages of a chat: nobody is reading further up. */
export function trim(state, chatId, kept) {
  const room = state.rooms.get(chatId);
  if (!room || room.messages.length <= kept) return state;
  const messages = room.messages.slice(-kept);
  const first = messages[0].messageId;
  const [holes, stale] = [room.holes, room.stale].map((ids) => new Set([...ids].filter((id) => id >= first)));
  return withRoom(state, chatId, { messages, first, holes, stale, atStart: first <= 1 });
}

/** Forget the loaded part of a chat that is far from its end: the user opens the chat again. */
export function leaveFar(state, chatId) {
  const room = state.rooms.get(chatId);
  if (!room?.loaded) return state;
  if (atEnd(state, chatId)) return room.far ? withRoom(state, chatId, { far: false }) : state;
  return withRoom(state, chatId, { ...emptyRoom, deleted: room.deleted });
}

/** Whether the newest message of the chat is among those loaded: for a lost chat, the last one ever. */
export function atEnd(state, chatId) {
  const room = state.rooms.get(chatId);
  const chat = state.chats.get(chatId);
  return Boolean(room?.loaded) && (Boolean(chat?.gone) || (!room.follows && room.last >= (chat?.topId ?? 0)));
}

/** Whether the end of a chat is loaded without a gap, so that it may be shown before the relay is asked. */
export function isWhole(state, chatId) {
  const room = state.rooms.get(chatId);
  return atEnd(state, chatId) && room.last >= room.first && room.holes.size === 0 && room.stale.size === 0;
}

// ---------------------------------------------------------------- single messages

/**
 * Note the id of an event or an answer. Returns the state in which it counts as loaded if it continues the loaded part,
 * and whether it does.
 */
function arrived(state, chatId, messageId) {
  const room = state.rooms.get(chatId);
  const topId = state.chats.get(chatId)?.topId ?? 0;
  const next = messageId > topId ? withChat(state, chatId, { topId: messageId }) : state;
  if (!room?.loaded || messageId < room.first) return [next, false];
  if (messageId <= room.last) {
    if (!room.holes.has(messageId)) return [next, true];
    return [withRoom(next, chatId, { holes: new Set([...room.holes].filter((id) => id !== messageId)) }), true];
  }
  const skipped = messageId - room.last - 1;
  if (skipped > 0 && (room.follows || room.last < topId || room.holes.size + skipped > MOST_HOLES)) return [next, false];
  const ids = Array.from({ length: skipped }, (_, at) => room.last + 1 + at);
  const holes = skipped > 0 ? new Set([...room.holes, ...ids]) : room.holes;
  return [withRoom(next, chatId, { last: messageId, holes }), true];
}

/** Insert a new message: from an event, or the user's own from its response. */
export function insertMessage(state, chatId, message) {
  let [next, follows] = arrived(state, chatId, message.messageId);
  const room = next.rooms.get(chatId);
  if (follows) {
    const at = indexOf(room.messages, message.messageId);
    const known = findMessage(room, message.messageId);
    const fresh = newerOf(known, withDeletions(message, room.deleted), state.me.id);
    const messages = [...room.messages];
    messages.splice(at, known ? 1 : 0, fresh);
    next = withRoom(next, chatId, { messages });
  }
  return dropDelivered(next, chatId, [message]);
}

/** A message was edited: {messageId, originalMessageId, message, attachments?, timestamp}. */
export function editMessage(state, chatId, { messageId, originalMessageId, message: text, attachments, timestamp }) {
  const [next] = arrived(state, chatId, messageId);
  const known = messageOf(next, chatId, originalMessageId);
  // An answer or another tab may report an edit after a later one.
  const isOld = known && ((known.updatedAt ?? 0) > timestamp || (known.updatedAt === timestamp && known.editId > messageId));
  if (isOld || known?.status === "deleted") return next;
  const change = { message: text, updatedAt: timestamp, editId: messageId, ...(attachments && { attachments }) };
  const edit = (replyTo) => (replyTo.status === "deleted" || replyTo.message === text ? replyTo : { ...replyTo, message: text });
  const result = changeMessage(next, chatId, originalMessageId, (message) => ({ ...message, ...change }), edit);
  const chat = result.chats.get(chatId);
  if (chat?.lastMessageId !== originalMessageId) return result;
  // The list may have a better mark than this tab has.
  const { lastMessageStatus: status } = chat;
  return withChat(result, chatId, { ...previewOf({ status, ...(messageOf(result, chatId, originalMessageId) ?? change) }), lastMessageStatus: status });
}

/** A message was deleted: {messageId, originalMessageId}. */
export function deleteMessage(state, chatId, { messageId, originalMessageId, timestamp }) {
  let [next] = arrived(state, chatId, messageId);
  const { deleted } = next.rooms.get(chatId) ?? emptyRoom;
  next = withRoom(next, chatId, { deleted: withIds(deleted, [originalMessageId]) });
  next = changeMessage(next, chatId, originalMessageId, (message) => withoutContent(message, timestamp), asDeleted);
  if (next.chats.get(chatId)?.lastMessageId !== originalMessageId) return next;
  return withChat(next, chatId, previewOf({ status: "deleted" }));
}

/** Change one loaded message, and the quotes of it: in later replies, and in pending messages. */
function changeMessage(state, chatId, messageId, change, quote) {
  const room = state.rooms.get(chatId) ?? emptyRoom;
  const requote = (one) => {
    const replyTo = one.replyTo?.messageId === messageId ? quote(one.replyTo) : one.replyTo;
    return replyTo === one.replyTo ? one : { ...one, replyTo };
  };
  let messages = null;
  for (let at = indexOf(room.messages, messageId); at < room.messages.length; at += 1) {
    const message = room.messages[at];
    const next = message.messageId === messageId ? change(message) : requote(message);
    if (next === message) continue;
    messages ??= [...room.messages];
    messages[at] = next;
  }
  const next = messages ? withRoom(state, chatId, { messages }) : state;
  const outbox = state.outbox.map((row) => (row.chatId === chatId ? requote(row) : row));
  return outbox.some((row, at) => row !== state.outbox[at]) ? { ...next, outbox } : next;
}

/** Return the chat list's fields for a chat's latest message. */
export function previewOf(message) {
  const deleted = message.status === "deleted";
  // Without text, the files' names, as in the relay's own list.
  const names = (message.attachments ?? []).map((attachment) => attachment.filename).join(", ");
  return {
    lastMessageText: deleted ? "" : message.message || names,
    attachmentType: deleted ? undefined : message.attachments?.[0]?.type,
    lastMessageStatus: message.status,
  };
}
