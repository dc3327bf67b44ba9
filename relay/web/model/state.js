/**
 * The model: chats, messages, receipts, presence, typing, drafts, outbox. Every function takes a state and
 * returns the next one, sharing what did not change, so that a view can tell by identity what to render again.
 *
 * Pure: no browser, no clock, no socket. Names are the protocol's.
 */

import { lookAlikes } from "./text.js";

/** Typing ends after so many ms without a repeat: the relay sends `stop` after 6 s, and that may be lost. */
export const TYPING_LASTS = 8_000;

/** Make an empty state for the signed-in user: {id, name, admin}. */
export function initial(me) {
  return {
    me,
    chats: new Map(),
    rooms: new Map(),
    details: new Map(),
    people: new Map([[me.id, { id: me.id, name: me.name }]]),
    online: new Set(),
    typing: new Map(),
    drafts: new Map(),
    outbox: [],
  };
}

/** `deleted`: ids of messages that loaded deletions name. */
const emptyRoom = { messages: [], first: 0, last: 0, atStart: false, loaded: false, deleted: new Set() };

function withEntry(map, key, value) {
  const copy = new Map(map);
  if (value === undefined) copy.delete(key);
  else copy.set(key, value);
  return copy;
}

function withRoom(state, chatId, change) {
  const room = { ...(state.rooms.get(chatId) ?? emptyRoom), ...change };
  return { ...state, rooms: withEntry(state.rooms, chatId, room) };
}

