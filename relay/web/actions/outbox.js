/**
 * The outbox: messages waiting to be sent, in order, with their files. Loaded when there is something to send.
 *
 * All tabs have all rows. Two of them may send a text: the relay accepts it once. The tab that has the files sends
 * them; when it is gone, another one reads them from the disk.
 */
import { announce, explain, tell } from "./notices.js";
import { isCurrent } from "./rooms.js";
import { askFor, change, reportLoading, runtime } from "./store.js";
import { t } from "../i18n/i18n.js";
import { applyAnswer } from "../model/events.js";
import { messageOf, quoteOf } from "../model/messages.js";
import * as model from "../model/state.js";
import { dueRows, namedBy, needsUpload } from "../model/writing.js";
import { clock } from "../net/clock.js";
import { rowBackoff } from "../net/socket.js";
import { connection, ofUser, route, session, state, sure, uploads } from "../signals.js";

const UPLOADS_AT_ONCE = 2;
/** After this many failed tries the user decides. */
export const MOST_TRIES = 10;
const LONGEST_WAIT = 60_000;
/** Errors that may pass. All others fail at once, with the reason. */
const PASSING = new Set(["connection_lost", "rate_limited", "unavailable"]);
/** Rows whose files this tab sends. */
export const own = new Set();
/** Rows on their way. */
export const busy = new Set();
/** By row that could not be sent: {tries, notBefore} on the steady clock. */
export const waits = new Map();
/** By row: the uploaded files. */
export const finished = new Map();
/** Rows whose files are on their way. */
const uploading = new Set();
/** By row: the current upload. */
export const running = new Map();
/** By row whose files this tab asks the other tabs for: called with true if one of them has the files. */
export const asking = new Map();
/** By row: how often another tab had the files. */
export const elsewhere = new Map();
let pausedUntil = 0;
let pumpTimer;

/** Make a random id; crypto.randomUUID is missing over plain http. */
function randomId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}

export const tabId = randomId();

// ---------------------------------------------------------------- the user's actions

function put(chatId, what) {
  const { outbox, chats } = state.value;
  const row = {
    ...what,
    clientMessageId: randomId(),
    chatId,
    to: chats.get(chatId)?.name,
    number: Math.max(0, ...outbox.map((one) => one.number ?? 0)) + 1,
    createdAt: clock.now(),
    state: "queued",
  };
  if (row.files) own.add(row.clientMessageId);
  change((now) => model.enqueue(now, row));
  runtime.storage?.putRow(row).then((kept) => {
    const waiting = state.value?.outbox.some((one) => one.clientMessageId === row.clientMessageId);
    if (!kept && waiting) tell(t("upload.notKept"), { error: true });
  });
  pump();
}

/** NUL, which a terminal may copy, cannot be seen, and the relay refuses it. */
const cleaned = (text) => text.replaceAll("\0", "").trim();

/** Send text, files (File[]) or both; `replyTo` is the quote of the message that is answered. */
export function send(chatId, { text = "", files = [], replyTo } = {}) {
  const message = cleaned(text);
  if (!message && files.length === 0) return;
  const what = { kind: "new", message, replyTo: replyTo && quoteOf(state.value, chatId, replyTo) };
  if (files.length > 0) {
    what.files = files.map((file) => ({ blob: file, name: file.name, type: file.type, size: file.size, ...file.shape }));
  }
  put(chatId, what);
}

/** What a row says of the message that it changes. */
function original(chatId, messageId, known = messageOf(state.value, chatId, messageId)) {
  return { originalMessageId: messageId, originalClientId: known?.clientMessageId };
}

/** Edit an own message; `quote` is how it was when the edit began. */
export function edit(chatId, messageId, message, quote) {
  put(chatId, { kind: "edit", ...original(chatId, messageId, quote), message: cleaned(message) });
}

/** Delete a message for everybody. */
export function remove(chatId, messageId) {
  put(chatId, { kind: "delete", ...original(chatId, messageId) });
}

/** Change a row here, on the disk and in the other tabs. */
export function patch(clientMessageId, fields) {
  change((now) => model.patchOutbox(now, clientMessageId, fields));
  runtime.storage?.patchRow(clientMessageId, fields);
}

