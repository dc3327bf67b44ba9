/** Open chats: the part that is loaded, the next page to fetch, and how far the user has read. */
import { batch } from "@preact/signals";
import { closeChat, go, readAddress } from "./navigation.js";
import { report, tell } from "./notices.js";
import { change, ending, findPeople, runtime } from "./store.js";
import { t } from "../i18n/i18n.js";
import { addPage, atEnd, findMessage, reachesUnread, readHere, trim } from "../model/messages.js";
import * as model from "../model/state.js";
import { LONGEST_NAME_QUERY, chats, composing, dialog, loadingRooms, route, state, target } from "../signals.js";

/** Messages fetched when a chat is opened, and each time the user scrolls to the end of the loaded ones. */
const FIRST_PAGE = 80;
const NEXT_PAGE = 150;
const LARGEST_PAGE = 500;
/** Messages fetched before the first unread one, so that it is shown in its context. */
const READ_BEFORE = 40;
/** Messages of a chat that stay in memory when the user returns to its end. */
const KEPT_IN_MEMORY = 1_000;
const verified = new Set();
const asked = new Set();
/** Chats whose messages were fetched since the page was opened. */
const shown = new Set();
/** Chats with a loaded part far from the end. */
const jumped = new Set();

/** Open the chat that the address names. */
export function readLocation() {
  const chatId = readAddress();
  if (chatId && state.value) ensureRoom(chatId);
}

/** Open a chat, or begin one with the person of this id. */
export function openChat(chatId, { messageId } = {}) {
  const known = route.value.chatId === chatId;
  batch(() => {
    dialog.value = null;
    if (!known || route.value.panel) {
      // Switching chats is not a path to walk back through.
      go({ chatId, panel: null }, { replace: Boolean(route.value.chatId || route.value.panel) });
    }
    if (!known) composing.value = null;
  });
  // Reading begins at the first unread message, however many there are.
  if (!known) change((now) => trim(now, chatId, KEPT_IN_MEMORY + (now.chats.get(chatId)?.missed ?? 0)));
  ensureRoom(chatId);
  if (messageId) showMessage(chatId, messageId);
}

/** Open the chat before or after the open one. */
export function stepChat(by) {
  const list = chats.value;
  const at = list.findIndex((chat) => chat.id === route.value.chatId);
  const next = list[at < 0 ? 0 : Math.min(list.length - 1, Math.max(0, at + by))];
  if (next) openChat(next.id);
}

/** After a broken connection no loaded part is known to be complete. */
export function forgetVerified() {
  verified.clear();
}

/** Forget all chats, after signing out. */
export function forgetShown() {
  shown.clear();
}

function setLoading(chatId, on) {
  const next = new Set(loadingRooms.value);
  if (on) next.add(chatId);
  else next.delete(chatId);
  loadingRooms.value = next;
}

/** Whether the chat was lost, and only what this device has of it can be read. */
const isLost = (chatId) => Boolean(state.value?.chats.get(chatId)?.gone);

async function ensureRoom(chatId) {
  const now = state.value;
  if (!now.rooms.get(chatId)?.loaded) {
    const kept = await runtime.storage?.loadRoom(chatId);
    if (kept && state.value && !state.value.rooms.get(chatId)?.loaded) {
      change((current) => {
        let next = current;
        if (kept.details) next = model.setDetails(next, kept.details);
        if (kept.messages.length === 0) return next;
        next = addPage(next, chatId, kept.messages, { reachesStart: kept.first <= 1 });
        // Ids of edits and deletions are covered too, though they leave no message.
        const last = Math.max(kept.last, kept.messages.at(-1).messageId);
        const room = { ...next.rooms.get(chatId), first: kept.first, last, deleted: kept.deleted ?? new Set() };
        return { ...next, rooms: new Map(next.rooms).set(chatId, room) };
      });
    }
  }
  if (isLost(chatId)) {
    change((current) => (current.rooms.get(chatId)?.loaded ? current : addPage(current, chatId, [], { reachesStart: true })));
  }
  await refreshRoom(chatId);
}

