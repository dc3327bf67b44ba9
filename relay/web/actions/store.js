/** The state and its changes, what of it is kept on this device, and requests that teach it something. */
import { closeChat } from "./navigation.js";
import { report, tell } from "./notices.js";
import { t } from "../i18n/i18n.js";
import * as model from "../model/state.js";
import { RequestError } from "../net/socket.js";
import { route, state } from "../signals.js";

/** What a session has while somebody is signed in: the wire to the relay, the disk of this device, the other tabs. */
export const runtime = { wire: null, storage: null, tabs: null };
/** Chats one is leaving or deleting oneself. */
export const ending = new Set();
export const changedRooms = new Set();

export async function refreshChats() {
  try {
    const list = await runtime.wire.request("chats", {});
    change((now) => model.applyEvent(now, { eventType: "chats", payload: list }, Date.now()));
    runtime.storage?.tidyRooms(new Set(state.value.chats.keys()));
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

/** Write what changed to the disk of this device. */
export function save() {
  clearTimeout(saveTimer);
  saveTimer = undefined;
  const now = state.value;
  if (!now || !runtime.storage) return;
  runtime.storage.saveChats([...now.chats.values()]);
  runtime.storage.savePeople([...now.people.values()]);
  for (const chatId of changedRooms) {
    const room = now.rooms.get(chatId);
    // Only what reaches the newest message may be kept: a hole would show as lost messages next time.
    if (room?.loaded && model.atEnd(now, chatId)) runtime.storage.saveRoom(chatId, room, now.details.get(chatId));
  }
  changedRooms.clear();
}

/** Ask the relay; for panels that show the answer or the failure themselves. */
export function request(payloadType, payload, options) {
  if (!runtime.wire) return Promise.reject(new RequestError("connection_lost", "Signed out."));
  return runtime.wire.request(payloadType, payload, options);
}

/** People of the relay whose name matches. */
export async function findPeople(query, after) {
  const found = await request("users", { query: query || undefined, count: 100, after });
  change((now) => model.learnPeople(now, found));
  return found;
}
