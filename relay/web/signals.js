/** Every signal that the views read. Only `actions/` change them. */
import { computed, signal } from "@preact/signals";
import * as model from "./model/state.js";
import { keepSettings, loadSettings } from "./storage.js";

/** Maximum characters of a message; a frame has at most 256 KiB. */
export const LONGEST_MESSAGE = 32_000;
/** Maximum characters of a query, for messages and for names. */
export const LONGEST_QUERY = 256;
export const LONGEST_NAME_QUERY = 128;

/** The model. */
export const state = signal(null);
/** The signed-in user: undefined until it is known, null when nobody is signed in. */
export const session = signal(undefined);
/** The ways to sign in that the relay offers: "invite", "password", "open". */
export const signInWays = signal([]);
/** The socket's state {name, until?}. */
export const connection = signal({ name: "stopped" });
/**
 * The notice about a connection that has been away for a while: null, "connecting" (unknown reason),
 * "offline" (no network), "silent" (nothing answers), "refused" (a proxy answers, or the relay takes
 * no connection), "elsewhere" (something else answers in place of the relay).
 */
export const trouble = signal(null);
/** The relay has a newer version of this page. */
export const upgraded = signal(false);
/** Another device signed this one out: {unsent}, the number of erased messages and drafts. */
export const signedOut = signal(null);
/** The open chat and panel: {chatId, panel, at?}. */
export const route = signal({ chatId: null, panel: null });
/** The window is visible and has the focus. */
export const active = signal(true);
/** The notice at the foot of the page, {text, error, action?, onAction?}, shown for a few seconds. */
export const notice = signal(null);
/** The latest announcements for screen readers, {id, text}. */
export const announcements = signal([]);
/** The open dialog: {name, ...}, or null. One about a message has {chatId, messageId} or, while that is pending,
 * {chatId, clientMessageId}. */
export const dialog = signal(null);
/** Upload progress by clientMessageId, 0 to 1. */
export const uploads = signal(new Map());
/**
 * The message being replied to or edited: {chatId, kind: "reply"|"edit", messageId, quote}. `quoteOf` gives its
 * current text; `quote` is the text at the beginning.
 */
export const composing = signal(null);
/** The message to show in the open chat: {chatId, messageId, mark?, serial}; `mark` splits a text, every second part is found. */
export const target = signal(null);
/** Chats whose first page of messages is being fetched. */
export const loadingRooms = signal(new Set());
/** By chat why its messages could not be fetched; the list of chats is under null. */
export const unfetched = signal(new Map());
export const settings = signal(loadSettings());

export const chats = computed(() => (state.value ? model.sortedChats(state.value) : []));
export const unread = computed(() => (state.value ? model.unreadTotal(state.value) : 0));

/** Change a setting of this device. */
export function changeSetting(change) {
  settings.value = { ...settings.value, ...change };
  keepSettings(settings.value);
}
