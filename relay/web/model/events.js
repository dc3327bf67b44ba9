/** Applies the relay's events, its answers and other tabs' news to the state; and counts unread messages. Pure. */

import {
  RANK, atEnd, deleteMessage, editMessage, findMessage, indexOf, insertMessage, markStale, messageOf, previewOf, quoteOf, requoted,
  withRoom,
} from "./messages.js";
import {
  addChats, copied, dropOutbox, enqueue, forget, learnPeople, loseChat, mergeDraft, otherMembers, patchOutbox, together,
  withChat, withEntry,
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
    });
  }
  // Answers may overtake the events of a replay, so the list may already show a later message; the count is current.
  if (event.missed !== undefined && !chat?.gone) next = readHere(next, event.chatId, 0, event.missed);
  if (event.senderName && !mine) next = learnPeople(next, [{ id: message.sender, name: event.senderName }]);
  return stopTyping(next, event.chatId, message.sender);
}

function onEdit(state, event, now) {
  return editMessage(state, event.chatId, { ...event, timestamp: event.timestamp ?? now });
}

/** Whether other messages have the ids of loaded ones: a backup was restored. */
export function differs(room, messages) {
  return messages.some(({ messageId, clientMessageId: id }) => (findMessage(room, messageId)?.clientMessageId ?? id) !== id);
}

/** Whether a message that was deleted may have been counted as unread: the event does not say how many are left. */
export function mayCount(state, { chatId, originalMessageId }) {
  const message = messageOf(state, chatId, originalMessageId);
  return state.chats.get(chatId)?.missed > 0 && message?.sender !== state.me.id;
}

function onDelete(state, event, now) {
  return deleteMessage(state, event.chatId, { ...event, timestamp: event.timestamp ?? now });
}

// ---------------------------------------------------------------- unread messages

/**
 * Others' unread messages: {first, count}, and whether none can be further up, because a read message precedes.
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

/**
 * The relay counts the last messages of a chat as unread. It may not know what was read here, if the page closed at
 * once, and the stored messages may have been read elsewhere.
 */
export function unreadHere(state, chatId, missed) {
  if (!atEnd(state, chatId)) return state;
  const messages = [...state.rooms.get(chatId).messages];
  let left = missed;
  let isChanged = false;
  for (let at = messages.length - 1; at >= 0; at -= 1) {
    const message = messages[at];
    if (message.sender === state.me.id || message.status === "deleted") continue;
    const status = left > 0 ? "unread" : "read";
    left -= 1;
    if (message.status === status) continue;
    messages[at] = { ...message, status };
    isChanged = true;
  }
  return isChanged ? withRoom(state, chatId, { messages }) : state;
}

/** Whether reading up to a loaded message reads anything unread. */
export function readsMore(state, chatId, messageId) {
  const messages = state.rooms.get(chatId)?.messages ?? [];
  for (let at = indexOf(messages, messageId + 1) - 1; at >= 0; at -= 1) {
    if (messages[at].sender !== state.me.id && messages[at].status !== "deleted") return messages[at].status !== "read";
  }
  return false;
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

// ---------------------------------------------------------------- receipts

/** Another user's `dlvrd` or `read` on my messages, or `read` of my other device. */
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
      // A receipt covers all earlier messages: stop at the first one that has it.
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
 * `delivering` names all recipients: the relay's does, and one made here starts with all other members. Later members
 * do not count.
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
  return { ...state, online: copied(state.online).add(event.userId) };
}

