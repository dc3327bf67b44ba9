/** Drafts: text that is being written and not sent yet. */
import { change, runtime } from "./store.js";
import * as model from "../model/state.js";
import { state } from "../signals.js";

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
  } else if (typedIn !== chatId || Date.now() - typedAt > TYPING_EVERY) {
    typedIn = chatId;
    typedAt = Date.now();
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
  if ((state.value?.drafts.get(chatId) ?? "") === text) return;
  change((now) => model.setDraft(now, chatId, text));
  runtime.storage?.saveDraft(chatId, text);
  runtime.tabs?.postMessage({ kind: "draft", chatId, text });
}
