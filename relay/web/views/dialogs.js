/** Dialogs, one at a time. Each closes on Escape and returns the focus. */
import { Component } from "preact";
import { changeProfile } from "../actions/groups.js";
import { explain, tell } from "../actions/notices.js";
import { discard, isInFlight, remove, send } from "../actions/outbox.js";
import { openChat } from "../actions/rooms.js";
import { findPeople, request } from "../actions/store.js";
import { LONGEST_MESSAGE, LONGEST_NAME_QUERY, LONGEST_QUERY, chats, composing, dialog, session, state } from "../signals.js";
import { formatFull, formatSize, t } from "../i18n/i18n.js";
import { sizeParts } from "../model/markup.js";
import { mayWrite, nameOf, rules, tellOf } from "../model/state.js";
import { fold, isSearchable, oneLine } from "../model/text.js";
import { chatLabel, chatName, Marked } from "./chatlist.js";
import { Avatar, Bot, html, Icon, IconButton, lazy, Modal } from "./parts.js";

const Viewer = lazy(() => import("./viewer.js"), "Viewer");
const Emoji = lazy(() => import("./emoji.js"), "Emoji");

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

  // Lifting the finger after the long press that opened the menu also clicks the backdrop.
  onPointerDown = () => (this.pressed = true);

  onClick = (event) => {
    if (event.target === this.element && this.pressed) close();
  };

  componentDidMount() {
    this.element.showModal();
    const menu = this.element.firstElementChild;
    const { x, y } = this.props;
    menu.style.left = `${Math.max(8, Math.min(x, innerWidth - menu.offsetWidth - 8))}px`;
    menu.style.top = `${Math.max(8, Math.min(y, innerHeight - menu.offsetHeight - 8))}px`;
    menu.querySelector("button").focus();
  }

  componentWillUnmount() {
    this.element.close();
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
    const type = now.chats.get(chatId)?.type;
    const there = Boolean(message.messageId) && message.status !== "deleted";
    const items = [];
    if (there && mayWrite(now, chatId)) items.push(["reply", t("menu.reply"), () => (composing.value = { chatId, kind: "reply", message })]);
    if (there && mine && message.message) items.push(["edit", t("menu.edit"), () => (composing.value = { chatId, kind: "edit", message })]);
    if (message.message && message.status !== "deleted") items.push(["copy", t("menu.copy"), () => copyText(message.message)]);
    items.push(["info", t("menu.info"), () => (dialog.value = { name: "info", chatId, message, mine })]);
    if (message.state && !isInFlight(message.clientMessageId)) {
      items.push(["trash", t("message.discard"), () => discard(message.clientMessageId), true]);
    }
    if (there && (mine || (rules(now, chatId) && type !== "dialog"))) {
      items.push(["trash", t("menu.delete"), () => (dialog.value = {
        name: "confirm", text: t("message.confirmDelete"), action: t("menu.delete"), run: () => remove(chatId, message.messageId),
      }), true]);
    }
    return items;
  }

  render() {
    return html`<dialog class="menu-veil" ref=${(element) => (this.element = element ?? this.element)} aria-label=${t("menu.more")}
      onClose=${this.onClose} onPointerDown=${this.onPointerDown} onClick=${this.onClick} onContextMenu=${(event) => event.preventDefault()}>
      <div class="menu" role="menu" onKeyDown=${this.onKey}>
        ${this.items().map(([icon, label, run, danger]) => html`<button type="button" role="menuitem" class=${danger ? "is-danger" : ""}
          onClick=${() => this.choose(run)}><${Icon} name=${icon} />${label}</button>`)}
      </div>
    </dialog>`;
  }
}

/** Copy text; the clipboard API is missing over plain http. */
async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const field = document.createElement("textarea");
    field.value = text;
    field.className = "hidden";
    (document.querySelector("dialog[open]") ?? document.body).append(field);
    field.select();
    document.execCommand("copy");
    field.remove();
  }
  tell(t("copied"));
}

