/** Open chats: the part that is loaded, the next page to fetch, and how far the user has read. */
import { batch } from "@preact/signals";
import { closeChat, go, readAddress } from "./navigation.js";
import { report, tell } from "./notices.js";
import { MAY_PASS, askFor, change, findPeople, runtime, setUnfetched, startAgain, sureOf } from "./store.js";
import { t } from "../i18n/i18n.js";
import { differs, reachesUnread, readHere, readsMore, unreadHere } from "../model/events.js";
import { addPage, atEnd, joinsRoom, leaveFar, messageOf, newestShown, nextId, takePage, trim } from "../model/messages.js";
import * as model from "../model/state.js";
import { LONGEST_NAME_QUERY, chats, composing, dialog, loadingRooms, ofMessages, ofUser, route, state, sure, target, unfetched } from "../signals.js";

/** Messages fetched when a chat is opened, and each time the user scrolls to the end of the loaded ones. */
const FIRST_PAGE = 80;
const NEXT_PAGE = 150;
const LARGEST_PAGE = 500;
/** Messages fetched before the first unread one, so that it is shown in its context. */
const READ_BEFORE = 40;
/** Messages of a chat that stay in memory when the user returns to its end. */
const KEPT_IN_MEMORY = 1_000;
let connections = 0;
// If the relay gives ids again during a fetch, the fetch is repeated, as after a broken connection.
const verified = ofMessages(new Set());
ofMessages({ clear() {}, delete: () => (connections += 1) });
const asked = ofUser(new Set());
/** Chats whose messages were fetched since the page was opened. */
const shown = ofUser(new Set());
/** A page that could not be fetched may be tried again after this many ms. */
const PAGE_AGAIN = 3_000;

/** Open the chat that the address names. */
export function readLocation() {
  const before = route.value.chatId;
  const chatId = readAddress();
  if (!chatId || !state.value) return;
  if (chatId !== before) beginReading(chatId);
  ensureRoom(chatId);
}

/** Reading begins at the end or at the first unread message, however many there are, not at the last jump. */
function beginReading(chatId) {
  target.value = null;
  const { missed } = state.value.chats.get(chatId) ?? { missed: 0 };
  change((now) => trim(leaveFar(now, chatId), chatId, KEPT_IN_MEMORY + missed));
  const messages = state.value.rooms.get(chatId)?.messages ?? [];
  if (!reachesUnread(messages, state.value.me.id, missed)) verified.delete(chatId);
}

/** Open a chat, or begin one with the person of this id. */
export function openChat(chatId, { messageId, mark } = {}) {
  const known = route.value.chatId === chatId;
  batch(() => {
    dialog.value = null;
    if (!known || route.value.panel) {
      // Back does not go through switched chats.
      go({ chatId, panel: null }, { replace: Boolean(route.value.chatId || route.value.panel) });
    }
    if (!known) composing.value = null;
  });
  if (!known) beginReading(chatId);
  ensureRoom(chatId);
  if (messageId) showMessage(chatId, messageId, mark);
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
  connections += 1;
}

function setLoading(chatId, on) {
  const next = new Set(loadingRooms.value);
  if (on) next.add(chatId);
  else next.delete(chatId);
  loadingRooms.value = next;
}

/** Whether the chat was lost and only this device's copy can be read. */
const isLost = (chatId) => Boolean(state.value?.chats.get(chatId)?.gone);

async function ensureRoom(chatId) {
  const now = state.value;
  if (!now.rooms.get(chatId)?.loaded) {
    verified.delete(chatId);
    const kept = await runtime.storage?.loadRoom(chatId);
    if (kept && state.value && !state.value.rooms.get(chatId)?.loaded) {
      change((current) => {
        let next = current;
        if (kept.details) next = model.setDetails(next, kept.details);
        const { messages, first, last, deleted } = kept;
        return addPage(next, chatId, messages, { first, last, deleted, reachesStart: first <= 1 });
      });
    }
  }
  if (isLost(chatId)) {
    change((current) => (current.rooms.get(chatId)?.loaded ? current : addPage(current, chatId, [], { reachesStart: true })));
  }
  await refreshRoom(chatId);
}

