/** Alerts for a user who looks elsewhere: the title, the favicon, a sound, notifications, which close with their
 * reason. */
import { effect } from "@preact/signals";
import { session, state, unread } from "./signals.js";
import { t } from "./i18n/i18n.js";
import { messageOf } from "./model/messages.js";
import { cut } from "./model/text.js";
import { clock } from "./net/clock.js";

const SIZE = 32;
const SOUND_EVERY = 1_500;
/** A sound that could not begin within this many ms is left out. */
const SOUND_WITHIN = 1_000;
/** Characters of a message in a notification. */
const NOTIFIED = 200;
/** Characters of it that the chat list certainly has. */
const LISTED = 50;
/** Ms between two checks of the shown notifications. */
const LOOK_EVERY = 250;

/** The favicon with a count on it, as a data address. */
function drawIcon(count) {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = SIZE;
  const context = canvas.getContext("2d");
  context.fillStyle = "#0b6e69";
  context.beginPath();
  context.roundRect(0, 0, SIZE, SIZE, 8);
  context.fill();
  context.fillStyle = "#ffffff";
  context.beginPath();
  context.ellipse(16, 15, 10, 8.5, 0, 0, Math.PI * 2);
  context.moveTo(9, 19);
  context.lineTo(8.5, 27);
  context.lineTo(17, 22);
  context.fill();
  if (count > 0) {
    const text = count > 99 ? "99" : String(count);
    context.fillStyle = "#c62828";
    context.beginPath();
    context.roundRect(text.length > 1 ? 8 : 14, 12, text.length > 1 ? 24 : 18, 20, 9);
    context.fill();
    context.fillStyle = "#ffffff";
    context.font = "bold 17px sans-serif";
    context.textAlign = "center";
    context.fillText(text, text.length > 1 ? 20 : 23, 28);
  }
  return canvas.toDataURL("image/png");
}

/** Keep title, favicon and the badge of an installed page at the number of unread messages. */
export function watchBadge() {
  const link = document.querySelector('link[rel="icon"]');
  let drawn;
  let next;
  let waiting;
  const draw = () => {
    waiting = undefined;
    const { count, title } = next;
    document.title = count > 0 ? `(${count > 99 ? "99+" : count}) ${title}` : title;
    // All counts above 99 look the same.
    if (drawn !== Math.min(count, 100)) link.href = drawIcon(count);
    drawn = Math.min(count, 100);
    if (count > 0) navigator.setAppBadge?.(count)?.catch(() => {});
    else navigator.clearAppBadge?.()?.catch(() => {});
  };
  effect(() => {
    next = { count: unread.value, title: t("list.title") };
    // In its own task, after the messages are shown.
    waiting ??= setTimeout(draw);
  });
}

let audio;
let soundedAt = -Infinity;
let waking = false;

/**
 * Start the sound device; return whether it runs, and soon enough. Browsers keep a page silent until the user has
 * touched it, and the clock of a silent one stands still: all that is scheduled on it would sound at once.
 */
async function wake() {
  if (audio.state === "running") return true;
  // One request waits for the first touch; after it each is answered.
  if (waking && navigator.userActivation?.hasBeenActive === false) return false;
  const asked = clock.steady();
  waking = true;
  await audio.resume();
  waking = false;
  return audio.state === "running" && clock.steady() - asked <= SOUND_WITHIN;
}

/** Play two short tones; they are synthesised, so no file is loaded. */
async function playSound() {
  if (clock.steady() - soundedAt < SOUND_EVERY) return;
  soundedAt = clock.steady();
  try {
    audio ??= new AudioContext();
    if (!(await wake())) return;
    const start = audio.currentTime;
    for (const [at, frequency] of [[0, 660], [0.11, 880]]) {
      const tone = audio.createOscillator();
      const volume = audio.createGain();
      tone.frequency.value = frequency;
      volume.gain.setValueAtTime(0.0001, start + at);
      volume.gain.exponentialRampToValueAtTime(0.12, start + at + 0.015);
      volume.gain.exponentialRampToValueAtTime(0.0001, start + at + 0.16);
      tone.connect(volume).connect(audio.destination);
      tone.start(start + at);
      tone.stop(start + at + 0.18);
    }
  } catch {
    // No sound device.
  }
}

/** Whether this page may show notifications; browsers allow them only over https and on localhost. */
export function canNotify() {
  return isSecureContext && typeof Notification !== "undefined";
}

/** Notifications that this page shows itself, where it has no service worker; by tag. */
const own = new Map();

/** Show what `options` says; a notification of the same chat is replaced, with another alert unless it is `silent`. */
async function show(title, options, open) {
  const worker = await navigator.serviceWorker?.getRegistration();
  if (worker) {
    await worker.showNotification(title, options);
    return;
  }
  const shown = new Notification(title, options);
  own.set(options.tag, shown);
  shown.onclose = () => own.get(options.tag) === shown && own.delete(options.tag);
  shown.onclick = () => {
    focus();
    open();
    shown.close();
  };
}

async function showNotification({ title, text, chatId, messageId, open }) {
  const data = { chatId, messageId };
  const options = { body: cut(text, NOTIFIED), tag: `chat:${chatId}`, renotify: true, icon: "/icons/icon-192.png", data };
  await show(title, options, open);
  // Meanwhile it may have been read.
  lookSoon();
}

/** The current text of a notification: null if its reason is gone, undefined if unknown. */
function textNow({ body, data: { chatId, messageId } }) {
  const chat = state.value?.chats.get(chatId);
  if (!(chat?.missed > 0)) return null;
  const latest = chat.lastMessageId === messageId;
  const message = messageOf(state.value, chatId, messageId);
  if (message?.status === "deleted" || (latest && chat.lastMessageStatus === "deleted")) return null;
  if (message) return message.message;
  // The list may have only the beginning of the text.
  return latest && !body.startsWith(cut(chat.lastMessageText ?? "", LISTED)) ? chat.lastMessageText : undefined;
}

/** Close notifications of messages that were read, deleted or lost with their chat; update edited ones. */
async function look() {
  const worker = await navigator.serviceWorker?.getRegistration();
  const shown = worker ? await worker.getNotifications() : [...own.values()];
  for (const one of shown) {
    if (!one.data?.chatId) continue;
    const text = textNow(one);
    if (text === null) one.close();
    else if (text && cut(text, NOTIFIED) !== one.body && one.body !== t("message.attachment")) {
      const { tag, icon, data, title } = one;
      await show(title, { body: cut(text, NOTIFIED), tag, icon, data, silent: true }, one.onclick ?? (() => {}));
    }
  }
}

let timer;

function lookSoon() {
  timer ??= setTimeout(() => {
    timer = undefined;
    look().catch(() => {});
  }, LOOK_EVERY);
}

/** Keep notifications current, also those shown before the page was reopened. */
export function watchNotifications() {
  if (!canNotify()) return;
  let chats;
  effect(() => {
    const now = state.value;
    // Nothing is known before the session.
    if (session.value === undefined || chats === (now?.chats ?? null)) return;
    chats = now?.chats ?? null;
    lookSoon();
  });
}

/** Alert the user to a message in a chat that is not in view. */
export function alertNew({ sound, notification, ...message }) {
  if (sound) playSound();
  if (notification && canNotify() && Notification.permission === "granted") showNotification(message).catch(() => {});
}
