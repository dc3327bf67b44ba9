/**
 * Chats whose message ids the relay gives again, because a backup was restored under the page. An
 * unfinished edit or answer names its message by id, so it would change or answer another one: its text stays, as the
 * draft of the chat. And chats that were lost: what cannot be sent to them, and their removal from the list.
 */
import { draftAt, keepDraft, showDrafts } from "./drafts.js";
import { explain, tell } from "./notices.js";
import { discard } from "./outbox.js";
import { refreshForgotten } from "./rooms.js";
import { change, ending, runtime, startAgain } from "./store.js";
import { t } from "../i18n/i18n.js";
import { draftsFor, editKey, forget, nameOf, patchOutbox } from "../model/state.js";
import { composing, dialog, ofUser, state, sure } from "../signals.js";

/** Let go of every message id of these chats in dialogs, drafts and the outbox. */
export function letGo(chatIds) {
  if (!state.value) return;
  for (const chatId of chatIds) letGoOf(chatId);
  sure.value = new Map([...sure.value, ...chatIds.map((chatId) => [chatId, Infinity])]);
}

/** A check that failed is tried again after this many ms. */
const AGAIN_AFTER = 3_000;
const checking = ofUser(new Set());

/** Ask whether a message still has its id, for what names it and was written before the connection, at `at`. */
export async function check(chatId, { messageId, clientMessageId }, at = Infinity) {
  const key = `${chatId}/${messageId}`;
  if (checking.has(key)) return;
  checking.add(key);
  try {
    const [found] = await runtime.wire.request("messages", { chatId, startId: messageId, count: 1 });
    const isOther = found?.messageId === messageId && (clientMessageId ? found.clientMessageId !== clientMessageId : found.createdAt > at);
    if (isOther) {
      startAgain(chatId);
      refreshForgotten();
    } else {
      sure.value = new Map(sure.value).set(chatId, Math.max(sure.value.get(chatId) ?? 0, messageId));
    }
  } catch (failure) {
    // The relay refuses what names it, too.
    if (failure.code === "not_found" || failure.code === "forbidden") sure.value = new Map(sure.value).set(chatId, Infinity);
    else setTimeout(() => (sure.value = new Map(sure.value)), failure.retryAfter ?? AGAIN_AFTER);
  } finally {
    checking.delete(key);
  }
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

/** Rows can no longer be sent, for `failure` if one says why: say so, and keep the text as a draft of their chat. */
export function giveBack(rows, failure) {
  if (rows.length === 0) return;
  const [{ chatId, to }] = rows;
  const text = rows.map((row) => row.message).filter(Boolean).join("\n\n");
  const known = draftAt(chatId);
  if (text) keepDraft(chatId, [known?.text, text].filter(Boolean).join("\n\n"), known?.quote);
  showDrafts();
  for (const { clientMessageId } of rows) discard(clientMessageId);
  const copies = Boolean(text) && navigator.clipboard?.writeText;
  const name = to ?? nameOf(state.value, chatId);
  // A person is not gone because they may not be written to.
  const said = failure && state.value.people.has(chatId) ? `${t("message.failed")}: “${name}”. ${explain(failure)}` : t("chat.goneUnsent", { count: rows.length, name });
  tell(said, {
    error: true,
    action: copies ? t("menu.copy") : undefined,
    onAction: copies ? () => navigator.clipboard.writeText(text).then(() => tell(t("copied")), () => {}) : undefined,
  });
}

/** Remove a lost chat from the list, with this device's copy, its drafts and its unsent messages. */
export function forgetChat(chatId) {
  for (const row of state.value.outbox) if (row.chatId === chatId) discard(row.clientMessageId);
  showDrafts();
  for (const [key] of draftsFor(state.value, chatId)) keepDraft(key, "");
  showDrafts();
  ending.add(chatId);
  change((now) => forget(now, [chatId]));
  ending.delete(chatId);
  runtime.storage?.tidyRooms(new Set([...state.value.chats.keys(), ...state.value.lost.keys()]));
  runtime.storage?.tell({ kind: "forgotten", chatId });
}
