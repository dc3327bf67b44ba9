/**
 * The model: what the page knows. Here people, chats, drafts and the outbox; the messages of chats are in messages.js,
 * and what the relay's events and answers change in events.js. Every function takes a state and returns the next one,
 * sharing what did not change, so that a view can tell by identity what to render again.
 *
 * Pure: no browser, no clock, no socket. Names are the protocol's.
 */

import { lookAlikes } from "./text.js";

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

/** Copy a map with one entry changed; an undefined value removes it. */
export function withEntry(map, key, value) {
  const copy = new Map(map);
  if (value === undefined) copy.delete(key);
  else copy.set(key, value);
  return copy;
}

/** Change fields of a chat, if there is such a chat. */
export function withChat(state, chatId, change) {
  const chat = state.chats.get(chatId);
  return chat ? { ...state, chats: withEntry(state.chats, chatId, { ...chat, ...change }) } : state;
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

/** Tell whether somebody is "online" or "offline"; undefined where the relay does not say. */
export function presenceOf(state, userId) {
  return state.online.has(userId) ? "online" : "offline";
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
    // What waits to be sent there stays: actions/outbox.js tells the user of it.
    next = { ...next, rooms, details };
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
export function otherMembers(state, chatId) {
  const participants = state.details.get(chatId)?.meta?.participants;
  return participants ? participants.map((one) => one.id).filter((id) => id !== state.me.id) : null;
}

// ---------------------------------------------------------------- drafts and the outbox

/** Give the draft of a chat; "" where there is none. */
export function draftOf(state, chatId) {
  return state.drafts.get(chatId)?.text ?? "";
}

/**
 * Take in a draft of this tab, another one or this device: the one written last wins, an empty one too. It is
 * {text, at, quote?}: `quote` is of the message that is answered or, under the key of an edit (writing.js), changed.
 */
export function mergeDraft(state, key, { text, at, quote }) {
  const known = state.drafts.get(key);
  if (known && (known.at > at || (known.at === at && known.text >= text))) return state;
  return { ...state, drafts: withEntry(state.drafts, key, quote ? { text, at, quote } : { text, at }) };
}

/** Order rows of the outbox as they were written; the device's clock may have been set back between two of them. */
export function byWriting(a, b) {
  return (a.number ?? 0) - (b.number ?? 0) || a.createdAt - b.createdAt || (a.clientMessageId < b.clientMessageId ? -1 : 1);
}

/**
 * A message, an edit or a deletion that is on its way: {kind, clientMessageId, chatId, number, createdAt, state} and for
 * kind "new" message, files, replyTo; for the others originalMessageId. `number` counts up in the order of writing.
 * `state` is "queued" or "failed"; a failed one has `failure` {code, limit?, quota?, retryAfter?, name?}.
 */
export function enqueue(state, row) {
  const outbox = state.outbox.filter((one) => one.clientMessageId !== row.clientMessageId);
  return { ...state, outbox: [...outbox, row].sort(byWriting) };
}

/** Change a waiting row, e.g. {state: "failed", failure: {code: "forbidden"}}. */
export function patchOutbox(state, clientMessageId, change) {
  const outbox = state.outbox.map((row) => (row.clientMessageId === clientMessageId ? { ...row, ...change } : row));
  return { ...state, outbox };
}

/** Remove a waiting row that the user discarded. */
export function dropOutbox(state, clientMessageId) {
  return { ...state, outbox: state.outbox.filter((row) => row.clientMessageId !== clientMessageId) };
}

/** The state to show for a message of one's own: "queued" "sent" "delivered" "read" "failed". */
export function deliveryState(message) {
  if (message.state) return message.state;
  return { undelivered: "sent", unread: "delivered", read: "read" }[message.status] ?? "sent";
}
