/** Navigation: writes the route and the browser's history, and reads the address. */
import { tell } from "./notices.js";
import { t } from "../i18n/i18n.js";
import { dialog, route, session, state } from "../signals.js";

function hashOf({ chatId, panel }) {
  const parts = new URLSearchParams();
  if (chatId) parts.set("chat", chatId);
  if (panel) parts.set("panel", panel);
  const text = parts.toString();
  return text ? `#${text}` : location.pathname;
}

/** How many steps back stay within the page. */
let depth = 0;

/** Set the route from the address; returns the chat that it opens. */
export function readAddress() {
  const parts = new URLSearchParams(location.hash.slice(1));
  // An invite is for somebody who is not signed in; the code should not stay in the address.
  if (parts.has("invite") && state.value) {
    history.replaceState(history.state, "", location.pathname);
    tell(t("signin.already", { name: session.value.name }));
  }
  const came = history.state?.depth;
  if (dialog.value) {
    dialog.value = null;
    // Back closes only what is on top.
    if (came < depth) {
      history.go(depth - came);
      return null;
    }
  }
  // A typed address, or the first one.
  if (came === undefined) history.replaceState({ depth: 0 }, "");
  depth = came ?? 0;
  const chatId = parts.get("chat");
  const next = { chatId, panel: parts.get("panel") };
  if (next.chatId === route.value.chatId && next.panel === route.value.panel) return null;
  route.value = next;
  return chatId;
}

export function go(next, { replace = false } = {}) {
  if (!replace) depth += 1;
  history[replace ? "replaceState" : "pushState"]({ depth }, "", hashOf(next));
  route.value = next;
}

/** Go back, but never out of the page. */
export function back() {
  if (depth > 0) history.back();
  else if (route.value.panel) go({ ...route.value, panel: null }, { replace: true });
  else go({ chatId: null, panel: null }, { replace: true });
}

/** Close the chat. */
export function closeChat() {
  if (!route.value.chatId) return;
  back();
}

/** Open or close a side panel. */
export function openPanel(panel) {
  if (route.value.panel !== panel) go({ ...route.value, panel }, { replace: Boolean(route.value.panel) });
}