/** Send a failed message again, its files too: the relay may have dropped them meanwhile. */
export function retry(clientMessageId) {
  waits.delete(clientMessageId);
  finished.delete(clientMessageId);
  const row = rowOf(clientMessageId);
  patch(clientMessageId, { state: "queued", failure: undefined, ...(row?.files ? { attachments: undefined } : {}) });
  pump();
}

/** Discard a waiting message. */
export function discard(clientMessageId) {
  forget(clientMessageId);
  change((now) => model.dropOutbox(now, clientMessageId));
}

/** Whether a waiting message is being sent just now. */
export function isInFlight(clientMessageId) {
  return busy.has(clientMessageId);
}

// ---------------------------------------------------------------- sending a row

export function rowOf(clientMessageId) {
  return state.value?.outbox.find((row) => row.clientMessageId === clientMessageId);
}

/** Send waiting messages. Within a chat they keep the order of writing; only a message with an upload is overtaken. */
export function pump() {
  clearTimeout(pumpTimer);
  if (connection.value.name !== "live" || runtime.wire?.state.name !== "live" || !state.value) return;
  const now = clock.steady();
  const { rows, unsure, next } = dueRows(state.value.outbox, {
    busy, waits, now, pausedUntil, uploads: UPLOADS_AT_ONCE - uploading.size, isCurrent: (row) => !namedBy(row) || isCurrent(row.chatId, namedBy(row)),
  });
  for (const row of unsure) askFor(row.chatId, namedBy(row), row.createdAt);
  for (const row of rows) {
    busy.add(row.clientMessageId);
    if (needsUpload(row)) transmitFiles(row);
    else transmit(row);
  }
  if (next < Infinity) pumpTimer = setTimeout(pump, Math.max(0, next - now));
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
    const answer = await runtime.wire.request(row.kind, payloadOf(row), { once: Boolean(namedBy(row)) });
    const done = { ...row, files: undefined };
    change((now) => applyAnswer(now, done, answer));
    runtime.storage?.tell({ kind: "sent", row: done, answer });
    forget(row.clientMessageId);
  } catch (failure) {
    end(row, failure);
  }
  pump();
}

/** Send the files of a row. The first screen does without the module for it. */
async function transmitFiles(row) {
  uploading.add(row);
  try {
    const { uploadAll } = await import("./outbox/uploads.js");
    await uploadAll(row);
    busy.delete(row.clientMessageId);
  } catch (failure) {
    const { code = "connection_lost", quota, retryAfter, file } = failure;
    end(row, { code, quota, retryAfter, file, limit: code === "too_large" ? session.value?.limits?.fileBytes : undefined });
  } finally {
    uploading.delete(row);
    pump();
  }
}

function forget(clientMessageId) {
  runtime.storage?.dropRow(clientMessageId);
  letGo(clientMessageId);
}

/** Forget this tab's data about a row, and stop its upload. */
function letGo(clientMessageId) {
  for (const known of [own, busy, waits, finished, asking, elsewhere]) known.delete(clientMessageId);
  setProgress(clientMessageId, undefined);
  running.get(clientMessageId)?.abort();
}

/** After a failure: wait for the next try, or show the error. */
export function end(row, failure) {
  const { clientMessageId: id } = row;
  busy.delete(id);
  setProgress(id, undefined);
  if (!rowOf(id) || failure.code === "aborted") return;
  if (!PASSING.has(failure.code)) return fail(row, failure);
  const tries = waits.get(id)?.tries ?? 0;
  if (tries + 1 >= MOST_TRIES) return fail(row, failure.code === "connection_lost" ? { ...failure, code: "upload_broken" } : failure);
  const { retryAfter } = failure;
  const wait = retryAfter === undefined ? rowBackoff(tries) : Math.min(LONGEST_WAIT, retryAfter * 2 ** tries);
  // Failures from a broken connection do not count, and the next connection ends the wait.
  const isBroken = runtime.wire?.state.name !== "live" && failure.code === "connection_lost";
  waits.set(id, isBroken ? { tries, notBefore: 0 } : { tries: tries + 1, notBefore: clock.steady() + wait });
  // The limit is per user, so the next message would meet it too.
  if (failure.code === "rate_limited") pausedUntil = Math.max(pausedUntil, clock.steady() + wait);
}

