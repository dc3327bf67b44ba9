/** Every signal that the views read. `actions/` change them; views only `dialog`, `composing`. */
import { batch, computed, signal } from "@preact/signals";
import * as model from "./model/state.js";
import { readLocal, writeLocal } from "./storage.js";

/** Maximum characters of a message; a frame has at most 256 KiB. */
export const LONGEST_MESSAGE = 32_000;
/** Maximum characters of a query, for messages and for names. */
export const LONGEST_QUERY = 256;
export const LONGEST_NAME_QUERY = 128;

const owned = [];
const byIds = [];

/** Register what belongs to the signed-in user: a Map or Set, or a function that forgets it. */
export function ofUser(what) {
  owned.push(what);
  return what;
}

/** Register what is kept by message ids: a Map or Set by chat. It belongs to the user, too. */
export function ofMessages(what) {
  byIds.push(what);
  return ofUser(what);
}

/** Make a signal that belongs to the user. */
function ofUserSignal(first) {
  const made = signal(first);
  ofUser(() => (made.value = first));
  return made;
}

/** Forget all that belongs to the user, after signing out. */
export function forgetUser() {
  batch(() => owned.forEach((what) => (what.clear ? what.clear() : what())));
}

/** Forget all message ids of chats: the relay gives them again, after a restore. */
export function forgetIds(chatIds) {
  for (const what of byIds) for (const chatId of chatIds) what.delete(chatId);
}

/** The model. */
export const state = ofUserSignal(null);
/** The signed-in user: undefined until it is known, null when nobody is signed in. */
export const session = signal(undefined);
/**
 * By chat: the highest message id that is known to be of the same message on this connection: a backup may have been
 * restored. Without an entry nothing is known yet.
 */
export const sure = ofUserSignal(new Map());
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
/** This device was signed out by somebody else: {unsent, disabled}, the number of erased messages and drafts, and
 * whether the user is disabled. */
export const signedOut = signal(null);
/** The open chat and panel: {chatId, panel, at?}. */
export const route = ofUserSignal({ chatId: null, panel: null });
/** The window is visible and has the focus. */
export const active = signal(true);
/** The width of the window in px. */
export const breadth = signal(Infinity);
/** The notice at the foot of the page, {text, error, action?, onAction?}, shown for a few seconds. */
export const notice = ofUserSignal(null);
/** The latest announcements for screen readers, {id, text}. */
export const announcements = ofUserSignal([]);
/** What was typed into forms and not sent, by the form's name (views/frames.js). */
export const typed = ofUser(new Map());
/** The open dialog: {name, ...}, or null. One about a message has {chatId, messageId} or, while that is pending,
 * {chatId, clientMessageId}. */
export const dialog = ofUserSignal(null);
/** Upload progress by clientMessageId, 0 to 1. */
export const uploads = ofUserSignal(new Map());
/**
 * The message being replied to or edited: {chatId, kind: "reply"|"edit", messageId, quote}. `quoteOf` gives its
 * current text; `quote` is the text at the beginning.
 */
export const composing = ofUserSignal(null);
/** The message to show in the open chat: {chatId, messageId, mark?, serial}; `mark` splits a text, every second part is found. */
export const target = ofUserSignal(null);
/** Chats whose first page of messages is being fetched. */
export const loadingRooms = ofUserSignal(new Set());
/** By chat why its messages could not be fetched; the list of chats is under null. */
export const unfetched = ofUserSignal(new Map());
const USUAL_SETTINGS = { theme: "system", language: null, sound: true, helpKey: true, notifications: false };
export const loadSettings = () => ({ ...USUAL_SETTINGS, ...readLocal("settings") });
export const settings = signal(loadSettings());

export const chats = computed(() => (state.value ? model.sortedChats(state.value) : []));
export const unread = computed(() => (state.value ? model.unreadTotal(state.value) : 0));

/** Dialogs that leave what is under them in view. */
const LIGHT = new Set(["menu", "emoji"]);

/**
 * Whether the user sees the open chat: the window is active, and no dialog and, in a narrow window (app.css), no panel
 * covers it. Read marks, sounds and notifications all ask this.
 */
export const seesChat = computed(() => {
  const { chatId, panel } = route.value;
  const covered = panel && breadth.value < (panel === "details" ? 960 : 768);
  return Boolean(chatId) && active.value && !covered && (!dialog.value || LIGHT.has(dialog.value.name));
});

/** Change a setting of this device. */
export function changeSetting(change) {
  settings.value = { ...settings.value, ...change };
  // If that fails they hold until the page closes.
  writeLocal("settings", settings.value);
}
