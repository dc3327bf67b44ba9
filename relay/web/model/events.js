/** What the relay's events, and its answers to what was sent, make of the state. Pure. */

import {
  advance, changeMessage, findMessage, indexOf, insertMessage, latestShown, previewOf, quoteOf, readHere, withRoom,
} from "./messages.js";
import {
  addChats, dropOutbox, enqueue, forget, learnPeople, loseChat, mergeDraft, otherMembers, patchOutbox, withChat, withEntry,
} from "./state.js";

// ---------------------------------------------------------------- messages

function onNew(state, event, now) {
  const message = {
    messageId: event.messageId,
    clientMessageId: event.clientMessageId,
    sender: event.sender ?? event.chatId,
    message: event.message,
    attachments: event.attachments,
    replyTo: event.replyTo,
    status: event.status,
    type: "new",
    createdAt: event.timestamp ?? now,
  };
  const mine = message.sender === state.me.id;
  let next = insertMessage(state, event.chatId, message);
  const chat = next.chats.get(event.chatId);
  if (chat && event.messageId >= chat.lastMessageId) {
    next = withChat(next, event.chatId, {
      ...previewOf(message),
      lastMessageId: event.messageId,
      lastMessageTime: message.createdAt,
      lastMessageAuthor: message.sender,
      isMine: mine,
      missed: event.missed ?? chat.missed,
    });
  }
  if (event.senderName && !mine) next = learnPeople(next, [{ id: message.sender, name: event.senderName }]);
  return stopTyping(next, event.chatId, message.sender);
}

function onEdit(state, event, now) {
  let next = advance(state, event.chatId, event.messageId);
  const changed = { message: event.message, updatedAt: event.timestamp ?? now };
  if (event.attachments) changed.attachments = event.attachments;
  if (latestShown(next, event.chatId) === event.originalMessageId) {
    next = withChat(next, event.chatId, { lastMessageText: event.message ?? "" });
  }
  return changeMessage(next, event.chatId, event.originalMessageId, () => changed);
}

function onDelete(state, event, now) {
  let next = advance(state, event.chatId, event.messageId);
  if (latestShown(next, event.chatId) === event.originalMessageId) {
    next = withChat(next, event.chatId, { lastMessageText: "", attachmentType: undefined, lastMessageStatus: "deleted" });
  }
  const room = next.rooms.get(event.chatId);
  if (room) next = withRoom(next, event.chatId, { deleted: new Set(room.deleted).add(event.originalMessageId) });
  return changeMessage(next, event.chatId, event.originalMessageId, () => ({
    message: undefined,
    attachments: undefined,
    replyTo: undefined,
    status: "deleted",
    deletedAt: now,
  }));
}

// ---------------------------------------------------------------- receipts

const RANK = { undelivered: 0, unread: 1, read: 2 };

/** `dlvrd` and `read` of somebody else on one's own messages, or `read` of one's own other device. */
function onMark(kind) {
  return (state, event) => {
    const reader = event.userId ?? event.chatId;
    if (reader === state.me.id) {
      if (kind !== "read") return state;
      const next = readHere(state, event.chatId, event.messageId, event.missed);
      return next;
    }
    return markOwn(state, event.chatId, reader, event.messageId, kind, event.timestamp);
  };
}

function markOwn(state, chatId, reader, messageId, kind, timestamp) {
  const room = state.rooms.get(chatId);
  const chat = state.chats.get(chatId);
  const group = chat && chat.type !== "dialog";
  const members = group ? otherMembers(state, chatId) : null;
  let next = state;
  if (room) {
    let messages = null;
    for (let at = indexOf(room.messages, messageId + 1) - 1; at >= 0; at -= 1) {
      const message = room.messages[at];
      if (message.sender !== state.me.id || message.status === "deleted") continue;
      const marked = group
        ? markInGroup(message, reader, kind, timestamp, members)
        : markInDialog(message, kind);
      // A receipt covers all earlier messages: stop at the first that has it already.
      if (marked === message) break;
      messages ??= [...room.messages];
      messages[at] = marked;
    }
    if (messages) next = withRoom(next, chatId, { messages });
  }
  if (chat?.isMine && chat.lastMessageId <= messageId) {
    const last = findMessage(next.rooms.get(chatId), chat.lastMessageId);
    const status = last?.status ?? (group ? chat.lastMessageStatus : kind === "read" ? "read" : "unread");
    if (RANK[status] > (RANK[chat.lastMessageStatus] ?? -1)) {
      next = withChat(next, chatId, { lastMessageStatus: status });
    }
  }
  return next;
}

function markInDialog(message, kind) {
  const status = kind === "read" ? "read" : "unread";
  return RANK[status] > RANK[message.status] ? { ...message, status } : message;
}

/*
 * The list in `delivering` names everybody the message was for: the relay's does, and one made here starts with all
 * other members. Who joined later is not waited for.
 */
function markInGroup(message, reader, kind, timestamp, members) {
  const waiting = message.delivering ?? members?.map((userId) => ({ userId }));
  const entry = waiting?.find((one) => one.userId === reader);
  if (!entry || entry[kind]) return message;
  const marked = { ...entry, [kind]: timestamp };
  if (kind === "read") marked.dlvrd ??= timestamp;
  const delivering = waiting.map((one) => (one === entry ? marked : one));
  const all = (mark) => delivering.every((one) => one[mark]);
  const status = all("read") ? "read" : all("dlvrd") ? "unread" : "undelivered";
  return { ...message, delivering, status: RANK[status] > RANK[message.status] ? status : message.status };
}