function fail(row, failure) {
  const { code, limit, quota, retryAfter, file: name } = failure;
  waits.delete(row.clientMessageId);
  if ((code === "not_found" || code === "forbidden") && isOutOfSight(row)) {
    busy.add(row.clientMessageId);
    return giveBack([row], failure);
  }
  patch(row.clientMessageId, { state: "failed", failure: { code, limit, quota, retryAfter, name } });
  announce(`${t("message.failed")}. ${explain({ code, limit, quota, retryAfter, name })}`);
}

// ---------------------------------------------------------------- files

const blobUrls = new Map();
ofUser(() => {
  blobUrls.forEach((url) => URL.revokeObjectURL(url));
  blobUrls.clear();
  pausedUntil = 0;
});

/** Make an address for the preview of a file that waits. */
export function previewUrl(blob) {
  if (!blobUrls.has(blob)) blobUrls.set(blob, URL.createObjectURL(blob));
  return blobUrls.get(blob);
}

export function setProgress(clientMessageId, progress) {
  if (progress === undefined && !uploads.value.has(clientMessageId)) return;
  const next = new Map(uploads.value);
  if (progress === undefined) next.delete(clientMessageId);
  else next.set(clientMessageId, progress);
  uploads.value = next;
}

// ---------------------------------------------------------------- other tabs, and lost chats

/** Handle another tab's news of the outbox; the state has changed already. */
export function hear({ kind, clientMessageId, tabId: other, row }) {
  const id = clientMessageId ?? row?.clientMessageId;
  if (kind === "whose") {
    const mine = own.has(id) || (asking.has(id) && tabId < other);
    if (mine && rowOf(id)) runtime.storage?.tell({ kind: "mine", clientMessageId: id });
  } else if (kind === "mine") {
    asking.get(id)?.(true);
  } else if (kind === "closing") {
    elsewhere.clear();
    for (const waiting of state.value?.outbox ?? []) if (!busy.has(waiting.clientMessageId)) waits.delete(waiting.clientMessageId);
    pump();
  } else if (kind === "row" || kind === "patch") {
    // The tab that wrote it sends it. If that tab dies, this one does.
    if (own.has(id)) waits.delete(id);
    else waits.set(id, { tries: 0, notBefore: clock.steady() + rowBackoff(0) });
    pump();
  }
}

/** Whether the user cannot see a row: its chat is not in the list and not open. */
function isOutOfSight({ chatId }) {
  return !state.value.chats.has(chatId) && route.value.chatId !== chatId;
}

/** These rows can no longer be sent, for `failure` if one says why. */
function giveBack(rows, failure) {
  import("./restarts.js").then((they) => they.giveBack(rows.filter((row) => rowOf(row.clientMessageId)), failure), reportLoading);
}

let before = state.value;

/** Follow the outbox: rows sent or discarded by another tab, and rows for lost chats. */
function follow(now) {
  if (now && before && now.outbox === before.outbox && now.chats === before.chats) return;
  const last = before;
  before = now;
  const rows = new Set((now?.outbox ?? []).map((row) => row.clientMessageId));
  for (const { clientMessageId } of last?.outbox ?? []) if (!rows.has(clientMessageId)) letGo(clientMessageId);
  const gone = new Map();
  for (const row of now?.outbox ?? []) {
    const left = last?.chats.has(row.chatId) && !now.chats.has(row.chatId);
    const refused = row.state === "failed" && (row.failure?.code === "not_found" || row.failure?.code === "forbidden");
    if (left || (refused && isOutOfSight(row))) gone.set(row.chatId, [...(gone.get(row.chatId) ?? []), row]);
  }
  // Not while the state is being set; and a chat may come back as readable, with its rows.
  const isLeft = (row) => rowOf(row.clientMessageId) && !state.value.chats.has(row.chatId);
  for (const some of gone.values()) setTimeout(() => giveBack(some.filter(isLeft)), 0);
}

state.subscribe(follow);
sure.subscribe(pump);
