/** The state: its changes, saving it on this device, and requests whose answers update it. */
import { closeChat } from "./navigation.js";
import { report, tell } from "./notices.js";
import { t } from "../i18n/i18n.js";
import { atEnd } from "../model/messages.js";
import * as model from "../model/state.js";
import { RequestError } from "../net/socket.js";
import { route, state } from "../signals.js";

/** What a signed-in session uses: the socket to the relay, and what this device and its other tabs are told (storage.js). */
export const runtime = { wire: null, storage: null };
/** Chats that the user is leaving or deleting. */
export const ending = new Set();
export const changedRooms = new Set();

let listing = 0;

/** Fetch the chat list, page by page; each is shown as it comes. */
export async function refreshChats() {
  listing += 1;
  const mine = listing;
  let after;
  try {
    do {
      const page = await runtime.wire.request("chats", { after });
      // It is being fetched from the first page on again, or the user has signed out.
      if (mine !== listing || !state.value) return;
      const isFirst = after === undefined;
      change((now) => model.addChats(isFirst ? model.beginList(now) : now, page));
      after = page.next;
    } while (after !== undefined);
    change(model.endList);
    runtime.storage?.tidyRooms(new Set([...state.value.chats.keys(), ...state.value.lost.keys()]));
  } catch (failure) {
    report(failure);
  }
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
  const { chatId } = route.value;
  if (chatId && before.chats.has(chatId) && !next.chats.has(chatId) && next.chats !== before.chats) {
    closeChat();
    if (!ending.has(chatId)) tell(t("chat.gone"));
  }
  saveTimer ??= setTimeout(save, 800);
}

/** Save what changed to IndexedDB. */
export function save() {
  clearTimeout(saveTimer);
  saveTimer = undefined;
  const now = state.value;
  if (!now || !runtime.storage) return;
  runtime.storage.saveChats([...now.chats.values()]);
  runtime.storage.savePeople([...now.people.values()]);
  for (const chatId of changedRooms) {
    const room = now.rooms.get(chatId);
    // Only a part that reaches the newest message is saved: a gap would look like lost messages next time.
    if (room?.loaded && atEnd(now, chatId)) runtime.storage.saveRoom(chatId, room, now.details.get(chatId));
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
