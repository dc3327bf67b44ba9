/** Drafts: text that is being written and not sent yet, and what it answers or changes. */
import { change, runtime } from "./store.js";
import { asQuote } from "../model/messages.js";
import * as model from "../model/state.js";
import { drawnMessage } from "../model/timeline.js";
import { clock } from "../net/clock.js";
import { composing, state } from "../signals.js";

const TYPING_EVERY = 3_000;

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

/** Save the draft. */
export function keepDraft(chatId, text) {
  if (!state.value || model.draftOf(state.value, chatId) === text) return;
  const draft = runtime.storage?.draft(chatId, text, state.value.drafts.get(chatId)?.at);
  if (draft) change((now) => model.mergeDraft(now, chatId, draft));
}

/** Begin to answer (`kind` "reply") or change ("edit") a message; an edit goes on from one that still waits. */
export function compose(chatId, kind, messageId) {
  const message = drawnMessage(state.value, { chatId, messageId });
  if (message && message.status !== "deleted") composing.value = { chatId, kind, messageId, quote: asQuote(message) };
}