/** Message info: when it was written, and who has received and read it. */
function Info({ chatId, message, mine }) {
  const now = state.value;
  const chat = now.chats.get(chatId);
  const members = now.details.get(chatId)?.meta?.participants ?? [];
  const marks = new Map((message.delivering ?? []).map((one) => [one.userId, one]));
  const others = members.filter((one) => one.id !== message.sender);
  return html`<${Modal} label=${t("menu.info")} onClose=${close}>
    <h2>${t("menu.info")}</h2>
    <p>${t("info.written", { when: formatFull(message.createdAt) })}</p>
    ${message.updatedAt ? html`<p>${t("info.edited", { when: formatFull(message.updatedAt) })}</p>` : null}
    ${mine && chat?.type !== "dialog" && others.length > 0 && message.status !== "deleted"
      ? html`<ul>${others.map((one) => {
          const mark = marks.get(one.id);
          const text = mark?.read ? t("info.read", { when: formatFull(mark.read) }) : mark?.dlvrd ? t("info.delivered", { when: formatFull(mark.dlvrd) }) : t("info.notYet");
          return html`<li class="person" key=${one.id}><${Avatar} id=${one.id} name=${one.name} url=${one.avatarUrl} size="xs" />
            <span class="list-text"><span dir="auto">${tellOf(now, one.id)}</span><span class="hint">${text}</span></span></li>`;
        })}</ul>`
      : null}
    <div class="modal-buttons"><button type="button" class="button is-quiet" onClick=${close}>${t("dialog.close")}</button></div>
  </${Modal}>`;
}

/** The list of keyboard shortcuts. */
function Keys() {
  const command = /Mac|iPhone|iPad/.test(navigator.platform) ? "⌘" : "Ctrl";
  const keys = [
    [t("keys.send"), ["Enter"]],
    [t("keys.newline"), ["Shift", "Enter"]],
    [t("keys.editLast"), ["↑"]],
    [t("keys.close"), ["Esc"]],
    [t("keys.jump"), [command, "K"]],
    [t("keys.step"), ["Alt", "↑ ↓"]],
    [t("keys.walk"), ["Tab", "↑ ↓"]],
    [t("keys.menu"), ["Enter"]],
    [t("keys.help"), ["?"]],
  ];
  return html`<${Modal} label=${t("keys.title")} onClose=${close}>
    <h2>${t("keys.title")}</h2>
    <dl class="keys">${keys.map(([text, names]) => html`<dt>${text}</dt><dd>${names.map((name) => html`<kbd>${name}</kbd> `)}</dd>`)}</dl>
    <div class="modal-buttons"><button type="button" class="button is-quiet" onClick=${close}>${t("dialog.close")}</button></div>
  </${Modal}>`;
}

/** A field with a list under it, navigated with the arrow keys. */
class Finder extends Component {
  state = { query: this.props.typed ?? "", items: this.props.initial ?? [], at: 0, failure: null, asked: false };

  componentDidMount() {
    if (this.state.query) this.findSoon(this.state.query);
  }

  onInput = (event) => {
    const query = event.currentTarget.value;
    this.setState({ query });
    this.findSoon(query);
  };

  findSoon(query) {
    this.searching = true;
    this.chosen = false;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.find(query.trim()), this.props.wait ?? 0);
  }

  async find(query) {
    this.serial = (this.serial ?? 0) + 1;
    const mine = this.serial;
    try {
      const items = await this.props.find(query);
      if (mine !== this.serial) return;
      this.searching = false;
      this.setState({ items, at: 0, failure: null, asked: this.props.mayAsk?.(query) ?? query !== "" });
      if (this.chosen && items[0]) this.props.onChoose(items[0]);
    } catch (failure) {
      if (mine !== this.serial) return;
      this.searching = false;
      this.setState({ failure, items: [] });
    }
  }

  onKey = (event) => {
    const { items, at } = this.state;
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      const next = Math.max(0, Math.min(items.length - 1, at + (event.key === "ArrowDown" ? 1 : -1)));
      this.setState({ at: next }, () => this.list?.querySelector(".is-active")?.scrollIntoView({ block: "nearest" }));
    } else if (event.key === "Enter") {
      event.preventDefault();
      // The list may not match the typed text yet: then Enter means its first result.
      if (this.searching) this.chosen = true;
      else if (items[at]) this.props.onChoose(items[at]);
    }
  };

  render({ label, row, longest = LONGEST_QUERY, onChoose }, { query, items, at, failure, asked }) {
    return html`<${Modal} label=${label} class="is-list" onClose=${close}>
      <label class="search"><${Icon} name="search" />
        <input type="search" autofocus role="combobox" aria-expanded=${items.length > 0} aria-controls="found" aria-activedescendant=${items[at] ? `found-${at}` : undefined} placeholder=${label} aria-label=${label} value=${query} maxlength=${longest} onInput=${this.onInput} onKeyDown=${this.onKey} autocomplete="off" />
      </label>
      <div class="scroll" ref=${(element) => (this.list = element ?? this.list)}>
        ${failure ? html`<p class="none" role="alert">${explain(failure)}</p>` : null}
        ${asked && items.length === 0 && !failure ? html`<p class="none">${t("search.none", { query })}</p>` : null}
        ${items.length > 0 ? html`<div id="found" role="listbox" aria-label=${label}>
          ${items.map((item, index) => html`<button type="button" role="option" id=${`found-${index}`} aria-selected=${index === at} class="person ${index === at ? "is-active" : ""}" onClick=${() => onChoose(item)}>${row(item, query)}</button>`)}
        </div>` : null}
      </div>
    </${Modal}>`;
  }
}