/** `reading`: the chat was open before the connection broke, and the messages in view must stay. */
export async function refreshRoom(chatId, { reading = false } = {}) {
  if (asked.has(chatId) || !runtime.wire || isLost(chatId)) return;
  // A chat that was lost and is back has nothing loaded.
  if (verified.has(chatId) && state.value.rooms.get(chatId)?.loaded) return;
  asked.add(chatId);
  const chat = state.value.chats.get(chatId);
  setLoading(chatId, true);
  try {
    const expected = FIRST_PAGE + (chat?.missed ?? 0);
    // More than one page is fetched by its position, below.
    const count = expected > LARGEST_PAGE ? FIRST_PAGE : expected;
    const [newest, details] = await Promise.all([
      runtime.wire.request("messages", { chatId, count }),
      runtime.wire.request("chat", { chatId }),
    ]);
    // The relay knows how many are unread; this page may not know it yet.
    const stays = reading && shown.has(chatId);
    const whole = stays || !newest.more || reachesUnread(newest, state.value.me.id, details.missed);
    let page = whole ? newest : await fetchUnread(chatId, details);
    const room = state.value.rooms.get(chatId);
    if (stays && page[0]?.messageId > room?.last + 1) {
      page = await runtime.wire.request("messages", { chatId, startId: room.last + 1, count: LARGEST_PAGE });
    }
    batch(() => {
      change((now) => {
        const next = model.setDetails(now, details);
        const room = next.rooms.get(chatId);
        // The newest page would move the view while the user reads far back.
        if (room?.loaded && jumped.has(chatId)) return next;
        return addPage(next, chatId, page, { reachesStart: page === newest && !page.more });
      });
    });
    if (!atEnd(state.value, chatId)) jumped.add(chatId);
    verified.add(chatId);
    shown.add(chatId);
  } catch (failure) {
    // An address may hold something that is no id.
    if (failure.code === "not_found" || failure.code === "bad_request") await beginChat(chatId).catch(report);
    else report(failure);
  } finally {
    asked.delete(chatId);
    setLoading(chatId, false);
  }
}

/** Remove a lost chat from the list, and all that this device has of it. */
export function forgetChat(chatId) {
  for (const row of state.value.outbox) if (row.chatId === chatId) runtime.storage?.dropRow(row.clientMessageId);
  ending.add(chatId);
  change((now) => model.forget(now, [chatId]));
  ending.delete(chatId);
  runtime.storage?.tell({ kind: "forgotten", chatId });
}

/** Handle a chat that does not exist: one with a person begins here, any other comes from an old link. */
async function beginChat(chatId) {
  const isPerson = (one) => one.id === chatId;
  if (state.value.people.has(chatId) || (await findPeople(chatId.slice(0, LONGEST_NAME_QUERY))).some(isPerson)) {
    change((now) => addPage(now, chatId, [], { reachesStart: true }));
  } else if (route.value.chatId === chatId) {
    closeChat();
    tell(t("chat.gone"), { error: true });
  }
}

/** Fetch a page that begins shortly before the first unread message. */
async function fetchUnread(chatId, { lastMessageId, missed }) {
  // Own messages, edits and deletions take ids too: the first unread message is here or earlier.
  const startId = Math.max(1, lastMessageId - missed + 1 - READ_BEFORE);
  let page = await runtime.wire.request("messages", { chatId, startId, count: LARGEST_PAGE });
  while (page.length > 0 && !reachesUnread(page, state.value.me.id, missed)) {
    const before = await runtime.wire.request("messages", { chatId, endId: page[0].messageId, count: LARGEST_PAGE });
    if (before.length === 0) break;
    page = [...before, ...page];
  }
  return page;
}

export async function refreshDetails() {
  const { chatId } = route.value;
  if (!chatId || !state.value.chats.has(chatId) || isLost(chatId) || !runtime.wire) return;
  try {
    const details = await runtime.wire.request("chat", { chatId });
    change((now) => model.setDetails(now, details));
  } catch (failure) {
    if (failure.code !== "not_found") report(failure);
  }
}

