/**
 * The model: the page's data. Here people, chats, drafts and the outbox; the messages of chats are in messages.js, and
 * changes by the relay's events and answers in events.js. Every function takes a state and returns the next one,
 * sharing unchanged parts, so that views detect changes by identity.
 *
 * Pure: no browser, no clock, no socket. Names are the protocol's.
 */

import { lookAlikes } from "./text.js";

/** Make an empty state for the signed-in user: {id, name, admin}. */
export function initial(me) {
  return {
    me,
    chats: new Map(),
    // Ids that the pages of the chat list have had so far, while it is fetched; else null.
    listed: undefined,
    // Chats that the list lost without an event: {chat, room, details}. The event may follow.
    lost: new Map(),
    rooms: new Map(),
    details: new Map(),
    people: new Map([[me.id, { id: me.id, name: me.name }]]),
    // Whether presence is known.
    connected: false,
    online: new Set(),
    typing: new Map(),
    drafts: new Map(),
    outbox: [],
  };
}

/** The maps and sets created by the steps of `together`, while it runs. */
let fresh = null;

/**
 * Run steps whose intermediate states nobody keeps: each map or set is copied once for all of them. They are large, and
 * after a reconnect hundreds of events arrive together.
 */
export function together(steps) {
  fresh = new Set();
  try {
    return steps();
  } finally {
    fresh = null;
  }
}

/** Copy a map or set, to be changed. */
export function copied(what) {
  if (fresh?.has(what)) return what;
  const copy = what instanceof Set ? new Set(what) : new Map(what);
  fresh?.add(copy);
  return copy;
}

/** Copy a map with one entry changed; an undefined value removes it. */
export function withEntry(map, key, value) {
  const copy = copied(map);
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
  let people = null;
  for (const profile of profiles) {
    const known = (people ?? state.people).get(profile.id);
    const next = { ...known, ...profile };
    if (known && Object.keys(next).every((key) => next[key] === known[key])) continue;
    people ??= copied(state.people);
    people.set(profile.id, next);
  }
  return people ? { ...state, people } : state;
}

/** Return a user's name, followed by the id if there is a look-alike name. */
export function tellOf(state, userId) {
  const name = nameOf(state, userId);
  return lookAlikes(state.people).has(userId) ? `${name} @${userId}` : name;
}

/** Return the name of a user. */
export function nameOf(state, userId) {
  const chat = state.chats.get(userId);
  return state.people.get(userId)?.name || (chat?.type === "dialog" && chat.name) || userId;
}

/** Return whether the name of a user is known. */
export function isNamed(state, userId) {
  return userId === state.me.id || nameOf(state, userId) !== userId || state.people.get(userId)?.name === userId;
}

/** Return whether a user is "online" or "offline"; undefined if unknown: strangers, and while the relay is away. */
export function presenceOf(state, userId) {
  if (!state.connected) return undefined;
  if (userId === state.me.id || state.online.has(userId)) return "online";
  return sharesChat(state, userId) ? "offline" : undefined;
}

/** Whether the user is known to share a chat with another, which `lastSeen` requires. */
function sharesChat(state, userId) {
  const chat = state.chats.get(userId);
  return (chat?.type === "dialog" && !chat.gone) || state.people.get(userId)?.lastSeen > 0 || membersOf(state.details).has(userId);
}

const memberships = new WeakMap();

/** The members of all chats whose details are known (a Map by chat id). */
function membersOf(details) {
  let found = memberships.get(details);
  if (!found) {
    found = new Set();
    for (const { meta } of details.values()) for (const { id } of meta?.participants ?? []) found.add(id);
    memberships.set(details, found);
  }
  return found;
}

/** Note that presence is known. */
export function connected(state) {
  return state.connected ? state : { ...state, connected: true };
}

// ---------------------------------------------------------------- chats

/** Maximum lost chats kept for reading, and set aside; the first lost goes first. */
export const MOST_LOST = 30;

/** Apply the whole chat list. */
export function setChats(state, list) {
  return endList(addChats(beginList(state), list));
}

/** Whether the whole chat list has arrived: before that, an empty list means nothing. */
export const isListed = (state) => state.listed === null;

/** Begin to fetch the chat list. */
export function beginList(state) {
  return { ...state, listed: new Set() };
}

/**
 * Compare a chat's line of before the connection with the list's. Return the highest message id that is of the same
 * message: -1 if ids are given again (a backup was restored), 0 if the line does not tell.
 */
