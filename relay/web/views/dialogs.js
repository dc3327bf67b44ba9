/** Dialogs, one at a time. Each closes on Escape and returns the focus. */
import { Component } from "preact";
import { compose } from "../actions/drafts.js";
import { changeProfile } from "../actions/groups.js";
import { explain, tell } from "../actions/notices.js";
import { discard, isInFlight, remove } from "../actions/outbox.js";
import { request } from "../actions/store.js";
import { changeSetting, dialog, session, settings, state, unfetched } from "../signals.js";
import { formatFull, t } from "../i18n/i18n.js";
import { mayWrite, rules, tellOf } from "../model/state.js";
import { drawnMessage } from "../model/timeline.js";
import { Files } from "./chat/files.js";
import { closeAbove, Form, Modal, nameForm, openAbove, veil } from "./frames.js";
import { Growing } from "./growing.js";
import { Avatar, html, Icon, IconButton, isMac, lazy, Name } from "./parts.js";

const Viewer = lazy(() => import("./chat/viewer.js"), "Viewer", true);
const Emoji = lazy(() => import("./chat/emoji.js"), "Emoji", true);
const Jump = lazy(() => import("./finders.js"), "Jump", true);
const SearchInChat = lazy(() => import("./finders.js"), "SearchInChat", true);

const close = () => (dialog.value = null);

/** Ask before something that cannot be undone. {text, action, run} */
function Confirm({ text, action, run }) {
  return html`<${Modal} label=${text} onClose=${close}>
    <p>${text}</p>
    <div class="modal-buttons">
      <button type="button" class="button is-quiet" onClick=${close}>${t("dialog.cancel")}</button>
      <button type="button" class="button is-danger" autofocus onClick=${() => { close(); run(); }}>${action}</button>
    </div>
  </${Modal}>`;
}

/** The menu of a message. */
class Menu extends Component {
  // The event is late: a dialog opened meanwhile stays open.
  onClose = () => {
    if (dialog.value?.name === "menu") close();
  };

  componentDidMount() {
    openAbove(this.element);
    const menu = this.element.firstElementChild;
    const { x, y } = this.props;
    menu.style.left = `${Math.max(8, Math.min(x, innerWidth - menu.offsetWidth - 8))}px`;
    menu.style.top = `${Math.max(8, Math.min(y, innerHeight - menu.offsetHeight - 8))}px`;
    menu.querySelector("button").focus();
  }

  componentWillUnmount() {
    closeAbove(this.element);
  }

  onKey = (event) => {
    if (event.key !== "ArrowDown" && event.key !== "ArrowUp") return;
    event.preventDefault();
    const items = [...this.element.querySelectorAll("button")];
    const at = items.indexOf(document.activeElement) + (event.key === "ArrowDown" ? 1 : -1);
    items[(at + items.length) % items.length].focus();
  };

  /** Return the focus first: the chosen action may move it. */
  choose(run) {
    this.element.close();
    close();
    run();
  }

  items() {
    const { chatId, message, mine } = this.props;
    const now = state.value;
    const chat = now.chats.get(chatId);
    const there = Boolean(message.messageId) && message.status !== "deleted";
    // A lost chat cannot be changed.
    const open = there && !chat?.gone;
    const items = [];
    if (there && mayWrite(now, chatId)) items.push(["reply", t("menu.reply"), () => compose(chatId, "reply", message.messageId)]);
    if (open && mine && message.message) items.push(["edit", t("menu.edit"), () => compose(chatId, "edit", message.messageId)]);
    if (message.message && message.status !== "deleted") items.push(["copy", t("menu.copy"), () => copyText(message.message)]);
    items.push(["info", t("menu.info"), () => (dialog.value = { name: "info", chatId, messageId: message.messageId, clientMessageId: message.clientMessageId })]);
    if (message.state && !isInFlight(message.clientMessageId)) {
      items.push(["trash", t("message.discard"), () => discard(message.clientMessageId), true]);
    }
    if (open && (mine || (rules(now, chatId) && chat?.type !== "dialog"))) {
      items.push(["trash", t("menu.delete"), () => (dialog.value = {
        name: "confirm", chatId, messageId: message.messageId, text: t("message.confirmDelete"), action: t("menu.delete"), run: () => remove(chatId, message.messageId),
      }), true]);
    }
    return items;
  }

