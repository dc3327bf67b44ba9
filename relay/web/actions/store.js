/** The state: its changes, saving it on this device, and requests whose answers update it. */
import { effect, untracked } from "@preact/signals";
import { closeChat, go } from "./navigation.js";
import { explain, lossText, report, tell } from "./notices.js";
import { t } from "../i18n/i18n.js";
import { isWhole, messageOf } from "../model/messages.js";
import * as model from "../model/state.js";
import { RequestError, rowBackoff } from "../net/socket.js";
import { composing, connection, dialog, forgetIds, ofUser, route, state, sure, unfetched } from "../signals.js";

/** A signed-in session's socket, and its storage with news for other tabs (storage.js). */
export const runtime = { wire: null, storage: null };
/** Chats that the user is leaving or deleting. */
export const ending = ofUser(new Set());
export const changedRooms = ofUser(new Set());

/** Temporary refusals. */
export const MAY_PASS = new Set(["rate_limited", "unavailable"]);

/** Show a failure in place of a chat, or of the list (null). If it is temporary, call `again` after a while. */
export function setUnfetched(chatId, failure, again, tries = 0) {
  if (!state.value || (!failure && !unfetched.value.has(chatId))) return;
  unfetched.value = model.withEntry(unfetched.value, chatId, failure);
  if (!MAY_PASS.has(failure?.code)) return;
  const retry = () => unfetched.value.get(chatId) === failure && again(tries + 1);
  setTimeout(retry, Math.max(failure.retryAfter ?? 0, rowBackoff(tries)));
}

/** The chat list of before the connection broke, until the new one has arrived. */
let known = null;
ofUser(() => (known = null));

/** While there is no connection, a backup may be restored, which gives message ids again. */
export function doubtIds() {
  known ??= state.value && new Map(state.value.chats);
  if (sure.value.size > 0) sure.value = new Map();
}

/** The highest id of a chat that is of the same message as before the connection; undefined before the list has arrived. */
export const sureOf = (chatId) => sure.value.get(chatId) ?? (known ? undefined : 0);

/** Ask for a message that something written until `at` names, once the list has arrived: has it the same id still? */
export function askFor(chatId, named, at) {
  if (sureOf(chatId) === undefined) return;
  import("./restarts.js").then(({ check }) => check(chatId, named, at), reportLoading);
}

let listing = 0;

/** Fetch the chat list, page by page; each is shown as it comes. */
export async function refreshChats(tries = 0) {
  listing += 1;
  const mine = listing;
  setUnfetched(null);
  let after;
  const again = new Set();
  try {
    do {
      const page = await runtime.wire.request("chats", { after });
      // The list is being fetched again from the start, or the user has signed out.
      if (mine !== listing || !state.value) return;
      const isFirst = after === undefined;
      const proven = new Map(sure.value);
      const restarted = [];
      for (const item of known ? page : []) {
        const same = model.sameUpTo(known.get(item.id), item);
        if (same >= 0) proven.set(item.id, same);
        else if (known.delete(item.id)) restarted.push(item.id);
      }
      change((now) => model.addChats(model.forget(isFirst ? model.beginList(now) : now, restarted), page));
      if (restarted.length > 0) beginAgain(restarted);
      restarted.forEach((chatId) => again.add(chatId));
      after = page.next;
      if (after === undefined) known = null;
      sure.value = proven;
    } while (after !== undefined);
    change(model.endList);
    runtime.storage?.tidyRooms(new Set([...state.value.chats.keys(), ...state.value.lost.keys()].filter((chatId) => !again.has(chatId))));
  } catch (failure) {
    if (mine !== listing || !state.value) return;
    if (tries === 0 && state.value.chats.size > 0) report(failure);
    setUnfetched(null, failure, refreshChats, tries);
  }
}

/** The relay gives the message ids of chats again: what is known by the former ones would be of other messages. */
function beginAgain(chatIds) {
  forgetIds(chatIds);
  import("./restarts.js").then(({ letGo }) => letGo(chatIds), reportLoading);
}

/** The relay gives the message ids of a chat again, which its line in the list did not tell. */
export function startAgain(chatId) {
  change((now) => model.addChats(model.forget(now, [chatId]), [now.chats.get(chatId)].filter(Boolean)));
  beginAgain([chatId]);
}

export function change(step) {
  if (state.value) setState(step(state.value));
}

let saveTimer;