/** Fetch the open chat, if it has begun again. */
export function refreshForgotten() {
  const { chatId } = route.value;
  if (state.value?.chats.has(chatId) && !state.value.rooms.get(chatId)?.loaded) refreshRoom(chatId);
}

/** Ask for a page of a chat: {asked, page}, for `take`. */
async function ask(chatId, where) {
  const { chats: known, rooms } = state.value;
  const top = Math.max(known.get(chatId)?.topId ?? 0, rooms.get(chatId)?.last ?? 0);
  const page = await runtime.wire.request("messages", { chatId, ...where });
  if (state.value && differs(state.value.rooms.get(chatId), page)) startAgain(chatId);
  return { asked: { ...where, top }, page };
}

function take(chatId, { asked: where, page }, options) {
  change((now) => takePage(now, chatId, where, page, options));
}

/** Apply a page if it continues the loaded part, which may have been dropped since the request; return whether. */
function takeJoined(chatId, answer) {
  const joins = Boolean(state.value) && joinsRoom(state.value, chatId, answer.asked, answer.page);
  if (joins) take(chatId, answer);
  return joins;
}

/** Fetch the newest messages. `reading`: the chat was open before the connection broke, and the view must stay. */
export async function refreshRoom(chatId, { reading = false, tries = 0 } = {}) {
  if (asked.has(chatId) || !runtime.wire || isLost(chatId)) return;
  if (verified.has(chatId) && state.value.rooms.get(chatId)?.loaded) return;
  asked.add(chatId);
  setUnfetched(chatId);
  const begun = connections;
  const chat = state.value.chats.get(chatId);
  setLoading(chatId, true);
  try {
    const expected = FIRST_PAGE + (chat?.missed ?? 0);
    // More than one page is fetched by its position, below.
    const count = expected > LARGEST_PAGE ? FIRST_PAGE : expected;
    const stays = reading && (shown.has(chatId) || state.value.rooms.get(chatId)?.far);
    // Apply each answer when it comes: events may soon outdate it.
    let isCounted = false;
    let isHere = false;
    const coming = ask(chatId, { count });
    const asking = runtime.wire.request("chat", { chatId }).then((details) => {
      change((now) => model.setDetails(now, details));
      isCounted = isHere;
      if (isHere) change((now) => unreadHere(now, chatId, details.missed));
      return details;
    });
    asking.catch(() => {});
    const newest = await coming;
    isHere = true;
    const isTaken = await takeNewest(chatId, newest, stays);
    const details = await asking;
    // The relay knows the unread count; this page may not.
    if (!isCounted) await recount(chatId);
    if (!stays) await reachUnread(chatId, details, { isTaken });
    if (begun === connections) verified.add(chatId);
    shown.add(chatId);
    sendReadMarks();
    await mend(chatId);
  } catch (failure) {
    // An address may contain an invalid id.
    const isUnknown = failure.code === "not_found" || failure.code === "bad_request";
    const other = isUnknown ? await beginChat(chatId).catch((next) => next) : failure;
    if (other) {
      setUnfetched(chatId, other, (next) => tryAgain(chatId, next), tries);
      if (state.value?.rooms.get(chatId)?.loaded ? tries === 0 : !other.code) report(other);
    }
  } finally {
    asked.delete(chatId);
    setLoading(chatId, false);
  }
  // Some of it may have arrived before the connection broke.
  if (begun !== connections && state.value && route.value.chatId === chatId) await refreshRoom(chatId, { reading: true });
}

/**
 * Take in the newest page, unless it lacks the first unread message, which is shown first; return whether the loaded
 * part is then current. `stays`: the view must stay.
 */
async function takeNewest(chatId, newest, stays) {
  const room = state.value?.rooms.get(chatId);
  if (takeJoined(chatId, newest) || !state.value) return true;
  if (stays && room?.loaded) {
    await askAgain(chatId, room);
    return true;
  }
  // The user has jumped far back meanwhile.
  if (room?.far) return true;
  const missed = state.value.chats.get(chatId)?.missed ?? 0;
  const isFirst = !newest.page.more || reachesUnread(newest.page, state.value.me.id, missed);
  if (isFirst) take(chatId, newest);
  return isFirst;
}