function Jump() {
  const find = async (query) => {
    const wanted = fold(query);
    const known = chats.value.filter((chat) => fold(chatName(chat)).includes(wanted));
    if (!wanted) return known.slice(0, 30);
    const people = await findPeople(query).catch(() => []);
    const ids = new Set(known.map((chat) => chat.id));
    return [...known.slice(0, 30), ...people.filter((one) => !ids.has(one.id) && one.id !== session.value.id)];
  };
  return html`<${Finder} label=${t("jump.title")} longest=${LONGEST_NAME_QUERY} typed=${dialog.value?.typed} initial=${chats.value.slice(0, 30)} find=${find} onChoose=${(item) => openChat(item.id)}
    row=${(item) => html`<${Avatar} id=${item.id} name=${item.type ? chatName(item) : item.name} url=${item.photoUrl ?? item.avatarUrl} type=${item.type} size="s" />
      <span class="list-text"><span dir="auto">${item.type ? chatLabel(state.value, item) : tellOf(state.value, item.id)}</span></span><${Bot} userId=${item.id} />
      ${item.missed > 0 ? html`<span class="badge">${item.missed > 99 ? "99+" : item.missed}</span>` : null}`} />`;
}

function SearchInChat({ chatId }) {
  const find = (query) => (!isSearchable(query) ? Promise.resolve([]) : request("search", { query, chatId, count: 60 }));
  const now = state.value;
  return html`<${Finder} label=${t("chat.search")} typed=${dialog.value?.typed} find=${find} mayAsk=${isSearchable} wait=${200} onChoose=${(hit) => openChat(chatId, { messageId: hit.messageId })}
    row=${(hit, query) => {
      const name = hit.sender === now.me.id ? t("message.you") : tellOf(now, hit.sender);
      return html`<${Avatar} id=${hit.sender} name=${nameOf(now, hit.sender)} size="s" />
        <span class="list-text"><span><b>${name}</b> <span class="hint">${formatFull(hit.createdAt)}</span></span>
          <span class="hint" dir="auto"><${Marked} text=${oneLine(hit.message)} words=${query.trim().split(/\s+/).filter(Boolean)} /></span></span>`;
    }} />`;
}

/** Files about to be sent, with a caption. */
class Files extends Component {
  state = { tooLong: false };

  componentWillUnmount() {
    for (const url of this.urls?.values() ?? []) URL.revokeObjectURL(url);
  }

  url(file) {
    this.urls ??= new Map();
    if (!this.urls.has(file)) this.urls.set(file, URL.createObjectURL(file));
    return this.urls.get(file);
  }

  submit = (event) => {
    event?.preventDefault();
    const { chatId, files } = this.props;
    const text = this.field.value;
    this.setState({ tooLong: text.length > LONGEST_MESSAGE });
    if (text.length > LONGEST_MESSAGE) return;
    const replyTo = composing.value?.kind === "reply" && composing.value.chatId === chatId ? composing.value.message : undefined;
    close();
    // Continue the edit at its old position.
    if (replyTo) composing.value = null;
    send(chatId, { text, files, replyTo });
  };

