/**
 * Chats whose message ids the relay gives again, because a backup was restored under the page. What is unfinished and
 * refers to a message by its id would change or answer another one: its text stays, as the draft of the chat.
 */
import { draftAt, keepDraft, showDrafts } from "./drafts.js";
import { tell } from "./notices.js";
import { discard } from "./outbox.js";
import { change, runtime } from "./store.js";
import { t } from "../i18n/i18n.js";
import { patchOutbox } from "../model/state.js";
import { editKey } from "../model/writing.js";
import { composing, dialog, state } from "../signals.js";

/** Let go of every message id of these chats in dialogs, drafts and the outbox. */
export function letGo(chatIds) {
  if (!state.value) return;
  for (const chatId of chatIds) letGoOf(chatId);
}

function letGoOf(chatId) {
  const texts = [];
  if (dialog.value?.chatId === chatId && dialog.value.messageId !== undefined) dialog.value = null;
  showDrafts();
  for (const [key, { text, quote }] of state.value.drafts) {
    if (!key.startsWith(editKey(chatId, ""))) continue;
    if (quote) texts.push(text);
    keepDraft(key, "");
  }
  for (const row of state.value.outbox.filter((one) => one.chatId === chatId)) {
    const { clientMessageId, kind, message, replyTo } = row;
    if (kind === "edit") texts.push(message);
    if (kind !== "new") discard(clientMessageId);
    else if (replyTo) {
      change((now) => patchOutbox(now, clientMessageId, { replyTo: undefined }));
      runtime.storage?.patchRow(clientMessageId, { replyTo: undefined });
    }
  }
  const own = draftAt(chatId);
  const text = [own?.text, ...texts].filter(Boolean).join("\n\n");
  if (own?.quote || text !== (own?.text ?? "")) keepDraft(chatId, text);
  // The composer has the text before it lets go of the message.
  showDrafts();
  if (composing.value?.chatId === chatId) composing.value = null;
  if (texts.some(Boolean)) tell(t("composer.editGone"), { error: true });
}
