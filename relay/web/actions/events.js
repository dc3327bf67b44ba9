/** Events of the relay: applied once per animation frame, with alerts for those that the user should notice. */
import { computed, effect, untracked } from "@preact/signals";
import { announce, lossText, report, tell } from "./notices.js";
import { openChat, recount, refreshForgotten } from "./rooms.js";
import { change, changedRooms, ending, refreshChats, reportLoading, runtime, setState, startAgain } from "./store.js";
import { t } from "../i18n/i18n.js";
import { applyEvents, differs, expireTyping, mayCount, TYPING_LASTS } from "../model/events.js";
import { atEnd } from "../model/messages.js";
import * as model from "../model/state.js";
import { isolate } from "../model/text.js";
import { clock } from "../net/clock.js";
import { active, ofMessages, ofUser, route, seesChat, settings, state } from "../signals.js";

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
  for (const frame of frames) if (frame.eventType === "device") import("./groups.js").then((they) => they.noticeDevice(frame.payload), reportLoading);
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

/** Within this many ms another tab says that the user has seen a message there, or that it alerts the user. */
const ALERT_AFTER = 300;
/** A tab that has not alerted within this many ms, divided by the own rank, is dead; hidden tabs are slow. */
const ALERT_WITHIN = 4_000;
/** The tab with the highest rank alerts; one that the user has touched may sound. */
const chance = 0.5 + Math.random() / 2;

/** By chat: the last message that another tab has shown to the user, or alerted them to. */
export const attended = ofMessages(new Map());
/** By chat: the last message that a tab of a higher rank will alert the user to. */
const claimed = ofMessages(new Map());

/** Note what another tab says of a message. */
export function hearOf({ kind, chatId, messageId, rank }) {
  if (kind === "attended") attended.set(chatId, messageId);
  else if (kind === "alerts" && rank > ownRank()) claimed.set(chatId, messageId);
}

const ownRank = () => chance + Boolean(navigator.userActivation?.hasBeenActive);

function noticeNew(event) {
  const now = state.value;
  if (event.sender === now.me.id || event.status === "deleted" || event.status === "read") return;
  const chat = now.chats.get(event.chatId);
  const name = model.tellOf(now, event.sender ?? event.chatId);
  const text = event.message || t("message.attachment");
  // Far from the end of an open chat the user does not see it.
  const watching = seesChat.value && route.value.chatId === event.chatId && atEnd(now, event.chatId);
  if (watching) announce(`${name}: ${text}`);
  const { chatId, messageId } = event;
  const claim = (kind) => runtime.storage?.tell({ kind, chatId, messageId, rank: ownRank() });
  if (active.value) claim("attended");
  // Missed messages come together: a sound for each would be noise.
  const fresh = clock.age(event.timestamp ?? clock.now()) < 60_000;
  if (watching || !fresh || !(chat?.missed > 0)) return;
  const title = chat.type === "dialog" ? name : `${isolate(name)} · ${isolate(chat.name)}`;
  if (active.value) return alertNow(event, title, text);
  const alertUnlessDone = () => {
    if (!isUnattended(event)) return;
    claim("attended");
    alertNow(event, title, text);
  };
  claim("alerts");
  setTimeout(() => (claimed.get(chatId) >= messageId ? setTimeout(alertUnlessDone, ALERT_WITHIN / ownRank()) : alertUnlessDone()), ALERT_AFTER);
}

/** Say which chat was lost, how and to whom, unless the list and the chat itself show it. */
function noticeLoss(event, before) {
  ending.delete(event.chatId);
  const chat = state.value.chats.get(event.chatId);
  if (chat?.gone && before.chats.get(event.chatId)?.gone) return;
  if (chat?.gone) announce(lossText(chat));
  else if (!chat && event.reason && event.title) tell(lossText({ name: event.title, gone: event }));
}

/** Whether the message is still unread on every device, and no other tab has shown it or alerted the user. */
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