export function sameUpTo(before, item) {
  const { lastMessageId: id, lastMessageTime } = before ?? {};
  if (item.lastMessageId < id) return -1;
  if (item.lastMessageId !== id || before.gone || item.lastMessageStatus === "deleted") return 0;
  return id === 0 || item.lastMessageTime === lastMessageTime ? Infinity : -1;
}

/** Apply a page of the chat list, or chats that changed. A lost one begins again. */
export function addChats(state, list) {
  const ids = list.map((item) => item.id);
  const next = forget(state, ids.filter((id) => state.chats.get(id)?.gone || state.lost.has(id)));
  const chats = new Map(next.chats);
  const people = [];
  for (const item of list) {
    const known = next.chats.get(item.id);
    const topId = Math.max(item.lastMessageId, known?.topId ?? 0);
    const line = { missed: 0, ...item, topId };
    if (known?.attachmentType && known.lastMessageId === item.lastMessageId) {
      line.attachmentType = known.attachmentType;
    }
    chats.set(item.id, known && sameItem(known, line) ? known : line);
    if (item.type === "dialog") people.push(dialogPerson(item));
  }
  return learnPeople({ ...next, chats, listed: next.listed && new Set([...next.listed, ...ids]) }, people);
}

/** End the fetch of the chat list: chats on no page are gone, except for those kept for reading. */
export function endList(state) {
  const gone = [...state.chats.values()].filter((chat) => state.listed && !chat.gone && !state.listed.has(chat.id));
  return { ...setAside(state, gone.map((chat) => chat.id)), listed: null };
}

/**
 * Remove a chat from the list. If somebody else removed the user or deleted the chat, or something unsent is in it, this
 * device's copy stays readable: the chat stays, with `gone` {reason, by, byName}. `at` is the relay's time of the loss.
 */
export function loseChat(state, { chatId, title, by, byName, reason }, at) {
  const { chat, room, details } = heldOf(state, chatId) ?? state.lost.get(chatId) ?? {};
  if (!chat || (chat.gone && !reason)) return state;
  if (!reason) return setAside(state, [chatId]);
  if ((by === state.me.id || !(chat.lastMessageId > 0)) && !hasUnsent(state, chatId)) return forget(state, [chatId]);
  const kept = [...state.chats.values()].filter((one) => one.gone && one.id !== chatId && !hasUnsent(state, one.id));
  const next = forget(state, kept.slice(0, Math.max(0, kept.length + 1 - MOST_LOST)).map((one) => one.id));
  const lastMessageTime = Math.max(chat.lastMessageTime ?? 0, at);
  const line = { ...chat, name: title ?? chat.name, missed: 0, lastMessageTime, gone: { reason, by, byName } };
  const chats = withEntry(next.chats, chatId, undefined).set(chatId, line);
  return learnPeople(
    {
      ...next,
      chats,
      rooms: withEntry(next.rooms, chatId, room),
      details: withEntry(next.details, chatId, details),
      lost: withEntry(next.lost, chatId, undefined),
    },
    by && byName ? [{ id: by, name: byName }] : [],
  );
}

/** Forget chats with their messages. Pending messages stay: actions/outbox.js tells the user. */
export function forget(state, ids) {
  if (ids.length === 0) return state;
  const next = { ...state };
  for (const part of ["chats", "rooms", "details", "lost"]) {
    next[part] = new Map(state[part]);
    for (const id of ids) next[part].delete(id);
  }
  return next;
}

/** Set aside chats lost without an event, which may follow. */
function setAside(state, ids) {
  const lost = new Map([...state.lost, ...ids.map((id) => [id, heldOf(state, id) ?? state.lost.get(id)])]);
  return ids.length === 0 ? state : { ...forget(state, ids), lost: new Map([...lost].slice(-MOST_LOST)) };
}

/** The data of a chat: {chat, room, details}; undefined for nothing. It may be open before the list has arrived. */
function heldOf(state, id) {
  const [room, details] = [state.rooms.get(id), state.details.get(id)];
  const chat = state.chats.get(id) ?? (room?.messages.length > 0 && {
    id, type: details?.type ?? "group", name: details?.name ?? id, lastMessageText: "", lastMessageStatus: "read",
    lastMessageId: room.last, topId: room.last, missed: 0, isMine: false,
  });
  return chat ? { chat, room, details } : undefined;
}

function dialogPerson(item) {
  const person = { id: item.id, name: item.name };
  if (item.photoUrl) person.avatarUrl = item.photoUrl;
  if (item.lastSeen) person.lastSeen = item.lastSeen;
  return person;
}