  render({ files }, { tooLong }) {
    return html`<${Modal} label=${t("upload.title", { count: files.length })} onClose=${close}>
      <h2>${t("upload.title", { count: files.length })}</h2>
      <div class="files">${files.map((file) => /^image\//.test(file.type) && file.shape?.width
        ? html`<img src=${this.url(file)} alt=${file.name} />`
        : html`<span class="file"><span class="file-icon"><${Icon} name="file" /></span>
            <span class="file-text"><span class="file-name">${file.name}</span><span class="file-size">${formatSize(sizeParts(file.size))}</span></span></span>`)}</div>
      <form class="form" onSubmit=${this.submit}>
        <textarea rows="1" dir="auto" autofocus ref=${(element) => (this.field = element ?? this.field)} placeholder=${t("upload.caption")} aria-label=${t("upload.caption")}
          onKeyDown=${(event) => event.key === "Enter" && !event.shiftKey && !event.isComposing && this.submit(event)}></textarea>
        ${tooLong ? html`<p class="form-error" role="alert">${t("composer.tooLong", { count: LONGEST_MESSAGE })}</p>` : null}
        <div class="modal-buttons">
          <button type="button" class="button is-quiet" onClick=${close}>${t("dialog.cancel")}</button>
          <button class="button">${t("composer.send")}</button>
        </div>
      </form>
    </${Modal}>`;
  }
}

/** An invite: a link and a QR code for one person. */
class Invite extends Component {
  state = { name: "", busy: false, failure: null, answer: null };

  submit = async (event) => {
    event.preventDefault();
    this.setState({ busy: true, failure: null });
    try {
      const name = new FormData(event.target).get("name").trim();
      const answer = await request("invite", { name: name || undefined, chatId: this.props.chatId }, { repeat: false });
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
            <div class="copy-field"><input readonly value=${answer.url} aria-label=${t("invite.link")} onFocus=${(event) => event.currentTarget.select()} />
              <${IconButton} icon="copy" label=${t("menu.copy")} onClick=${() => copyText(answer.url)} /></div>
            ${answer.expiresAt ? html`<p class="hint">${t("invite.expires", { when: formatFull(answer.expiresAt) })}</p>` : null}
            <div class="modal-buttons"><button type="button" class="button is-quiet" onClick=${() => this.setState({ answer: null })}>${t("invite.another")}</button>
              <button type="button" class="button" onClick=${close}>${t("dialog.done")}</button></div>`
        : html`<p>${t("invite.text")}</p><form class="form" onSubmit=${this.submit}>
            <label class="field"><span>${t("invite.name")}</span><input name="name" maxlength="64" autocomplete="off" autofocus /></label>
            ${failure ? html`<p class="form-error" role="alert">${explain(failure)}</p>` : null}
            <div class="modal-buttons"><button type="button" class="button is-quiet" onClick=${close}>${t("dialog.cancel")}</button>
              <button class="button" disabled=${busy}>${t("invite.make")}</button></div>
          </form>`}
    </${Modal}>`;
  }
}

/** A QR code as one path, dark on white in both themes: cameras want it so. */
function QrCode({ rows }) {
  if (!rows?.length) return null;
  const path = rows.flatMap((row, y) => [...row].map((module, x) => (module === "1" ? `M${x} ${y}h1v1h-1z` : ""))).join("");
  return html`<svg class="qr" role="img" aria-label=${t("invite.code")} viewBox="0 0 ${rows[0].length} ${rows.length}" shape-rendering="crispEdges"><path d=${path} /></svg>`;
}

/** The user's name, asked for after an invite. */
class Welcome extends Component {
  state = { failure: null, busy: false };

  submit = async (event) => {
    event.preventDefault();
    const name = new FormData(event.target).get("name").trim();
    if (!name) return;
    this.setState({ busy: true, failure: null });
    try {
      await changeProfile({ name });
      close();
    } catch (failure) {
      this.setState({ failure, busy: false });
    }
  };

  render(_, { failure, busy }) {
    return html`<${Modal} label=${t("welcome.title")} onClose=${close}>
      <h2>${t("welcome.title")}</h2><p>${t("welcome.text")}</p>
      <form class="form" onSubmit=${this.submit}>
        <label class="field"><span>${t("signin.name")}</span><input name="name" required maxlength="64" autocomplete="name" autofocus value=${session.value.name} /></label>
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

/** The dialog that is open. */
export function Dialogs() {
  const { name, ...props } = dialog.value;
  return html`<${DIALOGS[name]} key=${name} ...${props} />`;
}