function withChat(state, chatId, change) {
  const chat = state.chats.get(chatId);
  return chat ? { ...state, chats: withEntry(state.chats, chatId, { ...chat, ...change }) } : state;
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
export function find(room, messageId) {
  const message = room?.messages[indexOf(room.messages, messageId)];
  return message?.messageId === messageId ? message : undefined;
}

// ---------------------------------------------------------------- people

/** Learn names and pictures from profiles or parts of them. */
export function learnPeople(state, profiles) {
  const people = new Map(state.people);
  let changed = false;
  for (const profile of profiles) {
    const known = people.get(profile.id);
    const next = { ...known, ...profile };
    if (known && Object.keys(next).every((key) => next[key] === known[key])) continue;
    people.set(profile.id, next);
    changed = true;
  }
  return changed ? { ...state, people } : state;
}

/** Give the name of a user, and the id after it where there is a look-alike name. */
export function tellOf(state, userId) {
  const name = nameOf(state, userId);
  return lookAlikes(state.people).has(userId) ? `${name} @${userId}` : name;
}

/** Give the name of a user. */
export function nameOf(state, userId) {
  const chat = state.chats.get(userId);
  return state.people.get(userId)?.name || (chat?.type === "dialog" && chat.name) || userId;
}

// ---------------------------------------------------------------- chats

/** Apply the whole chat list. A chat that is absent is gone with its messages. */
export function setChats(state, list) {
  const chats = new Map();
  const people = [];
  for (const item of list) {
    const known = state.chats.get(item.id);
    const topId = Math.max(item.lastMessageId, known?.topId ?? 0);
    const next = { missed: 0, ...item, topId };
    if (known?.attachmentType && known.lastMessageId === item.lastMessageId) {
      next.attachmentType = known.attachmentType;
    }
    chats.set(item.id, known && sameItem(known, next) ? known : next);
    if (item.type === "dialog") people.push(dialogPerson(item));
  }
  const gone = [...state.rooms.keys()].filter((id) => state.chats.has(id) && !chats.has(id));
  let next = { ...state, chats };
  if (gone.length > 0) {
    const rooms = new Map(state.rooms);
    const details = new Map(state.details);
    for (const id of gone) {
      rooms.delete(id);
      details.delete(id);
    }
    next = { ...next, rooms, details, outbox: state.outbox.filter((row) => !gone.includes(row.chatId)) };
  }
  return learnPeople(next, people);
}

function dialogPerson(item) {
  const person = { id: item.id, name: item.name };
  if (item.photoUrl) person.avatarUrl = item.photoUrl;
  if (item.lastSeen) person.lastSeen = item.lastSeen;
  return person;
}

function sameItem(a, b) {
  const keys = new Set([...Object.keys(a), ...Object.keys(b)]);
  for (const key of keys) if (a[key] !== b[key]) return false;
  return true;
}

/** Sort chats for the list, the latest first; a draft or a waiting message counts as recent. */
export function sortedChats(state) {
  const waiting = new Map();
  for (const row of state.outbox) waiting.set(row.chatId, Math.max(waiting.get(row.chatId) ?? 0, row.createdAt));
  const when = (chat) => Math.max(chat.lastMessageTime ?? 0, waiting.get(chat.id) ?? 0);
  return [...state.chats.values()].sort((a, b) => when(b) - when(a) || (a.id < b.id ? -1 : 1));
}

/** Apply the answer to the request `chat`. */
export function setDetails(state, chat) {
  const participants = chat.meta?.participants ?? [];
  const next = { ...state, details: withEntry(state.details, chat.chatId, chat) };
  return learnPeople(next, participants);
}

/** Whether the user is the owner or an admin of a group or channel. */
export function rules(state, chatId) {
  const meta = state.details.get(chatId)?.meta;
  return meta?.owner === state.me.id || Boolean(meta?.admins?.includes(state.me.id));
}

/** Whether the user may write in a chat: in a channel only its owner and admins. */
export function mayWrite(state, chatId) {
  return state.chats.get(chatId)?.type !== "channel" || rules(state, chatId);
}

/** Count the unread messages of all chats. */
export function unreadTotal(state) {
  let total = 0;
  for (const chat of state.chats.values()) total += chat.missed ?? 0;
  return total;
}

/** List the other members of a group or channel; null while they are not known. */
function otherMembers(state, chatId) {
  const participants = state.details.get(chatId)?.meta?.participants;
  return participants ? participants.map((one) => one.id).filter((id) => id !== state.me.id) : null;
}

// ---------------------------------------------------------------- messages

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

/** Whether the newest message of the chat is among those loaded. */
export function atEnd(state, chatId) {
  const room = state.rooms.get(chatId);
  return Boolean(room?.loaded) && room.last >= (state.chats.get(chatId)?.topId ?? 0);
}

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

/** Insert a new message: from an event, or the user's own from its response. */
function insertMessage(state, chatId, message) {
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
function advance(state, chatId, messageId) {
  const chat = state.chats.get(chatId);
  const room = state.rooms.get(chatId);
  let next = chat && messageId > chat.topId ? withChat(state, chatId, { topId: messageId }) : state;
  if (room?.loaded && messageId > room.last && (room.last + 1 >= messageId || room.last === chat?.topId)) {
    next = withRoom(next, chatId, { last: messageId });
  }
  return next;
}

/** Change one loaded message, and the quotes of it. */
function changeMessage(state, chatId, messageId, change) {
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

function latestShown(state, chatId) {
  const room = state.rooms.get(chatId);
  return room?.messages.at(-1)?.messageId ?? state.chats.get(chatId)?.lastMessageId;
}

function previewOf(message) {
  const deleted = message.status === "deleted";
  // Without words the names of the files stand there, as in the relay's own list.
  const names = (message.attachments ?? []).map((attachment) => attachment.filename).join(", ");
  return {
    lastMessageText: deleted ? "" : message.message || names,
    attachmentType: deleted ? undefined : message.attachments?.[0]?.type,
    lastMessageStatus: message.status,
  };
}

// ---------------------------------------------------------------- events

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
    const last = find(next.rooms.get(chatId), chat.lastMessageId);
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

const EVENTS = {
  new: onNew,
  chats: (state, list) => setChats(state, Array.isArray(list) ? list : (list.chats ?? [])),
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

/** Clear presence and typing: without a connection they are unknown until the relay sends them again. */
export function disconnected(state) {
  if (state.online.size === 0 && state.typing.size === 0) return state;
  return { ...state, online: new Set(), typing: new Map() };
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

// ---------------------------------------------------------------- drafts and the outbox

/** Save a draft; an empty text removes it. */
export function setDraft(state, chatId, text) {
  if ((state.drafts.get(chatId) ?? "") === text) return state;
  return { ...state, drafts: withEntry(state.drafts, chatId, text || undefined) };
}

/**
 * A message, an edit or a deletion that is on its way: {kind, clientMessageId, chatId, createdAt, state} and for
 * kind "new" message, files, replyTo; for the others originalMessageId. `state` is "queued" or "failed".
 */
export function enqueue(state, row) {
  const outbox = state.outbox.filter((one) => one.clientMessageId !== row.clientMessageId);
  return { ...state, outbox: [...outbox, row] };
}

/** Change a waiting row, e.g. {state: "failed", error: "forbidden"}. */
export function patchOutbox(state, clientMessageId, change) {
  const outbox = state.outbox.map((row) => (row.clientMessageId === clientMessageId ? { ...row, ...change } : row));
  return { ...state, outbox };
}

/** Remove a waiting row that the user discarded. */
export function dropOutbox(state, clientMessageId) {
  return { ...state, outbox: state.outbox.filter((row) => row.clientMessageId !== clientMessageId) };
}

/** The relay answered: the row is a message, an edit or a deletion now. */
export function sent(state, row, answer) {
  const next = dropOutbox(state, row.clientMessageId);
  const event = { chatId: row.chatId, messageId: answer.messageId, originalMessageId: row.originalMessageId };
  if (row.kind === "edit") return onEdit(next, { ...event, message: row.message, timestamp: answer.timestamp });
  if (row.kind === "delete") return onDelete(next, event, answer.timestamp);
  const known = find(next.rooms.get(row.chatId), answer.messageId);
  if (known) return next;
  const message = {
    messageId: answer.messageId,
    clientMessageId: row.clientMessageId,
    sender: state.me.id,
    message: row.message || undefined,
    attachments: row.attachments,
    replyTo: row.replyTo,
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

/** The state to show for a message of one's own: "queued" "sent" "delivered" "read" "failed". */
export function deliveryState(message) {
  if (message.state) return message.state;
  return { undelivered: "sent", unread: "delivered", read: "read" }[message.status] ?? "sent";
}