/** Whether two objects have the same fields. */
export function sameItem(a, b) {
  for (const key in a) if (a[key] !== b[key]) return false;
  for (const key in b) if (a[key] !== b[key]) return false;
  return true;
}

let sorted = { chats: null, outbox: null, list: [] };

/**
 * Sort chats for the list, the latest first; a draft or a waiting message counts as recent. The array is reused until
 * chats or the outbox change: the list is long, and other changes come many times a second.
 */
export function sortedChats({ chats, outbox }) {
  if (sorted.chats === chats && sorted.outbox === outbox) return sorted.list;
  const waiting = new Map();
  for (const row of outbox) waiting.set(row.chatId, Math.max(waiting.get(row.chatId) ?? 0, row.createdAt));
  const when = (chat) => Math.max(chat.lastMessageTime ?? 0, waiting.get(chat.id) ?? 0);
  // In the former order little is left to sort.
  const known = sorted.list.map((chat) => chats.get(chat.id)).filter(Boolean);
  const all = known.length === chats.size ? known : [...new Set([...known, ...chats.values()])];
  const list = all.sort((a, b) => when(b) - when(a) || (a.id < b.id ? -1 : 1));
  sorted = { chats, outbox, list };
  return list;
}

/** Apply the answer to the request `chat`. */
export function setDetails(state, chat) {
  const participants = chat.meta?.participants ?? [];
  const next = { ...state, details: withEntry(state.details, chat.chatId, chat) };
  return learnPeople(next, participants);
}

/** The type of a chat, which need not be in the list (yet); undefined if unknown. */
export function typeOf({ chats, details, people, me }, chatId) {
  if (chatId === me.id) return "favorites";
  return (chats.get(chatId) ?? details.get(chatId))?.type ?? (people.has(chatId) ? "dialog" : undefined);
}

/** Whether the user is the owner or an admin of a group or channel. */
export function rules(state, chatId) {
  if (state.chats.get(chatId)?.gone) return false;
  const meta = state.details.get(chatId)?.meta;
  return meta?.owner === state.me.id || Boolean(meta?.admins?.includes(state.me.id));
}

/** Whether the user may write in a chat: in a channel only its owner and admins, in a lost one nobody. */
export function mayWrite(state, chatId) {
  const chat = state.chats.get(chatId);
  return !chat?.gone && (chat?.type !== "channel" || rules(state, chatId));
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

/** Return the draft of a chat; "" if there is none. */
export function draftOf(state, chatId) {
  return state.drafts.get(chatId)?.text ?? "";
}

/** The key of the draft of an edit. */
export function editKey(chatId, messageId) {
  return `edit/${encodeURIComponent(chatId)}/${messageId}`;
}

/** The key of the draft of a caption. */
export function captionKey(chatId) {
  return `caption/${encodeURIComponent(chatId)}`;
}

/** List the drafts of a chat that have a text, of a message, a caption or edits: [key, {text, at, quote?}]. */
export function draftsFor({ drafts }, chatId) {
  const isOf = (key) => key === chatId || key === captionKey(chatId) || key.startsWith(editKey(chatId, ""));
  return [...drafts].filter(([key, { text }]) => text.trim() && isOf(key));
}

/** Whether a chat has something of the user that was not sent. */
export function hasUnsent(state, chatId) {
  return draftsFor(state, chatId).length > 0 || state.outbox.some((row) => row.chatId === chatId);
}

/**
 * Apply a draft of this tab, another one or this device: the last written one wins, even an empty one. It is {text, at,
 * quote?}: `quote` is the message replied to or, under the key of an edit (writing.js), edited.
 */
export function mergeDraft(state, key, { text, at, quote }) {
  const known = state.drafts.get(key);
  if (known && (known.at > at || (known.at === at && known.text >= text))) return state;
  return { ...state, drafts: withEntry(state.drafts, key, quote ? { text, at, quote } : { text, at }) };
}

/** Order rows of the outbox as they were written; the device's clock may have been set back between two of them. */
function byWriting(a, b) {
  return (a.number ?? 0) - (b.number ?? 0) || a.createdAt - b.createdAt || (a.clientMessageId < b.clientMessageId ? -1 : 1);
}

/**
 * A pending message, edit or deletion: {kind, clientMessageId, chatId, number, createdAt, state} and for
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

/** The state to show for an own message: "queued" "sent" "delivered" "read" "failed". */
export function deliveryState(message) {
  if (message.state) return message.state;
  return { undelivered: "sent", unread: "delivered", read: "read" }[message.status] ?? "sent";
}