/** Fetch the loaded part again: too much came meanwhile for the newest page to show its changes. */
async function askAgain(chatId, room) {
  const { first, last } = room;
  let startId = Math.min(Math.max(first, last - KEPT_IN_MEMORY), nextId(room));
  for (;;) {
    const answer = await ask(chatId, { startId, count: LARGEST_PAGE });
    if (!takeJoined(chatId, answer) || !answer.page.more || answer.page.at(-1).messageId >= last) return;
    startId = answer.page.at(-1).messageId + 1;
  }
}

/** Fetch pages from shortly before the first unread message, if that is not loaded. */
async function reachUnread(chatId, { lastMessageId, missed }, { isTaken }) {
  const reaches = ({ messages }) => reachesUnread(messages, state.value.me.id, missed);
  const before = state.value?.rooms.get(chatId);
  if (isTaken && before?.loaded && (before.far || before.atStart || reaches(before))) return;
  // Own messages, edits and deletions take ids too: the first unread message is here or earlier.
  const startId = Math.max(1, lastMessageId - missed + 1 - READ_BEFORE);
  // The stored part may be outdated if the newest page does not continue it.
  take(chatId, await ask(chatId, { startId, count: LARGEST_PAGE }), { reset: !isTaken });
  for (;;) {
    const room = state.value?.rooms.get(chatId);
    if (!room?.loaded || room.far || room.atStart || reaches(room)) return;
    if (!takeJoined(chatId, await ask(chatId, { endId: room.first, count: LARGEST_PAGE }))) return;
  }
}

