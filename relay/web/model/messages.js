/** The model's messages: pages of history joined together, and changes to single messages. Pure. */

import { withChat, withEntry } from "./state.js";

/**
 * What is loaded of a chat. Messages ascend. The range `first` to `last` counts ids, not rows: edits, deletions and what the
 * relay does not show take ids too. Further:
 * `follows`: the relay has more after `last`.
 * `holes`: ids of the range that events have skipped so far: of a message of one's own that is being answered, or not shown.
 * `deleted`: ids of messages that deletions name, loaded or not.
 * `stale`: ids of loaded messages that were edited since they were loaded, as a later page tells without the new text.
 * `far`: the user jumped here, far from the end.
 */
const emptyRoom = {
  messages: [], first: 1, last: 0, atStart: false, follows: false, loaded: false, far: false,
  deleted: new Set(), holes: new Set(), stale: new Set(),
};
/** Ids that an event may skip at most, and deletions that are remembered of a chat. */
const MOST_HOLES = 500;
const MOST_DELETED = 5_000;

/** Ranks of a status: a mark that was set is never taken back. */
export const RANK = { undelivered: 0, unread: 1, read: 2 };

/** Change fields of what is loaded of a chat. */
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

/** Make the quote of a message that an answer to it begins with. */
export function asQuote({ messageId, clientMessageId, message, sender, createdAt }) {
  return { messageId, clientMessageId, message, sender, createdAt };
}

/** Give a quote as the message reads now: {messageId, sender, message?, status?}. One that is not loaded stays as it was. */
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

/** Find the newest message of a chat; undefined where the end of the chat is not loaded. */
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

/** Mark a message or its quote as deleted: of a quote the relay only omits the text, which a picture does not have either. */
function withDeletions(message, deleted) {
  if (deleted.has(message.messageId)) return message.status === "deleted" ? message : withoutContent(message);
  if (!message.replyTo || message.replyTo.status === "deleted" || !deleted.has(message.replyTo.messageId)) return message;
  return { ...message, replyTo: asDeleted(message.replyTo) };
}

/** What is left of a deleted message. */
function withoutContent(message, deletedAt) {
  return { ...message, message: undefined, attachments: undefined, replyTo: undefined, status: "deleted", deletedAt };
}

/** The first id that is not loaded and comes after one that is. */
export function nextId(room) {
  return room.holes.size > 0 ? Math.min(...room.holes) : room.last + 1;
}

/** Whether the ids from `first` to `last` go on without a gap from those that are loaded. */
function touches(room, first, last) {
  if (!room?.loaded) return false;
  // Beyond a hole that the page does not fill nothing is known to be complete.
  const next = nextId(room);
  return first <= (next < first ? next : room.last + 1) && last >= room.first - 1;
}

/** The ids that an answer to the request `messages` covers: {first, last, follows}; `follows`: there is more after it. */
function rangeOf({ startId, endId, top = 0 }, page) {
  const last = page.at(-1)?.messageId ?? 0;
  if (endId !== undefined) return { first: page.more ? page[0].messageId : 1, last: endId - 1, follows: false };
  const first = startId ?? (page.more ? page[0].messageId : 1);
  // At the end of a chat the relay shows no more of the ids that were known when it was asked.
  const follows = startId !== undefined && Boolean(page.more);
  return { first, last: follows ? last : Math.max(last, top), follows };
}

/** Whether an answer to the request `messages` goes on from what is loaded; else it replaces that. */
export function joinsRoom(state, chatId, asked, page) {
  const { first, last } = rangeOf(asked, page);
  return touches(state.rooms.get(chatId), first, last);
}

/**
 * Take in an answer to the request `messages`.
 *
 * @param {{startId?: number, endId?: number, top?: number}} asked what was asked for; `top` is the highest id that was known then
 * @param {object[]} page with `more`
 * @param {{reset?: boolean, far?: boolean}} options `reset` forgets what was loaded, `far` too: the user jumps there
 */