export function setState(next) {
  if (next === state.value) return;
  const before = state.value;
  state.value = next;
  if (next.rooms !== before.rooms) {
    for (const [chatId, room] of next.rooms) if (before.rooms.get(chatId) !== room) changedRooms.add(chatId);
  }
  if (next.outbox !== before.outbox) keepQuotes(before.outbox, next.outbox);
  saveTimer ??= setTimeout(save, 800);
}

/** Pending replies quote the current text, also on disk: a deleted text must not stay there. */
function keepQuotes(before, next) {
  const quotes = new Map(before.map((row) => [row.clientMessageId, row.replyTo]));
  for (const { clientMessageId, replyTo } of next) {
    const quote = quotes.get(clientMessageId);
    if (!quote || !replyTo || (quote.message === replyTo.message && quote.status === replyTo.status)) continue;
    runtime.storage?.patchRow(clientMessageId, { replyTo });
  }
}

/** Read-only dialogs: they stay open over a lost chat that can still be read. */
const ONLY_SHOW = new Set(["info", "viewer", "search"]);

/**
 * Close dialogs whose chat is gone or now read-only, or whose message was deleted. actions/outbox.js returns messages
 * pending for a lost chat.
 */
function settle(before, next) {
  const vanished = (chatId) => before.chats.has(chatId) && !next.chats.has(chatId);
  const closed = (chatId) => vanished(chatId) || Boolean(next.chats.get(chatId)?.gone);
  const deleted = ({ chatId, messageId }) => messageOf(next, chatId, messageId)?.status === "deleted";

  const shown = dialog.value;
  if (shown?.chatId) {
    const isLost = closed(shown.chatId);
    const wouldWrite = shown.name === "files" && !model.mayWrite(next, shown.chatId);
    if (vanished(shown.chatId) || (isLost && !ONLY_SHOW.has(shown.name)) || wouldWrite) {
      dialog.value = null;
      const chat = next.chats.get(shown.chatId);
      if (wouldWrite && chat) tell(isLost ? lossText(chat) : t("chat.readOnly"), { error: true });
    }
    else if (shown.name === "confirm" && shown.messageId && deleted(shown)) {
      dialog.value = null;
      tell(t("message.deleted"));
    }
  }

  const what = composing.value;
  // The text of an edit stays as a draft (views/chat/composer.js).
  if (what && (closed(what.chatId) || (what.kind === "edit" && deleted(what)))) composing.value = null;

  const { chatId, panel } = route.value;
  if (chatId && vanished(chatId) && !ending.has(chatId)) tell(t("chat.gone"));
  if (chatId && vanished(chatId)) closeChat();
  else if (panel === "details" && closed(chatId)) go({ chatId, panel: null }, { replace: true });
}

let settled = null;

// An effect, so that no change of the state can forget it.
effect(() => {
  const before = settled;
  settled = state.value;
  if (before && settled && (before.chats !== settled.chats || before.rooms !== settled.rooms || before.details !== settled.details)) untracked(() => settle(before, settled));
});

/** Say why a part of the page could not be loaded (no connection, or the relay has a newer page); return its code. */
export function reportLoading() {
  if (connection.value.name === "live") {
    tell(t("upgrade.stale"), { error: true, action: t("upgrade.reload"), onAction: () => location.reload() });
    return "stale_page";
  }
  tell(explain("connection_lost"), { error: true });
  return "connection_lost";
}

/** Save what changed to IndexedDB. */
export function save() {
  clearTimeout(saveTimer);
  saveTimer = undefined;
  const now = state.value;
  if (!now || !runtime.storage) return;
  runtime.storage.saveChats(now.chats);
  runtime.storage.savePeople(now.people);
  for (const chatId of changedRooms) {
    const room = now.rooms.get(chatId);
    // Only a part that reaches the newest message is saved: a gap would look like lost messages next time.
    if (isWhole(now, chatId)) runtime.storage.saveRoom(chatId, room, now.details.get(chatId));
  }
  changedRooms.clear();
}

/** Make a request, for views that show the answer or the failure themselves. */
export function request(payloadType, payload) {
  if (!runtime.wire) return Promise.reject(new RequestError("connection_lost", "Signed out."));
  return runtime.wire.request(payloadType, payload);
}

/** Find users whose name matches. */
export async function findPeople(query, after) {
  const found = await request("users", { query: query || undefined, count: 100, after });
  change((now) => model.learnPeople(now, found));
  return found;
}