/** Fetch stale messages again. */
async function mend(chatId) {
  let before;
  for (;;) {
    const room = state.value?.rooms.get(chatId);
    if (!(room?.stale.size > 0)) return;
    const startId = Math.min(...room.stale, nextId(room));
    if (startId === before) return;
    before = startId;
    if (!takeJoined(chatId, await ask(chatId, { startId, count: LARGEST_PAGE }))) return;
  }
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

/** Ask how many messages of a chat are unread: one of them may have been deleted, or the answer came before the messages. */
export async function recount(chatId) {
  try {
    const { missed } = await runtime.wire.request("chat", { chatId });
    change((now) => unreadHere(readHere(now, chatId, 0, missed), chatId, missed));
  } catch (failure) {
    if (failure.code !== "not_found") report(failure);
  }
}

const paging = ofUser(new Set());

/** Fetch the page before the loaded messages. After a failure only `tryAgain` does. */
export async function loadOlder(chatId, tries) {
  const room = state.value?.rooms.get(chatId);
  if (!room?.loaded || room.atStart || isLost(chatId) || unfetched.value.has(chatId)) return;
  const fail = (failure) => setUnfetched(chatId, failure, (next) => tryAgain(chatId, next), tries);
  await alone(chatId, () => ask(chatId, { endId: room.first, count: NEXT_PAGE }), fail);
}

/** Repeat a failed fetch of the open chat. */
export function tryAgain(chatId, tries) {
  if (route.value.chatId !== chatId) return;
  setUnfetched(chatId);
  paging.delete(chatId);
  if (verified.has(chatId)) loadOlder(chatId, tries);
  else refreshRoom(chatId, { reading: true, tries });
}

/** Fetch the page after the loaded messages, if they do not reach the end. */
export async function loadNewer(chatId) {
  const room = state.value?.rooms.get(chatId);
  if (!room?.loaded || atEnd(state.value, chatId)) return;
  await alone(chatId, () => ask(chatId, { startId: nextId(room), count: NEXT_PAGE }));
}

/** Fetch loaded messages again whose answers came late or whose edits were missed. */
export async function mendRoom(chatId) {
  if (state.value?.rooms.get(chatId)?.stale.size > 0 && !isLost(chatId)) await alone(chatId);
}

/** Fetch one page of a chat at a time, and the messages that it shows to be outdated. */
async function alone(chatId, fetchPage, fail = report) {
  // While the newest page is on its way, this one may not belong to what will be loaded then.
  if (paging.has(chatId) || asked.has(chatId)) return;
  paging.add(chatId);
  try {
    if (fetchPage) takeJoined(chatId, await fetchPage());
    await mend(chatId);
    paging.delete(chatId);
  } catch (failure) {
    fail(failure);
    // Scrolling requests it repeatedly.
    setTimeout(() => paging.delete(chatId), failure.retryAfter ?? PAGE_AGAIN);
  }
}

let targetSerial = 0;

/** Show one message of a chat, loading around it when it is far away. `mark` is of the target (signals.js). */
export async function showMessage(chatId, messageId, mark) {
  if (!messageOf(state.value, chatId, messageId)) {
    try {
      let answer = await ask(chatId, { startId: Math.max(1, messageId - 40), count: 100 });
      // The messages before it may fill a page already.
      if (answer.page.more && answer.page.at(-1).messageId < messageId) answer = await ask(chatId, { startId: messageId, count: 100 });
      if (!answer.page.some((one) => one.messageId === messageId)) return tell(t("message.gone"), { error: true });
      take(chatId, answer, { far: true });
    } catch (failure) {
      return report(failure);
    }
  }
  targetSerial += 1;
  target.value = { chatId, messageId, mark, serial: targetSerial };
}

/** Return to the newest message. */
export async function showNewest(chatId) {
  change((now) => trim(now, chatId, KEPT_IN_MEMORY));
  if (!atEnd(state.value, chatId)) {
    try {
      take(chatId, await ask(chatId, { count: FIRST_PAGE }), { reset: true });
    } catch (failure) {
      report(failure);
    }
  }
}

/** Milliseconds between two read receipts of a chat: in a flood one covers many messages. */
const READ_AGAIN = 150;

const readSent = ofMessages(new Map());
const readWaiting = ofMessages(new Map());
let readTimer;

/** Mark a chat as read up to a message. Called only while the user sees it. */
export function markRead(chatId, messageId) {
  const chat = state.value?.chats.get(chatId);
  if (!(chat?.missed > 0) || Math.max(readSent.get(chatId) ?? 0, readWaiting.get(chatId) ?? 0) >= messageId) return;
  // Far from the end everything loaded may be read although the chat has news. At the end the relay counts.
  if (newestShown(state.value, chatId)?.messageId !== messageId && !readsMore(state.value, chatId, messageId)) return;
  readWaiting.set(chatId, messageId);
  if (readTimer === undefined) sendReadMarks();
}

/** Whether this connection has shown that a message has the same id as before; its ids may be given again. */
export function isCurrent(chatId, { messageId, clientMessageId }) {
  const found = verified.has(chatId) && messageOf(state.value, chatId, messageId);
  return messageId <= sureOf(chatId) || Boolean(found && found.clientMessageId === clientMessageId);
}

/** Send the read receipts that are due. */
export function sendReadMarks() {
  clearTimeout(readTimer);
  readTimer = undefined;
  for (const [chatId, messageId] of readWaiting) {
    change((now) => readHere(now, chatId, messageId));
    const named = { messageId, clientMessageId: messageOf(state.value, chatId, messageId)?.clientMessageId };
    // A chat that is being fetched tells itself.
    if (!isCurrent(chatId, named) && !asked.has(chatId)) askFor(chatId, named);
    if (!isCurrent(chatId, named)) continue;
    readWaiting.delete(chatId);
    readSent.set(chatId, messageId);
    readTimer ??= setTimeout(sendReadMarks, READ_AGAIN);
    runtime.wire?.request("read", { chatId, messageId }, { once: true }).then(
      (answer) => {
        change((now) => readHere(now, chatId, messageId, answer.missed));
        runtime.storage?.tell({ kind: "read", chatId, messageId });
      },
      (failure) => {
        const again = () => {
          // A later receipt covers this one.
          if (readSent.get(chatId) !== messageId || readWaiting.has(chatId) || !state.value) return;
          readWaiting.set(chatId, messageId);
          if (readTimer === undefined) sendReadMarks();
        };
        if (failure.code === "connection_lost") again();
        else if (MAY_PASS.has(failure.code)) setTimeout(again, failure.retryAfter ?? PAGE_AGAIN);
        else report(failure);
      },
    );
  }
}

sure.subscribe(() => readWaiting.size > 0 && sendReadMarks());