export function takePage(state, chatId, asked, page, { reset = false, far = false } = {}) {
  const { first, last, follows } = rangeOf(asked, page);
  return addPage(state, chatId, page, { first, last, follows, reset, far, reachesStart: first <= 1 });
}

/**
 * Take a page of history in. `messages` ascends and has all that the relay shows of the ids `first` to `last`.
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
  // A deletion comes after nearly all answers to what it takes away, so it is on this page or was loaded already.
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

/** Show in the list how far the newest message got: of a group the list does not hear it while the chat is not loaded. */
function withListStatus(state, chatId) {
  const chat = state.chats.get(chatId);
  const { status } = (chat?.isMine && messageOf(state, chatId, chat.lastMessageId)) || {};
  return RANK[status] > RANK[chat?.lastMessageStatus] ? withChat(state, chatId, { lastMessageStatus: status }) : state;
}

/** Quote messages in what waits to be sent as they read now. */
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
 * Choose between a message as it is loaded and as a page has it: what was changed later, one's own with the better mark. What
 * was read here may not have been told to the relay.
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

/** An answer came after what follows its message: that may have been changed meanwhile. `always`: what it quotes may have, too. */
export function markStale(state, chatId, messageId, { always = false } = {}) {
  const room = state.rooms.get(chatId);
  if (!findMessage(room, messageId) || (messageId === room.last && !always)) return state;
  return withRoom(state, chatId, { stale: new Set([...room.stale, messageId]) });
}

/** Ids of loaded messages that are not on this page, and that an edit on it changed after they were loaded: them or their quote. */
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

/** A mark covers all earlier messages of a chat: give those before some the marks that these have. */
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

/** Remove messages from the outbox that the relay has sent back. */
function dropDelivered(state, chatId, messages) {
  if (state.outbox.length === 0) return state;
  const known = new Set(messages.filter((one) => one.sender === state.me.id).map((one) => one.clientMessageId));
  const outbox = state.outbox.filter((row) => row.chatId !== chatId || !known.has(row.clientMessageId));
  return outbox.length === state.outbox.length ? state : { ...state, outbox };
}

/** Forget all but the newest messages of a chat: nobody reads further up just now. */
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

/** Whether the newest message of the chat is among those loaded: of a lost chat, the newest that there will be. */
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
 * The id of an event or an answer came. Returns the state in which it counts as loaded, if it goes on from what is loaded,
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
  // An answer or another tab may tell of an edit after a later one.
  const isOld = known && ((known.updatedAt ?? 0) > timestamp || (known.updatedAt === timestamp && known.editId > messageId));
  if (isOld || known?.status === "deleted") return next;
  const change = { message: text, updatedAt: timestamp, editId: messageId, ...(attachments && { attachments }) };
  const edit = (replyTo) => (replyTo.status === "deleted" || replyTo.message === text ? replyTo : { ...replyTo, message: text });
  const result = changeMessage(next, chatId, originalMessageId, (message) => ({ ...message, ...change }), edit);
  if (result.chats.get(chatId)?.lastMessageId !== originalMessageId) return result;
  const shown = messageOf(result, chatId, originalMessageId) ?? { status: result.chats.get(chatId).lastMessageStatus, ...change };
  return withChat(result, chatId, previewOf(shown));
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

/** Change one loaded message, and the quotes of it: in answers, which come after it, and in what waits to be sent. */
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

/** Give the fields of the chat list that show a chat's latest message. */
export function previewOf(message) {
  const deleted = message.status === "deleted";
  // Without words the names of the files stand there, as in the relay's own list.
  const names = (message.attachments ?? []).map((attachment) => attachment.filename).join(", ");
  return {
    lastMessageText: deleted ? "" : message.message || names,
    attachmentType: deleted ? undefined : message.attachments?.[0]?.type,
    lastMessageStatus: message.status,
  };
}