function onOffline(state, event, now) {
  const online = copied(state.online);
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

/** Apply events one after the other; one that fails must not block the others. */
export function applyEvents(state, frames, now, onFailure) {
  let next = state;
  return together(() => {
    for (const frame of frames) {
      try {
        next = applyEvent(next, frame, now);
      } catch (failure) {
        onFailure(failure);
      }
    }
    return next;
  });
}

/** Apply the relay's answer: the row is now a message, an edit or a deletion. */
export function applyAnswer(state, row, answer) {
  const next = dropOutbox(state, row.clientMessageId);
  // It followed its quoted message while it was pending.
  const quote = state.outbox.find((one) => one.clientMessageId === row.clientMessageId)?.replyTo ?? row.replyTo;
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
    replyTo: quote && quoteOf(next, row.chatId, quote),
    // In notes, nobody else has to get it.
    status: row.chatId === state.me.id ? "read" : "undelivered",
    type: "new",
    createdAt: answer.timestamp,
  };
  const isSure = !quote || messageOf(next, row.chatId, quote.messageId);
  const inserted = insertMessage(next, row.chatId, message);
  const withMessage = markStale(inserted, row.chatId, answer.messageId, { always: !isSure });
  const chat = withMessage.chats.get(row.chatId);
  // The list may already have it, with later changes.
  if (!chat || chat.lastMessageId >= answer.messageId) return withMessage;
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
 * Tabs share one device, so the relay does not send one tab another's actions. Tabs tell each other, and use the same
 * functions as for their own actions; ids and times make repeated and late news harmless.
 */
const isKnown = ({ me, outbox, rooms }, { chatId, clientMessageId }) =>
  outbox.some((one) => one.clientMessageId === clientMessageId) ||
  Boolean(rooms.get(chatId)?.messages.some((one) => one.clientMessageId === clientMessageId && one.sender === me.id));

const WORDS = {
  draft: (state, { key, ...draft }) => mergeDraft(state, key, draft),
  me: (state, { me }) => learnPeople({ ...state, me: { ...state.me, ...me } }, [me]),
  row: (state, { row }) => (isKnown(state, row) ? state : requoted(enqueue(state, row), row.chatId)),
  patch: (state, { clientMessageId, change: { replyTo: quote, ...change } }) => {
    const replyTo = state.outbox.find((one) => one.clientMessageId === clientMessageId)?.replyTo;
    // Each tab computes the text of a quote itself, else two tabs could correct each other forever; a deletion stays.
    const isDeleted = replyTo && quote?.status === "deleted";
    return patchOutbox(state, clientMessageId, isDeleted ? { ...change, replyTo: quote } : change);
  },
  drop: (state, { clientMessageId }) => dropOutbox(state, clientMessageId),
  sent: (state, { row, answer }) => applyAnswer(state, row, answer),
  // The relay sends each tab the unread count: the other tab's may be older.
  read: (state, { chatId, messageId }) => readHere(state, chatId, messageId, state.chats.get(chatId)?.missed),
  forgotten: (state, { chatId }) => (state.chats.get(chatId)?.gone ? forget(state, [chatId]) : state),
};

/** The state after news from another tab (storage.js); news about other things changes nothing. */
export function applyOther(state, word) {
  return Object.hasOwn(WORDS, word.kind) ? WORDS[word.kind](state, word) : state;
}

// ---------------------------------------------------------------- drafts that tabs have left on the disk

/** An empty draft is remembered this long, so that a sent text does not come back from the other store. */
const EMPTY_FOR = 24 * 3_600_000;
/** The caption of a file that was never sent: a day later it would surprise. */
const CAPTION_FOR = 24 * 3_600_000;
/** Drafts that are kept, the latest ones. */
const MOST_DRAFTS = 500;

/** Merge the drafts of both stores: the later one per key. */
export function joinDrafts(entries) {
  const drafts = new Map();
  for (const [key, draft] of entries) {
    if (typeof draft?.text !== "string") continue;
    const { text, at = 0, quote } = draft;
    if (!(drafts.get(key)?.at >= at)) drafts.set(key, quote ? { text, at, quote } : { text, at });
  }
  return drafts;
}

/** Split drafts into those to keep and the keys of those to forget. */
export function tidyDrafts(drafts, now) {
  // One of the future was written by a clock that was ahead.
  const tooOld = ([key, { text, at, quote }]) =>
    (!text && !quote && Math.abs(now - at) > EMPTY_FOR) || (key.startsWith("caption/") && Math.abs(now - at) > CAPTION_FOR);
  const latest = [...drafts].sort(([, a], [, b]) => Boolean(b.text) - Boolean(a.text) || b.at - a.at);
  const kept = latest.filter((entry) => !tooOld(entry)).slice(0, MOST_DRAFTS);
  const keys = new Set(kept.map(([key]) => key));
  return { drafts: new Map(kept), forgotten: [...drafts.keys()].filter((key) => !keys.has(key)) };
}
