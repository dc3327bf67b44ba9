/** The page: the sign-in screen or the chats, side by side or one at a time, with dialogs on top. */
import { Component, render } from "preact";
import { back, closeChat } from "../actions/navigation.js";
import { stepChat } from "../actions/rooms.js";
import { announcements, chats, composing, dialog, notice, route, session, settings, state, trouble, upgraded } from "../signals.js";
import { t } from "../i18n/i18n.js";
import { ChatList } from "./chatlist.js";
import { clearsItself, html, Icon, isMac, isTouch, lazy } from "./parts.js";

const Conversation = lazy(() => import("./chat/conversation.js"), "Conversation");
const SignIn = lazy(() => import("./signin.js"), "SignIn");
const Settings = lazy(() => import("./settings.js"), "Settings");
const NewChat = lazy(() => import("./newchat.js"), "NewChat");
const Details = lazy(() => import("./details.js"), "Details");
const Dialogs = lazy(() => import("./dialogs.js"), "Dialogs", true);

/** Panels in place of the list; "details" is beside the conversation. */
const LEFT_PANELS = { settings: Settings, newchat: NewChat };

/** Dialogs whose field gets the focus at once. */
const FINDERS = new Set(["jump", "search"]);
/** Dialogs without work that would be lost: the finder may replace them. */
const REPLACEABLE = new Set([...FINDERS, "menu", "emoji", "info", "keys", "viewer"]);

/*
 * While an input method composes a character, its keys are its own: no handler of the page gets them. Safari marks the
 * Enter that ends a composition only by the key code.
 */
let composes = false;

function onInputMethodKey(event) {
  if (event.isComposing || event.keyCode === 229) event.stopImmediatePropagation();
  // No event ends a composition when its field is removed.
  else composes = false;
}

for (const name of ["keydown", "keypress", "keyup"]) addEventListener(name, onInputMethodKey, true);
for (const name of ["compositionstart", "compositionend"]) addEventListener(name, () => (composes = name === "compositionstart"), true);
// Escape is the browser's own way to close a dialog.
addEventListener("cancel", (event) => composes && event.preventDefault(), true);

/** The letter of a key; on a layout without Latin letters, by its place. */
function letterOf({ key, code = "" }) {
  return (/^[a-z]$/i.test(key) ? key : code.slice(3)).toLowerCase();
}

function onKey(event) {
  if (!session.value) return;
  const command = isMac ? event.metaKey : event.ctrlKey && !event.altKey;
  const writing = /^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName);
  if (command && !event.shiftKey && letterOf(event) === "k") {
    event.preventDefault();
    if (!dialog.value || REPLACEABLE.has(dialog.value.name)) dialog.value = dialog.value?.name === "jump" ? null : { name: "jump" };
  } else if (dialog.value) {
    // A finder may still be loading: typed keys are meant for it.
    if (FINDERS.has(dialog.value.name) && event.key.length === 1 && !event.ctrlKey && !event.metaKey && !document.querySelector(".modal")) {
      event.preventDefault();
      dialog.value = { ...dialog.value, typed: (dialog.value.typed ?? "") + event.key };
    }
  } else if (event.altKey && (event.key === "ArrowUp" || event.key === "ArrowDown") && !(isMac && event.target.value)) {
    // On a Mac these keys move by paragraphs in a text.
    event.preventDefault();
    stepChat(event.key === "ArrowUp" ? -1 : 1);
  } else if (event.key === "Escape" && !event.defaultPrevented) {
    escape(event);
  } else if (command ? event.key === "/" : event.key === "?" && !writing && settings.value.helpKey) {
    event.preventDefault();
    dialog.value = { name: "keys" };
  }
}

function escape(event) {
  if (clearsItself(event.target)) return;
  if (composing.value) composing.value = null;
  else if (route.value.panel) back();
  else closeChat();
}

addEventListener("keydown", onKey);

/** Say why there is no connection. */
function troubleText(kind) {
  switch (kind) {
    case "offline":
      return t("connection.offline");
    case "silent":
      return t("connection.silent");
    case "refused":
      return t("connection.refused");
    case "elsewhere":
      return t("connection.elsewhere");
    default:
      return t("connection.connecting");
  }
}

