/** Alerts for a user who looks elsewhere: the title, the favicon, a sound, a notification. */
import { effect } from "@preact/signals";
import { unread } from "./signals.js";
import { t } from "./i18n/i18n.js";
import { cut } from "./model/text.js";
import { clock } from "./net/clock.js";

const SIZE = 32;
const SOUND_EVERY = 1_500;

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
  effect(() => {
    const count = unread.value;
    const title = t("list.title");
    document.title = count > 0 ? `(${count > 99 ? "99+" : count}) ${title}` : title;
    link.href = drawIcon(count);
    if (count > 0) navigator.setAppBadge?.(count)?.catch(() => {});
    else navigator.clearAppBadge?.()?.catch(() => {});
  });
}

let audio;
let soundedAt = -Infinity;

/** Play two short tones; they are synthesised, so no file is loaded. */
function playSound() {
  if (clock.steady() - soundedAt < SOUND_EVERY) return;
  soundedAt = clock.steady();
  try {
    audio ??= new AudioContext();
    // Browsers keep a page silent until the user has touched it.
    if (audio.state === "suspended") audio.resume();
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

async function showNotification({ title, text, chatId, open }) {
  const options = { body: cut(text, 200), tag: `chat:${chatId}`, icon: "/icons/icon-192.png", data: { chatId } };
  const worker = await navigator.serviceWorker?.getRegistration();
  if (worker) {
    await worker.showNotification(title, options);
    return;
  }
  const shown = new Notification(title, options);
  shown.onclick = () => {
    focus();
    open();
    shown.close();
  };
}

/** Alert the user to a message in a chat that is not in view. */
export function alertNew({ sound, notification, ...message }) {
  if (sound) playSound();
  if (notification && canNotify() && Notification.permission === "granted") showNotification(message).catch(() => {});
}
