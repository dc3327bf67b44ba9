/** Drafts: unsent text, and the message that it replies to or edits. */
import { change, runtime } from "./store.js";
import { asQuote } from "../model/messages.js";
import * as model from "../model/state.js";
import { drawnMessage } from "../model/timeline.js";
import { clock } from "../net/clock.js";
import { composing, ofUser, state } from "../signals.js";

const TYPING_EVERY = 3_000;
/** The chat list shows a draft after a pause of this many ms. */
const SHOW_AFTER = 300;

let typedAt = 0;
let typedIn = null;

/** Tell the other members now and then that the user types, and once that they have stopped. */
export function typing(chatId, hasText) {
  const type = state.value.chats.get(chatId)?.type;
  if (!type || type === "favorites" || type === "channel") return;
  if (!hasText) {
    if (typedIn === chatId) runtime.wire.notify("typing", { chatId, stop: true });
    typedIn = null;
    typedAt = 0;
  } else if (typedIn !== chatId || clock.steady() - typedAt > TYPING_EVERY) {
    typedIn = chatId;
    typedAt = clock.steady();
    runtime.wire.notify("typing", { chatId });
  }
}

/** Forget that the user types, after a message was sent: the relay itself ends the typing. */
export function typingDone() {
  typedIn = null;
  typedAt = 0;
}

/** Drafts on the disk that reach the state after a pause. */
const waiting = ofUser(new Map());
let showTimer;

/** Return a draft {text, at, quote?} as it was last written in any tab; undefined if there is none. */
export function draftAt(key) {
  const mine = waiting.get(key);
  const known = state.value?.drafts.get(key);
  return mine && !(known?.at > mine.at) ? mine : known;
}

/** Save a draft: it is on the disk before this returns, so a tab that dies at the next key loses nothing. */
export function keepDraft(key, text, quote) {
  if (!state.value || !runtime.storage) return;
  const known = draftAt(key);
  if ((known?.text ?? "") === text && known?.quote?.messageId === quote?.messageId) return;
  waiting.set(key, runtime.storage.draft(key, { text, quote }, known?.at));
  clearTimeout(showTimer);
  showTimer = setTimeout(showDrafts, SHOW_AFTER);
}

/** Show the draft in the chat list without waiting for a pause. */
export function showDrafts() {
  clearTimeout(showTimer);
  const drafts = [...waiting];
  waiting.clear();
  if (drafts.length > 0) change((now) => drafts.reduce((next, [key, draft]) => model.mergeDraft(next, key, draft), now));
}

/** Begin to reply to (`kind` "reply") or edit ("edit") a message; an edit continues a pending one. */
export function compose(chatId, kind, messageId) {
  const message = drawnMessage(state.value, { chatId, messageId });
  if (message && message.status !== "deleted") composing.value = { chatId, kind, messageId, quote: asQuote(message) };
}

/** Continue the draft of a reply or an edit. */
export function resume(chatId, kind, quote) {
  composing.value = { chatId, kind, messageId: quote.messageId, quote };
}
