/** The model's messages: pages of history joined together, what is unread, and changes to single messages. Pure. */

import { withChat, withEntry } from "./state.js";

/** `deleted`: ids of messages that loaded deletions name. */
const emptyRoom = { messages: [], first: 0, last: 0, atStart: false, loaded: false, deleted: new Set() };

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
  const message = messageOf(state, chatId, replyTo.messageId);
  if (!message) return replyTo;
  if (message.status === "deleted") return { ...replyTo, message: undefined, status: "deleted" };
  return message.message === replyTo.message ? replyTo : { ...replyTo, message: message.message };
}

/** Find the user's last message that may be edited; null when there is none. */
export function lastOwnEditable(state, chatId) {
  const messages = state.rooms.get(chatId)?.messages ?? [];
  for (let at = messages.length - 1; at >= 0; at -= 1) {
    const message = messages[at];
    if (message.sender === state.me.id && message.status !== "deleted" && message.message) return message;
  }
  return null;
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

/** Mark a quote as deleted: the relay only omits its text, which a quoted picture does not have either. */
function withQuote(message, deleted) {
  if (!message.replyTo || message.replyTo.status === "deleted" || !deleted.has(message.replyTo.messageId)) return message;
  return { ...message, replyTo: { ...message.replyTo, message: undefined, status: "deleted" } };
}

/**
 * Take a page of history in. `messages` ascends and has no gaps, edits and deletions included.
 *
 * @param {{reachesStart?: boolean, reset?: boolean}} options `reset` forgets what was loaded (a jump far away)
 */
export function addPage(state, chatId, messages, { reachesStart = false, reset = false } = {}) {
  const room = (reset ? undefined : state.rooms.get(chatId)) ?? emptyRoom;
  if (messages.length === 0) {
    return withRoom(state, chatId, { ...room, loaded: true, atStart: room.atStart || reachesStart });
  }
  const first = messages[0].messageId;
  const last = messages.at(-1).messageId;
  const touches = room.messages.length > 0 && first <= room.last + 1 && last >= room.first - 1;
  // A deletion comes after every answer to what it takes away, so it is on this page or was loaded already.
  const deleted = new Set([...room.deleted, ...deletedBy(messages)]);
  const page = shown(messages).map((message) => withQuote(message, deleted));
  const next = {
    loaded: true,
    deleted,
    first,
    last,
    messages: page,
    atStart: reachesStart || first <= 1,
  };
  if (touches) {
    next.first = Math.min(first, room.first);
    next.last = Math.max(last, room.last);
    next.atStart = (first <= room.first ? reachesStart : false) || room.atStart || next.first <= 1;
    next.messages = [
      ...room.messages.slice(0, indexOf(room.messages, first)).map((message) => withQuote(message, deleted)),
      ...keepIdentity(room.messages, page),
      ...room.messages.slice(indexOf(room.messages, last + 1)),
    ];
  }
  let result = withRoom(state, chatId, next);
  const topId = result.chats.get(chatId)?.topId ?? 0;
  if (last > topId) result = withChat(result, chatId, { topId: last });
  return dropDelivered(result, chatId, page);
}

/** Keep the loaded object of each message that the page repeats unchanged, so that its view is not rendered again. */
function keepIdentity(held, page) {
  return page.map((message) => {
    const known = held[indexOf(held, message.messageId)];
    if (known?.messageId !== message.messageId) return message;
    return JSON.stringify(known) === JSON.stringify(message) ? known : message;
  });
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
  return withRoom(state, chatId, { messages, first: messages[0].messageId, atStart: false });
}

/** Whether the newest message of the chat is among those loaded: of a lost chat, the newest that there will be. */
export function atEnd(state, chatId) {
  const room = state.rooms.get(chatId);
  const chat = state.chats.get(chatId);
  return Boolean(room?.loaded) && (Boolean(chat?.gone) || room.last >= (chat?.topId ?? 0));
}

// ---------------------------------------------------------------- unread messages

/**
 * What somebody else wrote and one has not read yet: {first, count}, and whether nothing unread can be further up,
 * because a message that is read stands before it.
 *
 * @param {object[]} messages ascending, as loaded or as a page of the relay
 */
export function unreadAmong(messages, me) {
  let first;
  let count = 0;
  for (let at = messages.length - 1; at >= 0; at -= 1) {
    const message = messages[at];
    if (message.sender === me || message.status === "deleted" || (message.type ?? "new") !== "new") continue;
    if (message.status === "read") return { first, count, bounded: true };
    first = message.messageId;
    count += 1;
  }
  return { first, count, bounded: false };
}

/** Whether these messages hold the first unread one of the chat, when `missed` are unread in all. */
export function reachesUnread(messages, me, missed) {
  const { count, bounded } = unreadAmong(messages, me);
  return bounded || count >= missed || messages[0]?.messageId === 1;
}

/** Mark a chat as read by the user up to `messageId`; `missed` is the number still unread, if known. */
export function readHere(state, chatId, messageId, missed) {
  const room = state.rooms.get(chatId);
  let next = state;
  if (room) {
    let messages = null;
    let newlyRead = 0;
    const upTo = messageId ?? Infinity;
    for (let at = Math.min(room.messages.length, indexOf(room.messages, upTo + 1)) - 1; at >= 0; at -= 1) {
      const message = room.messages[at];
      if (message.sender === state.me.id || message.status === "deleted") continue;
      if (message.status === "read") break;
      messages ??= [...room.messages];
      messages[at] = { ...message, status: "read" };
      newlyRead += 1;
    }
    if (messages) next = withRoom(next, chatId, { messages });
    missed ??= Math.max(0, (state.chats.get(chatId)?.missed ?? 0) - newlyRead);
  }
  const chat = state.chats.get(chatId);
  if (chat && missed !== undefined && chat.missed !== missed) next = withChat(next, chatId, { missed });
  return next;
}

// ---------------------------------------------------------------- single messages

/** Insert a new message: from an event, or the user's own from its response. */
export function insertMessage(state, chatId, message) {
  const room = state.rooms.get(chatId);
  const topId = state.chats.get(chatId)?.topId ?? 0;
  let next = message.messageId > topId ? withChat(state, chatId, { topId: message.messageId }) : state;
  if (room?.loaded) {
    const follows = room.last + 1 >= message.messageId || room.last === topId || room.messages.length === 0;
    if (follows && message.messageId >= room.first) {
      const at = indexOf(room.messages, message.messageId);
      const replaces = room.messages[at]?.messageId === message.messageId;
      // At the end, where nearly all belong, one copy is enough.
      const messages =
        at === room.messages.length
          ? room.messages.concat(message)
          : room.messages.slice(0, at).concat(message, room.messages.slice(replaces ? at + 1 : at));
      next = withRoom(next, chatId, {
        messages,
        first: room.first || message.messageId,
        last: Math.max(room.last, message.messageId),
      });
    }
  }
  return dropDelivered(next, chatId, [message]);
}

/** Move the latest id of a chat on to that of an edit or a deletion. */
export function advance(state, chatId, messageId) {
  const chat = state.chats.get(chatId);
  const room = state.rooms.get(chatId);
  let next = chat && messageId > chat.topId ? withChat(state, chatId, { topId: messageId }) : state;
  if (room?.loaded && messageId > room.last && (room.last + 1 >= messageId || room.last === chat?.topId)) {
    next = withRoom(next, chatId, { last: messageId });
  }
  return next;
}

/** Change one loaded message, and the quotes of it. */
export function changeMessage(state, chatId, messageId, change) {
  const room = state.rooms.get(chatId);
  if (!room) return state;
  let changed = false;
  const messages = room.messages.map((message) => {
    if (message.messageId === messageId) {
      changed = true;
      return { ...message, ...change(message) };
    }
    if (message.replyTo?.messageId === messageId) {
      changed = true;
      const { message: text, status } = change(message);
      const replyTo = { ...message.replyTo, message: text };
      if (status) replyTo.status = status;
      return { ...message, replyTo };
    }
    return message;
  });
  return changed ? withRoom(state, chatId, { messages }) : state;
}

/** Give the id of the latest message that is loaded, or that the list shows. */
export function latestShown(state, chatId) {
  const room = state.rooms.get(chatId);
  return room?.messages.at(-1)?.messageId ?? state.chats.get(chatId)?.lastMessageId;
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
