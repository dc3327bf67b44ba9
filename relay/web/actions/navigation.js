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
/** The depth at which a chat was entered from the list: below it is the list, if anything. */
let entered = 0;
/** The way back, while the browser is on it: {then, isStep}, where the page goes after it; `isStep`: it is one step. */
let leaving = null;
/** A way back that has not ended after this many ms was refused: browsers allow only so many. */
const LEAVES_WITHIN = 3_000;

/** Set the route from the address; returns the chat that it opens. */
export function readAddress() {
  const parts = new URLSearchParams(location.hash.slice(1));
  // An invite is for signed-out people; the code should not stay in the address.
  if (parts.has("invite") && state.value) {
    history.replaceState(history.state, "", location.pathname);
    tell(t("signin.already", { name: session.value.name }));
  }
  const came = history.state?.depth;
  if (leaving?.isStep && !leaving.then) leaving = null;
  if (leaving) {
    arrive(came, parts.has("chat"));
    return null;
  }
  if (dialog.value) {
    dialog.value = null;
    // Back closes only what is on top.
    if (came < depth) {
      history.go(depth - came);
      return null;
    }
  }
  // A typed address, or the first one.
  if (came === undefined) history.replaceState({ depth: 0, entered: 0 }, "");
  depth = came ?? 0;
  entered = history.state.entered ?? depth;
  const chatId = parts.get("chat");
  const next = { chatId, panel: parts.get("panel") };
  if (next.chatId === route.value.chatId && next.panel === route.value.panel) return null;
  route.value = next;
  return chatId;
}

const LIST = { chatId: null, panel: null };

/** The browser is back where the list was, or where the page was entered with a chat. */
function arrive(came, atChat) {
  const { then } = leaving;
  leaving = null;
  depth = came ?? 0;
  entered = history.state?.entered ?? depth;
  if (!then && !atChat) return;
  if (!atChat) route.value = LIST;
  go(then ?? LIST, { replace: atChat });
}

export function go(next, { replace = false } = {}) {
  const from = route.value;
  route.value = next;
  if (leaving) {
    leaving.then = next;
    return;
  }
  if (!replace) depth += 1;
  if (next.chatId && !from.chatId) entered = depth;
  history[replace ? "replaceState" : "pushState"]({ depth, entered }, "", hashOf(next));
}

/** Let the browser go back. Until it is there the page is not at the depth that another step would count from. */
function leave(steps, isStep) {
  const mine = { then: null, isStep };
  leaving = mine;
  setTimeout(() => leaving === mine && (leaving = null), LEAVES_WITHIN);
  depth -= steps;
  history.go(-steps);
}

/** Go back, but never out of the page. */
export function back() {
  if (leaving) return;
  if (depth > 0) leave(1, true);
  else if (route.value.panel) go({ ...route.value, panel: null }, { replace: true });
  else go(LIST, { replace: true });
}

/** Close the chat and what is open beside it, and leave no entry of it to go back to. A dialog above stays. */
export function closeChat() {
  if (!route.value.chatId || (leaving && depth < entered)) return;
  const steps = Math.min(depth, depth - entered + 1);
  if (steps === 0) {
    go(LIST, { replace: true });
    return;
  }
  route.value = LIST;
  leave(steps, false);
}

/** Open or close a side panel. */
export function openPanel(panel) {
  if (route.value.panel !== panel) go({ ...route.value, panel }, { replace: Boolean(route.value.panel) });
}
