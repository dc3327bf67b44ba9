/** Starts the page: language, theme, the session, and what the browser tells about the window. */
import { effect } from "@preact/signals";
import { render } from "preact";
import { applyWaiting } from "./actions/events.js";
import { readLocation, sendReadMarks } from "./actions/rooms.js";
import { begin, followOtherTabs, wakeUp } from "./actions/session.js";
import { change, runtime, save } from "./actions/store.js";
import { active, breadth, settings, state } from "./signals.js";
import { preferredLanguage, tick, useLanguage } from "./i18n/i18n.js";
import { html } from "./views/parts.js";
import { Shell } from "./views/shell.js";

/** The rest of the page is fetched this many ms after it is shown. */
const REST_AFTER = 1_500;
/** A failed fetch of it is repeated after this many ms. */
const REST_AGAIN = 30_000;
/** The page does not wait longer than this many ms for a language. */
const LANGUAGE_WITHIN = 8_000;

function watchWindow() {
  const look = () => {
    active.value = document.visibilityState === "visible" && document.hasFocus();
    breadth.value = innerWidth;
  };
  look();
  addEventListener("resize", look);
  addEventListener("focus", look);
  addEventListener("blur", look);
  document.addEventListener("visibilitychange", () => {
    look();
    if (document.visibilityState === "visible") {
      tick();
      wakeUp();
    } else {
      applyWaiting();
      sendReadMarks();
      save();
    }
  });
  addEventListener("pageshow", (event) => {
    if (event.persisted) wakeUp();
  });
  addEventListener("pagehide", () => {
    sendReadMarks();
    save();
    // Another tab may send what this one has not sent yet.
    runtime.storage?.tell({ kind: "closing" });
  });
  setInterval(() => document.visibilityState === "visible" && tick(), 60_000);
  addEventListener("online", wakeUp);
  addEventListener("storage", followOtherTabs);
  addEventListener("popstate", readLocation);
  // A file dropped beside the target must not replace the page; dropped text still goes into fields.
  for (const name of ["dragover", "drop"]) {
    addEventListener(name, (event) => {
      if (event.dataTransfer?.types.includes("Files")) event.preventDefault();
    });
  }
}

/** Load the user's language, or English meanwhile. */
async function loadLanguage() {
  const load = (code) => Promise.race([useLanguage(code), new Promise((_, reject) => setTimeout(reject, LANGUAGE_WITHIN))]);
  // Without any texts the page cannot be shown: it reloads after a while.
  const again = () => new Promise(() => setTimeout(() => location.reload(), LANGUAGE_WITHIN));
  await load(preferredLanguage(settings.value.language)).catch(() => load("en")).catch(again);
}

function watchTheme() {
  effect(() => {
    const { theme } = settings.value;
    if (theme === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
  });
}

/** Once the list is shown, fetch the modules that it does not need: the user may go offline. */
function fetchTheRest() {
  // From here on, look-alike names are distinguished.
  fetchLater(() => import("./model/alikes.js"), async ({ learnLooks }) => {
    await learnLooks(state.value?.people ?? new Map(), () => new Promise((resolve) => setTimeout(resolve)));
    change((now) => ({ ...now }));
  });
  fetchLater(() => import("./views/chat/conversation.js"));
  fetchLater(() => import("./actions/groups.js"), ({ followLanguage }) => followLanguage());
  fetchLater(() => import("./views/dialogs.js"));
  fetchLater(() => import("./views/finders.js"));
  fetchLater(() => import("./notify.js"), ({ watchBadge, watchNotifications }) => {
    watchBadge();
    watchNotifications();
  });
  // A stored page may be older than the relay's.
  fetchLater(() => import("./actions/upgrade.js"), ({ lookForUpgrade, registerWorker, watchKeyboard }) => {
    watchKeyboard();
    if (navigator.serviceWorker?.controller) lookForUpgrade();
    registerWorker();
  });
  fetchLater(() => import("./actions/people.js"), ({ watchStrangers }) => watchStrangers());
}

function fetchLater(load, use) {
  load().then(use, () => setTimeout(fetchLater, REST_AGAIN, load, use));
}

async function start() {
  watchTheme();
  // In parallel: the session does not depend on the language.
  const [entering] = [begin(), await loadLanguage()];
  watchWindow();
  const root = document.getElementById("app");
  root.replaceChildren();
  render(html`<${Shell} />`, root);
  await entering;
  setTimeout(() => (window.requestIdleCallback ?? setTimeout)(fetchTheRest), REST_AFTER);
}

start();
