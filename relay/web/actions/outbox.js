/** The outbox: messages waiting to be sent, in order, with their files. Loaded when there is something to send. */
import { announce, explain } from "./notices.js";
import { change, runtime } from "./store.js";
import { t } from "../i18n/i18n.js";
import { applyAnswer } from "../model/events.js";
import { quoteOf } from "../model/messages.js";
import * as model from "../model/state.js";
import { clock } from "../net/clock.js";
import { RequestError } from "../net/socket.js";
import { connection, state, uploads } from "../signals.js";

const UPLOADS_AT_ONCE = 2;
let uploadsRunning = 0;
const inFlight = new Set();

/** Make a random id; crypto.randomUUID is missing over plain http. */
function randomId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}

function put(row) {
  change((now) => model.enqueue(now, row));
  runtime.storage?.putRow(row);
  pump();
}

/** Send text, files (File[]) or both; `replyTo` is the quote of the message that is answered. */
export function send(chatId, { text = "", files = [], replyTo } = {}) {
  const message = text.trim();
  if (!message && files.length === 0) return;
  const row = {
    kind: "new",
    clientMessageId: randomId(),
    chatId,
    message,
    replyTo: replyTo && quoteOf(state.value, chatId, replyTo),
    createdAt: clock.stamp(),
    state: "queued",
  };
  if (files.length > 0) {
    row.files = files.map((file) => ({ blob: file, name: file.name, type: file.type, size: file.size, ...file.shape }));
  }
  put(row);
}

/** Change the text of one's own message. */
export function edit(chatId, originalMessageId, message) {
  put({ kind: "edit", clientMessageId: randomId(), chatId, originalMessageId, message: message.trim(), createdAt: clock.stamp(), state: "queued" });
}

/** Delete a message for everybody. */
export function remove(chatId, originalMessageId) {
  put({ kind: "delete", clientMessageId: randomId(), chatId, originalMessageId, createdAt: clock.stamp(), state: "queued" });
}

/** Change a row here, on the disk and in the other tabs. */
function patch(clientMessageId, fields) {
  change((now) => model.patchOutbox(now, clientMessageId, fields));
  runtime.storage?.patchRow(clientMessageId, fields);
}

/** Send a failed message again. */
export function retry(clientMessageId) {
  patch(clientMessageId, { state: "queued", failure: undefined });
  pump();
}

/** Discard a waiting message. */
export function discard(clientMessageId) {
  forget(clientMessageId);
  change((now) => model.dropOutbox(now, clientMessageId));
}

function forget(clientMessageId) {
  runtime.storage?.dropRow(clientMessageId);
  setProgress(clientMessageId, undefined);
  inFlight.delete(clientMessageId);
}

function fail(row, failure) {
  inFlight.delete(row.clientMessageId);
  setProgress(row.clientMessageId, undefined);
  const { code, limit, quota, retryAfter, file: name } = failure;
  patch(row.clientMessageId, { state: "failed", failure: { code, limit, quota, retryAfter, name } });
  announce(`${t("message.failed")}. ${explain(failure)}`);
}

/** Send what a closed tab left in IndexedDB; the relay takes a message that two tabs send once. */
export async function adoptFiles() {
  const kept = new Map(((await runtime.storage?.loadRows()) ?? []).map((row) => [row.clientMessageId, row]));
  for (const { clientMessageId, files } of state.value?.outbox ?? []) {
    const row = kept.get(clientMessageId);
    if (!row || !files || files.every((file) => file.blob)) continue;
    const { files: whole, attachments } = row;
    change((now) => model.patchOutbox(now, clientMessageId, { files: whole ?? files, attachments }));
  }
  pump();
}

/** Whether a waiting message is being sent just now. */
export function isInFlight(clientMessageId) {
  return inFlight.has(clientMessageId);
}

/** Send waiting messages. Within a chat they keep the order of writing; only a message with an upload is overtaken. */
export function pump() {
  if (connection.value.name !== "live" || !state.value) return;
  for (const row of state.value.outbox) {
    if (row.state !== "queued" || inFlight.has(row.clientMessageId)) continue;
    if (row.files && !row.attachments) {
      if (uploadsRunning >= UPLOADS_AT_ONCE || !row.files.every((file) => file.blob)) continue;
      inFlight.add(row.clientMessageId);
      uploadAll(row);
    } else {
      inFlight.add(row.clientMessageId);
      transmit(row);
    }
  }
}

function payloadOf(row) {
  const { chatId, clientMessageId } = row;
  if (row.kind === "delete") return { chatId, clientMessageId, originalMessageId: row.originalMessageId };
  if (row.kind === "edit") {
    return { chatId, clientMessageId, originalMessageId: row.originalMessageId, message: row.message };
  }
  const payload = { chatId, clientMessageId };
  if (row.message) payload.message = row.message;
  if (row.attachments) payload.attachments = row.attachments;
  if (row.replyTo) payload.replyTo = row.replyTo.messageId;
  return payload;
}

async function transmit(row) {
  try {
    const answer = await runtime.wire.request(row.kind, payloadOf(row));
    const done = { ...row, files: undefined };
    change((now) => applyAnswer(now, done, answer));
    runtime.storage?.tell({ kind: "sent", row: done, answer });
    forget(row.clientMessageId);
  } catch (failure) {
    if (failure.code === "rate_limited" || failure.code === "unavailable") {
      setTimeout(() => {
        inFlight.delete(row.clientMessageId);
        pump();
      }, failure.retryAfter ?? 3_000);
      return;
    }
    fail(row, failure);
  }
}

function setProgress(clientMessageId, progress) {
  const next = new Map(uploads.value);
  if (progress === undefined) next.delete(clientMessageId);
  else next.set(clientMessageId, progress);
  uploads.value = next;
}

const running = new Map();

/** Fetch the module that uploads; the first screen does without it. */
async function fetchUploader() {
  try {
    return await import("../net/upload.js");
  } catch {
    throw new RequestError("connection_lost", "The relay cannot be reached.");
  }
}

async function uploadAll(row) {
  uploadsRunning += 1;
  const total = row.files.reduce((sum, file) => sum + file.size, 0) || 1;
  let done = 0;
  try {
    const { upload } = await fetchUploader();
    const attachments = [];
    for (const file of row.files) {
      attachments.push(
        await upload(file, (loaded) => setProgress(row.clientMessageId, (done + loaded) / total), (request) =>
          running.set(row.clientMessageId, request),
        ),
      );
      done += file.size;
    }
    const ready = { ...row, attachments };
    if (!state.value.outbox.some((one) => one.clientMessageId === row.clientMessageId)) return;
    patch(row.clientMessageId, { attachments });
    await transmit(ready);
  } catch (failure) {
    if (failure.code === "aborted") return;
    if (failure.code === "connection_lost") {
      // It stays in the queue, and is sent when there is a connection.
      inFlight.delete(row.clientMessageId);
      setTimeout(pump, 3_000);
    } else {
      fail(row, failure);
    }
  } finally {
    running.delete(row.clientMessageId);
    uploadsRunning -= 1;
    setTimeout(pump, 0);
  }
}

/** Cancel an upload and discard its message. */
export function cancelUpload(clientMessageId) {
  running.get(clientMessageId)?.abort();
  discard(clientMessageId);
}
