/**
 * Drafts and the outbox: the edit to continue, and the due rows of the outbox. Pure.
 */
import { editKey } from "./state.js";

/** Find the latest unfinished edit of a chat: {text, at, quote}. */
export function begunEdit(state, chatId) {
  const head = editKey(chatId, "");
  let latest = null;
  for (const [key, draft] of state.drafts) {
    if (key.startsWith(head) && draft.quote && draft.text && !(latest?.at > draft.at)) latest = draft;
  }
  return latest;
}

/** The message that a row names: {messageId, clientMessageId}; undefined for none. */
export function namedBy({ originalMessageId: messageId, originalClientId, replyTo }) {
  return messageId ? { messageId, clientMessageId: originalClientId } : replyTo;
}

/** Whether a row has files to upload. */
export function needsUpload(row) {
  return Boolean(row.files) && !row.attachments;
}

/**
 * Choose the rows to send now. Those of one chat go one after another, so that none overtakes one refused for now; only
 * a row with an upload is overtaken.
 *
 * @param {object[]} outbox in the order of writing
 * @param {object} options
 * @param {Set<string>} options.busy ids of rows that are on their way
 * @param {Map<string, {notBefore: number}>} options.waits of rows that were refused for now
 * @param {number} options.now ms, as in `notBefore`
 * @param {number} options.pausedUntil ms; until then nothing goes out
 * @param {number} options.uploads how many uploads may begin
 * @param {(row: object) => boolean} options.isCurrent whether the message that a row names has the same id still
 * @returns {{rows: object[], unsure: object[], next: number}} `unsure`: rows held by `isCurrent`; `next`: when to look
 *   again, Infinity when nothing waits for a time
 */
export function dueRows(outbox, { busy, waits, now, pausedUntil, uploads, isCurrent }) {
  const waiting = outbox.filter((row) => row.state === "queued");
  const unsure = [];
  if (pausedUntil > now) return { rows: [], unsure, next: waiting.length > 0 ? pausedUntil : Infinity };
  const held = new Set();
  const rows = [];
  let next = Infinity;
  let free = uploads;
  for (const row of waiting) {
    const loads = needsUpload(row);
    const { notBefore = 0 } = waits.get(row.clientMessageId) ?? {};
    const isBusy = busy.has(row.clientMessageId);
    if (!isBusy && (loads ? free > 0 : !held.has(row.chatId))) {
      if (notBefore > now) {
        next = Math.min(next, notBefore);
      } else if (!loads && !isCurrent(row)) {
        unsure.push(row);
      } else {
        rows.push(row);
        if (loads) free -= 1;
      }
    }
    if (!loads) held.add(row.chatId);
  }
  return { rows, unsure, next };
}