// ---------------------------------------------------------------- presence and typing

/** Typing ends after so many ms without a repeat: the relay sends `stop` after 6 s, and that may be lost. */
export const TYPING_LASTS = 8_000;

function onOnline(state, event) {
  if (state.online.has(event.userId)) return state;
  return { ...state, online: new Set(state.online).add(event.userId) };
}

function onOffline(state, event, now) {
  const online = new Set(state.online);
  online.delete(event.userId);
  let next = { ...state, online };
  for (const chatId of state.typing.keys()) next = stopTyping(next, chatId, event.userId);
  return learnPeople(next, [{ id: event.userId, lastSeen: now }]);
}

function onTyping(state, event, now) {
  const chatId = event.chatId ?? event.userId;
  if (event.stop) return stopTyping(state, chatId, event.userId);
  const typists = new Map(state.typing.get(chatId)).set(event.userId, now + TYPING_LASTS);
  return { ...state, typing: withEntry(state.typing, chatId, typists) };
}

function stopTyping(state, chatId, userId) {
  const typists = state.typing.get(chatId);
  if (!typists?.has(userId)) return state;
  const left = withEntry(typists, userId, undefined);
  return { ...state, typing: withEntry(state.typing, chatId, left.size > 0 ? left : undefined) };
}

/** Remove typing users whose `stop` was lost. */
export function expireTyping(state, now) {
  let next = state;
  for (const [chatId, typists] of state.typing) {
    for (const [userId, until] of typists) if (until <= now) next = stopTyping(next, chatId, userId);
  }
  return next;
}

/** Clear presence and typing: without a connection they are unknown until the relay sends them again. */
export function disconnected(state) {
  if (!state.connected && state.online.size === 0 && state.typing.size === 0) return state;
  return { ...state, connected: false, online: new Set(), typing: new Map() };
}

// ---------------------------------------------------------------- events and answers

const EVENTS = {
  new: onNew,
  chat: (state, { item }) => addChats(state, [item]),
  chatGone: loseChat,
  edit: onEdit,
  delete: onDelete,
  dlvrd: onMark("dlvrd"),
  read: onMark("read"),
  online: onOnline,
  offline: onOffline,
  typing: onTyping,
};

/** The state after an event of the relay; an unknown one changes nothing. */
export function applyEvent(state, frame, now) {
  const handler = EVENTS[frame.eventType];
  return handler ? handler(state, frame.payload, frame.timestamp ?? now) : state;
}

/** The relay answered: the row is a message, an edit or a deletion now. */
export function applyAnswer(state, row, answer) {
  const next = dropOutbox(state, row.clientMessageId);
  const event = { chatId: row.chatId, messageId: answer.messageId, originalMessageId: row.originalMessageId };
  if (row.kind === "edit") return onEdit(next, { ...event, message: row.message, timestamp: answer.timestamp });
  if (row.kind === "delete") return onDelete(next, event, answer.timestamp);
  const known = findMessage(next.rooms.get(row.chatId), answer.messageId);
  if (known) return next;
  const message = {
    messageId: answer.messageId,
    clientMessageId: row.clientMessageId,
    sender: state.me.id,
    message: row.message || undefined,
    attachments: row.attachments,
    replyTo: row.replyTo && quoteOf(next, row.chatId, row.replyTo),
    status: "undelivered",
    type: "new",
    createdAt: answer.timestamp,
  };
  const withMessage = insertMessage(next, row.chatId, message);
  const chat = withMessage.chats.get(row.chatId);
  if (!chat || chat.lastMessageId > answer.messageId) return withMessage;
  return withChat(withMessage, row.chatId, {
    ...previewOf(message),
    lastMessageId: answer.messageId,
    lastMessageTime: answer.timestamp,
    lastMessageAuthor: state.me.id,
    isMine: true,
  });
}

// ---------------------------------------------------------------- other tabs

/*
 * Tabs share one device, so the relay does not tell one tab what another did. Tabs tell each other, and apply it with the
 * same functions as what they do themselves; ids and times make repeated and late words harmless.
 */
const WORDS = {
  draft: (state, { key, text, at }) => mergeDraft(state, key, { text, at }),
  row: (state, { row }) => (state.outbox.some((one) => one.clientMessageId === row.clientMessageId) ? state : enqueue(state, row)),
  patch: (state, { clientMessageId, change }) => patchOutbox(state, clientMessageId, change),
  drop: (state, { clientMessageId }) => dropOutbox(state, clientMessageId),
  sent: (state, { row, answer }) => applyAnswer(state, row, answer),
  read: (state, { chatId, messageId, missed }) => readHere(state, chatId, messageId, missed),
  forgotten: (state, { chatId }) => (state.chats.get(chatId)?.gone ? forget(state, [chatId]) : state),
};

/** The state after a word of another tab (storage.js); one that is not about the state changes nothing. */
export function applyOther(state, word) {
  return Object.hasOwn(WORDS, word.kind) ? WORDS[word.kind](state, word) : state;
}