function ConnectionBar() {
  const kind = trouble.value;
  if (kind) {
    return html`<div class="connection" role="status" data-trouble=${kind}><span class="spinner"></span><span>${troubleText(kind)}</span>
      ${kind === "elsewhere" ? html`<a class="link" href="/?show" target="_blank" rel="noopener">${t("connection.show")}</a>` : null}</div>`;
  }
  if (!upgraded.value) return null;
  return html`<div class="connection" role="status"><span>${t("upgrade.ready")}</span>
    <button type="button" class="link" onClick=${() => import("../actions/upgrade.js").then((they) => they.reloadIfSure())}>${t("upgrade.reload")}</button></div>`;
}

function Notice() {
  const shown = notice.value;
  return shown
    ? html`<div class="notice ${shown.error ? "is-error" : ""}">
        ${shown.error ? html`<${Icon} name="failed" />` : null}<span>${shown.text}</span>
        ${shown.action ? html`<button type="button" class="link" onClick=${shown.onAction}>${shown.action}</button>` : null}
      </div>`
    : null;
}

/** The place of notices, which an open dialog takes in (frames.js). */
const notices = document.createElement("div");
notices.className = "notices";
notices.role = "status";
notices.ariaLive = "polite";
document.body.append(notices);
render(html`<${Notice} />`, notices);

function Nothing() {
  return html`<div class="nothing">
    <${Icon} name="compose" />
    <p>${chats.value.length > 0 ? t("empty.choose") : t("empty.begin")}</p>
    <p class="hint">${t("empty.keys")}</p>
  </div>`;
}

class Chats extends Component {
  chatId = route.value.chatId;

  onFocusIn = ({ target }) => {
    // On a touch screen a focused field would open the keyboard.
    if (!target.closest(".panel") && !(isTouch() && target.matches("input, textarea"))) this.focused = target;
  };

  /** Return the focus when its element is gone: to the element before, or to the open chat. */
  componentDidUpdate() {
    const { chatId, panel } = route.value;
    if (!panel && document.activeElement === document.body) {
      const left = () => document.querySelector(`[data-chat="${CSS.escape(this.chatId ?? "")}"]`);
      (this.focused?.isConnected ? this.focused : left())?.focus();
    }
    this.chatId = chatId;
  }

  render() {
    const { chatId, panel } = route.value;
    const Left = LEFT_PANELS[panel];
    const showsDetails = panel === "details" && chatId && !state.value.chats.get(chatId)?.gone;
    return html`<div class="columns ${chatId ? "has-chat" : ""} ${Left ? "has-left" : ""} ${showsDetails ? "has-details" : ""}" onFocusIn=${this.onFocusIn}>
      <nav class="column-list" aria-label=${t("list.title")}>
        <h1 class="hidden">${t("list.title")}</h1>
        <${ConnectionBar} />
        ${Left ? html`<${Left} />` : null}
        <${ChatList} hidden=${Boolean(Left)} />
      </nav>
      <main class="column-chat">
        <${ConnectionBar} />
        ${chatId ? html`<${Conversation} key=${chatId} chatId=${chatId} />` : html`<${Nothing} />`}
      </main>
      ${showsDetails ? html`<aside class="column-details" aria-label=${t("details.title")}><${Details} key=${chatId} chatId=${chatId} /></aside>` : null}
    </div>`;
  }
}

/** The whole page. */
export function Shell() {
  if (session.value === undefined) {
    return html`<div class="splash"><span class="spinner"></span>${trouble.value ? html`<${ConnectionBar} />` : null}</div>`;
  }
  return html`
    ${session.value && state.value ? html`<${Chats} />` : html`<${SignIn} />`}
    ${dialog.value ? html`<${Dialogs} />` : null}
    <div class="hidden" role="log" aria-live="polite">${announcements.value.map(({ id, text }) => html`<p key=${id}>${text}</p>`)}</div>
  `;
}