  render() {
    return html`<dialog class="menu-veil" ref=${(element) => (this.element = element ?? this.element)} aria-label=${t("menu.more")}
      onClose=${this.onClose} ...${veil(close)} onContextMenu=${(event) => event.preventDefault()}>
      <div class="menu" role="menu" onKeyDown=${this.onKey}>
        ${this.items().map(([icon, label, run, danger]) => html`<button type="button" role="menuitem" class=${danger ? "is-danger" : ""}
          onClick=${() => this.choose(run)}><${Icon} name=${icon} />${label}</button>`)}
      </div>
    </dialog>`;
  }
}

/** Copy text; the clipboard API is missing over plain http. */
export async function copyText(text) {
  const copied = await navigator.clipboard?.writeText(text).then(() => true, () => false);
  if (copied || copyByHand(text)) tell(t("copied"));
  else tell(t("copied.not"), { error: true });
}

function copyByHand(text) {
  const field = document.createElement("textarea");
  field.value = text;
  field.className = "hidden";
  (document.querySelector("dialog[open]") ?? document.body).append(field);
  field.select();
  const copied = document.execCommand("copy");
  field.remove();
  return copied;
}

/** Message info: when it was written, and who has received and read it. */
function Info({ chatId, message, mine }) {
  const now = state.value;
  const chat = now.chats.get(chatId);
  const members = now.details.get(chatId)?.meta?.participants;
  const marks = new Map((message.delivering ?? []).map((one) => [one.userId, one]));
  const others = members?.filter((one) => one.id !== message.sender);
  const many = chat?.type === "group" || chat?.type === "channel";
  const isComing = !others && !chat?.gone && !unfetched.value.has(chatId);
  return html`<${Modal} label=${t("menu.info")} onClose=${close}>
    <h2>${t("menu.info")}</h2>
    <p>${t("info.written", { when: formatFull(message.createdAt) })}</p>
    ${message.updatedAt ? html`<p>${t("info.edited", { when: formatFull(message.updatedAt) })}</p>` : null}
    ${!mine || !many || message.status === "deleted"
      ? null
      : isComing
        ? html`<p class="none" role="status"><span class="spinner"></span> ${t("chat.loading")}</p>`
        : html`<${Growing} items=${others ?? []} row=${(one) => {
          const mark = marks.get(one.id);
          const text = mark?.read ? t("info.read", { when: formatFull(mark.read) }) : mark?.dlvrd ? t("info.delivered", { when: formatFull(mark.dlvrd) }) : t("info.notYet");
          return html`<li class="person" key=${one.id}><${Avatar} id=${one.id} name=${one.name} url=${one.avatarUrl} size="xs" />
            <span class="list-text"><span><${Name} text=${tellOf(now, one.id)} /></span><span class="hint">${text}</span></span></li>`;
        }} />`}
    <div class="modal-buttons"><button type="button" class="button is-quiet" onClick=${close}>${t("dialog.close")}</button></div>
  </${Modal}>`;
}

/** The list of keyboard shortcuts. */
function Keys() {
  const [command, option] = isMac ? ["⌘", "⌥"] : ["Ctrl", "Alt"];
  const keys = [
    [t("keys.send"), ["Enter"]],
    [t("keys.newline"), ["Shift", "Enter"]],
    [t("keys.editLast"), ["↑"]],
    [t("keys.close"), ["Esc"]],
    [t("keys.jump"), [command, "K"]],
    [t("keys.step"), [option, "↑ ↓"]],
    [t("keys.walk"), ["Tab", "↑ ↓"]],
    [t("keys.menu"), ["Enter"]],
    [t("keys.help"), [command, "/"]],
  ];
  return html`<${Modal} label=${t("keys.title")} onClose=${close}>
    <h2>${t("keys.title")}</h2>
    <dl class="keys">${keys.map(([text, names]) => html`<dt>${text}</dt><dd>${names.map((name) => html`<kbd>${name}</kbd> `)}</dd>`)}</dl>
    <label class="person"><span class="list-text">${t("keys.single")}</span><input type="checkbox" role="switch" class="switch" checked=${settings.value.helpKey}
      onChange=${(event) => changeSetting({ helpKey: event.currentTarget.checked })} /></label>
    <div class="modal-buttons"><button type="button" class="button is-quiet" onClick=${close}>${t("dialog.close")}</button></div>
  </${Modal}>`;
}

/** An invite: a link and a QR code for one person. */
class Invite extends Form {
  formName = `invite ${this.props.chatId ?? ""}`;
  state = { busy: false, failure: null, answer: null };