const paging = new Set();

/** Fetch the page before the loaded messages. */
export async function loadOlder(chatId) {
  const room = state.value?.rooms.get(chatId);
  if (!room?.loaded || room.atStart || paging.has(chatId) || !room.first || isLost(chatId)) return;
  paging.add(chatId);
  try {
    const page = await runtime.wire.request("messages", { chatId, endId: room.first, count: NEXT_PAGE });
    change((now) => {
      if (now.rooms.get(chatId)?.first !== room.first) return now;
      return addPage(now, chatId, page, { reachesStart: !page.more });
    });
  } catch (failure) {
    report(failure);
  } finally {
    paging.delete(chatId);
  }
}

/** Fetch the page after the loaded messages, where the user had jumped far back. */
export async function loadNewer(chatId) {
  const room = state.value?.rooms.get(chatId);
  if (!room?.loaded || atEnd(state.value, chatId) || paging.has(chatId)) return;
  paging.add(chatId);
  try {
    const page = await runtime.wire.request("messages", { chatId, startId: room.last + 1, count: NEXT_PAGE });
    change((now) => (now.rooms.get(chatId)?.last === room.last ? addPage(now, chatId, page) : now));
  } catch (failure) {
    report(failure);
  } finally {
    paging.delete(chatId);
  }
}

let targetSerial = 0;

/** Show one message of a chat, loading around it when it is far away. */
export async function showMessage(chatId, messageId) {
  const loaded = findMessage(state.value.rooms.get(chatId), messageId);
  if (!loaded) {
    try {
      let startId = Math.max(1, messageId - 40);
      let page = await runtime.wire.request("messages", { chatId, startId, count: 100 });
      if (page.more && page.at(-1).messageId < messageId) {
        // The messages before it fill a page already.
        startId = messageId;
        page = await runtime.wire.request("messages", { chatId, startId, count: 100 });
      }
      change((now) => addPage(now, chatId, page, { reset: true, reachesStart: startId === 1 }));
      if (!atEnd(state.value, chatId)) jumped.add(chatId);
    } catch (failure) {
      report(failure);
      return;
    }
  }
  targetSerial += 1;
  target.value = { chatId, messageId, serial: targetSerial };
}

/** Return to the newest message. */
export async function showNewest(chatId) {
  jumped.delete(chatId);
  change((now) => trim(now, chatId, KEPT_IN_MEMORY));
  if (!atEnd(state.value, chatId)) {
    try {
      const page = await runtime.wire.request("messages", { chatId, count: FIRST_PAGE });
      change((now) => addPage(now, chatId, page, { reset: true, reachesStart: !page.more }));
    } catch (failure) {
      report(failure);
    }
  }
}

/** Milliseconds between two read receipts of a chat: in a flood one covers many messages. */
const READ_AGAIN = 150;

const readSent = new Map();
const readWaiting = new Map();
let readTimer;

/** Mark a chat as read up to a message. Called only while the window is active. */
export function markRead(chatId, messageId) {
  const chat = state.value?.chats.get(chatId);
  if (!(chat?.missed > 0) || Math.max(readSent.get(chatId) ?? 0, readWaiting.get(chatId) ?? 0) >= messageId) return;
  readWaiting.set(chatId, messageId);
  if (readTimer === undefined) sendReadMarks();
}

/** Send the read receipts that are due. */
export function sendReadMarks() {
  clearTimeout(readTimer);
  readTimer = readWaiting.size > 0 ? setTimeout(sendReadMarks, READ_AGAIN) : undefined;
  for (const [chatId, messageId] of readWaiting) {
    readSent.set(chatId, messageId);
    change((now) => readHere(now, chatId, messageId));
    runtime.wire?.request("read", { chatId, messageId }).then(
      (answer) => {
        change((now) => readHere(now, chatId, messageId, answer.missed));
        runtime.storage?.tell({ kind: "read", chatId, messageId, missed: answer.missed });
      },
      (failure) => {
        readSent.delete(chatId);
        report(failure);
      },
    );
  }
  readWaiting.clear();
}
