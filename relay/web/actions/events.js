/** Events of the relay: applied once per animation frame, with alerts for those that the user should notice. */
import { computed, effect, untracked } from "@preact/signals";
import { openPanel } from "./navigation.js";
import { announce, lossText, report, tell, untell } from "./notices.js";
import { openChat, recount, refreshForgotten } from "./rooms.js";
import { change, changedRooms, ending, refreshChats, reportLoading, runtime, setState, startAgain } from "./store.js";
import { t } from "../i18n/i18n.js";
import { applyEvents, differs, expireTyping, mayCount, TYPING_LASTS } from "../model/events.js";
import { atEnd } from "../model/messages.js";
import * as model from "../model/state.js";
import { isolate } from "../model/text.js";
import { clock } from "../net/clock.js";
import { active, dialog, ofMessages, ofUser, route, seesChat, settings, state } from "../signals.js";

/** In a flood of events the page is drawn at this interval (ms); a single event is drawn in the next frame. */
const FLOOD_FRAME = 60;

let waitingFrames = [];
ofUser(() => (waitingFrames = []));
let flushScheduled = false;
let flushedAt = 0;

export function queueEvent(frame) {
  waitingFrames.push(frame);
  if (flushScheduled) return;
  flushScheduled = true;
  // A hidden page gets no animation frames, but must still apply events.
  if (document.visibilityState !== "visible") setTimeout(flush, 0);
  else if (clock.steady() - flushedAt >= FLOOD_FRAME) requestAnimationFrame(flush);
  else setTimeout(() => (document.visibilityState === "visible" ? requestAnimationFrame(flush) : flush()), FLOOD_FRAME);
}

function flush() {
  if (!flushScheduled) return;
  flushScheduled = false;
  flushedAt = clock.steady();
  const frames = waitingFrames;
  waitingFrames = [];
  if (!state.value) return;
  for (const { eventType, payload } of frames) {
    if (eventType === "new" && differs(state.value.rooms.get(payload.chatId), [payload])) startAgain(payload.chatId);
  }
  const now = clock.now();
  const before = state.value;
  const losses = frames.filter(({ eventType }) => eventType === "chatGone").map(({ payload }) => payload);
  // How they were lost is told below.
  for (const { chatId, reason, title } of losses) if (reason && title) ending.add(chatId);
  // The next refresh corrects the state after an event that failed.
  setState(applyEvents(before, frames, now, (failure) => console.error(failure)));
  for (const { payload } of frames) if (payload?.chatId) changedRooms.add(payload.chatId);
  for (const frame of frames) if (frame.id !== undefined) runtime.wire?.acknowledge(frame.id);
  for (const frame of frames) if (frame.eventType === "new") noticeNew(frame.payload);
  for (const loss of losses) noticeLoss(loss, before);
  for (const frame of frames) if (frame.eventType === "device") noticeDevice(frame.payload);
  if (frames.some(({ eventType, payload }) => eventType === "chat" && payload.item.id === route.value.chatId)) refreshDetails().then(refreshForgotten);
  if (frames.some((frame) => frame.eventType === "chatsStale")) refreshChats().then(refreshForgotten);
  const gone = frames.filter(({ eventType, payload }) => eventType === "delete" && mayCount(state.value, payload));
  for (const chatId of new Set(gone.map(({ payload }) => payload.chatId))) recount(chatId);
}

async function refreshDetails() {
  const { chatId } = route.value;
  if (!chatId || !state.value.chats.has(chatId) || state.value.chats.get(chatId).gone || !runtime.wire) return;
  try {
    const details = await runtime.wire.request("chat", { chatId });
    change((now) => model.setDetails(now, details));
  } catch (failure) {
    if (failure.code !== "not_found") report(failure);
  }
}

/** Apply events now: before an answer that came after them, and when the page is hidden. */
export function applyWaiting() {
  if (flushScheduled) flush();
}

let typingTimer;

/** End a user's typing after a while, in case the `stop` event is lost. */
function watchTyping() {
  clearTimeout(typingTimer);
  if (!state.value || state.value.typing.size === 0) return;
  typingTimer = setTimeout(() => {
    change((now) => expireTyping(now, clock.now()));
    watchTyping();
  }, TYPING_LASTS);
}

const typing = computed(() => state.value?.typing);
// Not at each change of the state: on a busy relay the timer would never fire.
effect(() => typing.value && untracked(watchTyping));

/** How long, in ms, another visible tab has to claim a message before this tab alerts the user. */
const ALERT_AFTER = 300;

/** By chat: the last message that the user has seen in another tab. */
export const attended = ofMessages(new Map());

function noticeNew(event) {
  const now = state.value;
  if (event.sender === now.me.id || event.status === "deleted" || event.status === "read") return;
  const chat = now.chats.get(event.chatId);
  const name = model.tellOf(now, event.sender ?? event.chatId);
  const text = event.message || t("message.attachment");
  // Far from the end of an open chat the user does not see it.
  const watching = seesChat.value && route.value.chatId === event.chatId && atEnd(now, event.chatId);
  if (watching) announce(`${name}: ${text}`);
  if (active.value) runtime.storage?.tell({ kind: "attended", chatId: event.chatId, messageId: event.messageId });
  // Missed messages come together: a sound for each would be noise.
  const fresh = clock.age(event.timestamp ?? clock.now()) < 60_000;
  if (watching || !fresh || !(chat?.missed > 0)) return;
  const title = chat.type === "dialog" ? name : `${isolate(name)} · ${isolate(chat.name)}`;
  if (active.value) alertNow(event, title, text);
  else setTimeout(() => isUnattended(event) && alertNow(event, title, text), ALERT_AFTER);
}

/** Say which chat was lost, how and to whom, unless the list and the chat itself show it. */
function noticeLoss(event, before) {
  ending.delete(event.chatId);
  const chat = state.value.chats.get(event.chatId);
  if (chat?.gone && before.chats.get(event.chatId)?.gone) return;
  if (chat?.gone) announce(lossText(chat));
  else if (!chat && event.reason && event.title) tell(lossText({ name: event.title, gone: event }));
}

/** This reveals a stolen invite or password. */
function noticeDevice({ label }) {
  tell(t("devices.new", { label: label || t("devices.unnamed") }), {
    error: true,
    lasts: 60_000,
    action: t("devices.show"),
    onAction: () => {
      untell();
      dialog.value = null;
      openPanel("settings");
    },
  });
}

/** Whether the message is still unread on every device, and no other tab is visible. */
function isUnattended({ chatId, messageId }) {
  return !(attended.get(chatId) >= messageId) && state.value?.chats.get(chatId)?.missed > 0;
}

function alertNow({ chatId, messageId }, title, text) {
  const { sound, notifications } = settings.value;
  const notification = notifications && !active.value;
  import("../notify.js").then(
    ({ alertNew }) => alertNew({ title, text, chatId, messageId, sound, notification, open: () => openChat(chatId) }),
    reportLoading,
  );
}