  submit = async (event) => {
    event.preventDefault();
    this.setState({ busy: true, failure: null });
    try {
      const name = new FormData(event.target).get("name").trim();
      const answer = await request("invite", { name: name || undefined, chatId: this.props.chatId });
      this.forget();
      this.setState({ answer, busy: false });
    } catch (failure) {
      this.setState({ failure, busy: false });
    }
  };

  render(_, { busy, failure, answer }) {
    return html`<${Modal} label=${t("invite.title")} onClose=${close}>
      <h2>${t("invite.title")}</h2>
      ${answer
        ? html`<p>${t("invite.scan")}</p><${QrCode} rows=${answer.qr} />
            <div class="copy-field"><input readonly dir="ltr" value=${answer.url} aria-label=${t("invite.link")} onFocus=${(event) => event.currentTarget.select()} />
              <${IconButton} icon="copy" label=${t("menu.copy")} onClick=${() => copyText(answer.url)} /></div>
            ${answer.expiresAt ? html`<p class="hint">${t("invite.expires", { when: formatFull(answer.expiresAt) })}</p>` : null}
            <div class="modal-buttons"><button type="button" class="button is-quiet" onClick=${() => this.setState({ answer: null })}>${t("invite.another")}</button>
              <button type="button" class="button" onClick=${close}>${t("dialog.done")}</button></div>`
        : html`<p>${t("invite.text")}</p><form class="form" onSubmit=${this.submit}>
            <label class="field"><span>${t("invite.name")}</span><input name="name" value=${this.typed.name} onInput=${this.onName} maxlength="64" autocomplete="off" autofocus /></label>
            ${failure ? html`<p class="form-error" role="alert">${explain(failure)}</p>` : null}
            <div class="modal-buttons"><button type="button" class="button is-quiet" onClick=${close}>${t("dialog.cancel")}</button>
              <button class="button" disabled=${busy}>${t("invite.make")}</button></div>
          </form>`}
    </${Modal}>`;
  }
}

/** A QR code as one path, dark on white in both themes, for cameras. */
function QrCode({ rows }) {
  if (!rows?.length) return null;
  const path = rows.flatMap((row, y) => [...row].map((module, x) => (module === "1" ? `M${x} ${y}h1v1h-1z` : ""))).join("");
  return html`<svg class="qr" role="img" aria-label=${t("invite.code")} viewBox="0 0 ${rows[0].length} ${rows.length}" shape-rendering="crispEdges"><path d=${path} /></svg>`;
}

/** The user's name, asked for after an invite. */
class Welcome extends Form {
  // The settings go on with it.
  formName = nameForm(session.value.id);
  state = { failure: null, busy: false };

  submit = async (event) => {
    event.preventDefault();
    const name = new FormData(event.target).get("name").trim();
    if (!name) return;
    this.setState({ busy: true, failure: null });
    try {
      await changeProfile({ name });
      this.forget();
      close();
    } catch (failure) {
      this.setState({ failure, busy: false });
    }
  };

  render(_, { failure, busy }) {
    return html`<${Modal} label=${t("welcome.title")} onClose=${close}>
      <h2>${t("welcome.title")}</h2><p>${t("welcome.text")}</p>
      <form class="form" onSubmit=${this.submit}>
        <label class="field"><span>${t("signin.name")}</span><input name="name" required maxlength="64" autocomplete="name" autofocus value=${this.typed.name ?? session.value.name} onInput=${this.onName} /></label>
        ${failure ? html`<p class="form-error" role="alert">${explain(failure)}</p>` : null}
        <button class="button" disabled=${busy}>${t("welcome.go")}</button>
      </form>
    </${Modal}>`;
  }
}

const DIALOGS = {
  confirm: Confirm, menu: Menu, info: Info, keys: Keys, jump: Jump, search: SearchInChat, files: Files, invite: Invite,
  welcome: Welcome, viewer: Viewer, emoji: Emoji,
};

/** Dialogs about one message: they show its current state, and close when it is gone. */
const ABOUT_A_MESSAGE = new Set(["menu", "info", "viewer"]);

class Gone extends Component {
  componentDidMount() {
    close();
  }
}

/** The dialog that is open. */
export function Dialogs() {
  const { name, ...props } = dialog.value;
  if (ABOUT_A_MESSAGE.has(name)) {
    const message = drawnMessage(state.value, props);
    if (!message) return html`<${Gone} />`;
    Object.assign(props, { message, mine: message.sender === state.value.me.id });
  }
  return html`<${DIALOGS[name]} key=${name} ...${props} />`;
}
