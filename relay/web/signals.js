/** Every signal that the views read. Whoever changes one is in `actions/`. */
import { computed, signal } from "@preact/signals";
import { keepSettings, loadSettings } from "./device.js";
import * as model from "./model/state.js";

/** A message grows no further than this; the relay's frames end at 256 KiB. */
export const LONGEST_MESSAGE = 32_000;
/** The relay looks for no more characters than these in messages, and in names. */
export const LONGEST_QUERY = 256;
export const LONGEST_NAME_QUERY = 128;

/** The model. */
export const state = signal(null);
/** Who is signed in: undefined while not known, null when nobody is. */
export const session = signal(undefined);
/** What the sign-in page may offer: "invite", "password", "open". */
export const signInWays = signal([]);
/** {name, until?} of the wire, and whether it is worth telling the person. */
export const connection = signal({ name: "stopped" });
export const troubled = signal(false);
/** What is open: {chatId, panel, at?}. */
export const route = signal({ chatId: null, panel: null });
/** The window is visible and has the focus. */
export const active = signal(true);
/** {text, error?} at the foot of the page, for a few seconds. */
export const notice = signal(null);
/** What a screen reader should say: the last few things, {id, text}. */
export const announcements = signal([]);
/** The modal on top: {name, ...}, or null. */
export const dialog = signal(null);
/** Upload progress by clientMessageId, 0 to 1. */
export const uploads = signal(new Map());
/** In a chat: the message answered or edited. {chatId, kind: "reply"|"edit", message} */
export const composing = signal(null);
/** The message to show in the open chat: {chatId, messageId, serial}. */
export const target = signal(null);
/** Chats whose first page is being fetched. */
export const loadingRooms = signal(new Set());
export const settings = signal(loadSettings());

export const chats = computed(() => (state.value ? model.sortedChats(state.value) : []));
export const unread = computed(() => (state.value ? model.unreadTotal(state.value) : 0));

/** Change a setting of this device. */
export function changeSetting(change) {
  settings.value = { ...settings.value, ...change };
  keepSettings(settings.value);
}
