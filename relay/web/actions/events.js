/** What the relay tells: applied once per animation frame, and what of it a person should notice. */
import { announce } from "./notices.js";
import { openChat, refreshDetails } from "./rooms.js";
import { change, changedRooms, runtime, setState } from "./store.js";
import { t } from "../i18n/i18n.js";
import * as model from "../model/state.js";
import { active, route, settings, state } from "../signals.js";

/** In a flood of events the page is drawn this often, in ms; a single one is drawn in the next frame. */
const FLOOD_FRAME = 60;

let waitingFrames = [];
let flushScheduled = false;
let flushedAt = 0;

export function queueEvent(frame) {
  waitingFrames.push(frame);
  if (flushScheduled) return;
  flushScheduled = true;
  // A hidden page gets no animation frames, and must go on taking messages.
  if (document.visibilityState !== "visible") setTimeout(flush, 0);
  else if (performance.now() - flushedAt >= FLOOD_FRAME) requestAnimationFrame(flush);
  else setTimeout(() => (document.visibilityState === "visible" ? requestAnimationFrame(flush) : flush()), FLOOD_FRAME);
}

function flush() {
  if (!flushScheduled) return;
  flushScheduled = false;
  flushedAt = performance.now();
  if (!state.value) return;
  const frames = waitingFrames;
  waitingFrames = [];
  const now = Date.now();
  let next = state.value;
  for (const frame of frames) {
    try {
      next = model.applyEvent(next, frame, now);
    } catch (failure) {
      // One event that cannot be understood must not hold up the others; the next refresh brings the truth.
      console.error(failure);
    }
    if (frame.payload?.chatId) changedRooms.add(frame.payload.chatId);
  }
  setState(next);
  for (const frame of frames) if (frame.id !== undefined) runtime.wire?.acknowledge(frame.id);
  for (const frame of frames) if (frame.eventType === "new") noticeNew(frame.payload);
  if (frames.some((frame) => frame.eventType === "chats")) refreshDetails();
}

/** A frame may have been scheduled for a page that then went out of sight. */
export function flushWhenHidden() {
  if (flushScheduled) flush();
}

let typingTimer;

/** Called each time somebody begins to type: end it when nothing more comes. */
export function watchTyping() {
  clearTimeout(typingTimer);
  if (!state.value || state.value.typing.size === 0) return;
  typingTimer = setTimeout(() => change((now) => model.expireTyping(now, Date.now())), model.TYPING_LASTS);
}

/** Another tab that the person looks at has this long to say so, before this one makes itself heard. */
const ALERT_AFTER = 300;

/** By chat, up to which message another tab had the person's eyes. */
const attended = new Map();

/** Another tab has the person's eyes on a chat, up to a message. */
export function noteAttended(chatId, messageId) {
  attended.set(chatId, messageId);
}

function noticeNew(event) {
  const now = state.value;
  if (event.sender === now.me.id || event.status === "deleted" || event.status === "read") return;
  const chat = now.chats.get(event.chatId);
  const name = model.tellOf(now, event.sender ?? event.chatId);
  const text = event.message || t("message.attachment");
  const watching = active.value && route.value.chatId === event.chatId;
  if (watching) announce(`${name}: ${text}`);
  if (active.value) runtime.tabs?.postMessage({ kind: "attended", chatId: event.chatId, messageId: event.messageId });
  // What was waiting while we were away comes in one go: a sound for each would be noise.
  const fresh = Date.now() - (event.timestamp ?? Date.now()) < 60_000;
  if (watching || !fresh || !(chat?.missed > 0)) return;
  const title = chat.type === "dialog" ? name : `${name} · ${chat.name}`;
  if (active.value) alertNow(event, title, text);
  else setTimeout(() => isUnattended(event) && alertNow(event, title, text), ALERT_AFTER);
}

/** Nobody has read the message meanwhile, here or elsewhere, and no other tab is looked at. */
function isUnattended({ chatId, messageId }) {
  return !(attended.get(chatId) >= messageId) && state.value?.chats.get(chatId)?.missed > 0;
}

function alertNow({ chatId }, title, text) {
  const { sound, notifications } = settings.value;
  const notification = notifications && !active.value;
  import("../notify.js").then(({ alertNew }) =>
    alertNew({ title, text, chatId, sound, notification, open: () => openChat(chatId) }),
  );
}
