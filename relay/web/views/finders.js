/** Dialogs that find: a chat or person to jump to, and messages of one chat. */
import { Component } from "preact";
import { openChat } from "../actions/rooms.js";
import { findPeople, request } from "../actions/store.js";
import { LONGEST_NAME_QUERY, LONGEST_QUERY, chats, dialog, session, state } from "../signals.js";
import { formatFull, formatShort, t } from "../i18n/i18n.js";
import { nameOf, tellOf } from "../model/state.js";
import { fold, isCalled } from "../model/folding.js";
import { isSearchable, oneLine } from "../model/text.js";
import { chatLabel, chatName, presentHits, SearchState } from "./chatlist.js";
import { Modal } from "./frames.js";
import { Marked, marker } from "./hits.js";
import { Avatar, Bot, html, Icon, Name } from "./parts.js";

const close = () => (dialog.value = null);

/** A field with a list under it, navigated with the arrow keys. */
class Finder extends Component {
  state = { query: this.props.typed ?? "", items: this.props.initial ?? [], at: 0, failure: null, asking: false, asked: false };
  serial = 0;

  componentDidMount() {
    if (this.state.query) this.findSoon(this.state.query);
  }

  componentWillUnmount() {
    clearTimeout(this.timer);
    this.serial += 1;
  }

  onInput = (event) => {
    const query = event.currentTarget.value;
    this.setState({ query });
    // Do not search for a half-composed word.
    if (!event.isComposing) this.findSoon(query);
  };

  findSoon(query) {
    this.searching = true;
    this.chosen = false;
    this.serial += 1;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.find(query.trim()), this.props.wait ?? 0);
  }

  /** Search, and show local results at once. */
  async find(query) {
    this.serial += 1;
    const mine = this.serial;
    const asked = this.props.mayAsk?.(query) ?? query !== "";
    let early = [];
    this.setState({ asking: asked, asked: false, failure: null });
    try {
      const items = await this.props.find(query, (known) => {
        early = known;
        if (known.length > 0) this.show(known, mine);
      });
      if (mine === this.serial) this.setState({ asking: false, asked });
      this.show(items, mine);
    } catch (failure) {
      if (mine !== this.serial) return;
      this.searching = false;
      this.setState({ failure, items: early, asking: false });
    }
  }

  show(items, mine) {
    if (mine !== this.serial) return;
    this.setState({ items, at: this.searching ? 0 : this.state.at });
    this.searching = false;
    if (this.chosen && items[0]) this.props.onChoose(items[0], this.state.query);
  }

  onKey = (event) => {
    const { at } = this.state;
    const items = this.props.present?.(this.state.items) ?? this.state.items;
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      const next = Math.max(0, Math.min(items.length - 1, at + (event.key === "ArrowDown" ? 1 : -1)));
      this.setState({ at: next }, () => this.list?.querySelector(".is-active")?.scrollIntoView({ block: "nearest" }));
    } else if (event.key === "Enter") {
      event.preventDefault();
      // The list may not match the typed text yet: then Enter means its first result.
      if (this.searching) this.chosen = true;
      else if (items[at]) this.props.onChoose(items[at], this.state.query);
    }
  };

  render({ label, row, longest = LONGEST_QUERY, onChoose }, { query, items: found, at, failure, asking, asked }) {
    const items = this.props.present?.(found) ?? found;
    return html`<${Modal} label=${label} class="is-list" onClose=${close}>
      <label class="search"><${Icon} name="search" />
        <input type="search" autofocus role="combobox" aria-expanded=${items.length > 0} aria-controls="found" aria-activedescendant=${items[at] ? `found-${at}` : undefined} placeholder=${label} aria-label=${label} value=${query} maxlength=${longest} onInput=${this.onInput} onCompositionEnd=${this.onInput} onKeyDown=${this.onKey} autocomplete="off" />
      </label>
      <div class="scroll" ref=${(element) => (this.list = element ?? this.list)}>
        ${items.length > 0 ? html`<div id="found" role="listbox" aria-label=${label}>
          ${items.map((item, index) => html`<button type="button" role="option" id=${`found-${index}`} aria-selected=${index === at} class="person ${index === at ? "is-active" : ""}" onClick=${() => onChoose(item, query)}>${row(item, query)}</button>`)}
        </div>` : null}
        <${SearchState} asking=${asking} failed=${failure} nothing=${asked && items.length === 0 ? t("search.none", { query }) : null} onTry=${() => this.find(query.trim())} />
      </div>
    </${Modal}>`;
  }
}

/** Jump to a chat or a person. */
export function Jump() {
  const find = async (query, show) => {
    const wanted = fold(query).trim();
    const known = chats.value.filter((chat) => isCalled(chatName(chat), chat.type === "dialog" ? chat.id : "", wanted)).slice(0, 30);
    if (!wanted) return known;
    show(known);
    const people = await findPeople(query);
    const ids = new Set([...known.map((chat) => chat.id), session.value.id]);
    return [...known, ...people.filter((one) => !ids.has(one.id))];
  };
  return html`<${Finder} label=${t("jump.title")} longest=${LONGEST_NAME_QUERY} typed=${dialog.value?.typed} initial=${chats.value.slice(0, 30)} find=${find} onChoose=${(item) => openChat(item.id)}
    row=${(item) => html`<${Avatar} id=${item.id} name=${item.type ? chatName(item) : item.name} url=${item.photoUrl ?? item.avatarUrl} type=${item.type} size="s" />
      <span class="list-text"><span><${Name} text=${item.type ? chatLabel(state.value, item) : tellOf(state.value, item.id)} /></span></span><${Bot} userId=${item.id} />
      ${item.missed > 0 ? html`<span class="badge">${item.missed > 99 ? "99+" : item.missed}</span>` : null}`} />`;
}

/** Search the messages of one chat. */
export function SearchInChat({ chatId }) {
  const find = (query) => (!isSearchable(query) ? Promise.resolve([]) : request("search", { query, chatId, count: 60 }));
  const now = state.value;
  return html`<${Finder} label=${t("chat.search")} typed=${dialog.value?.typed} find=${find} present=${(hits) => presentHits(now, hits.map((hit) => ({ ...hit, chatId })))} mayAsk=${isSearchable} wait=${200} onChoose=${(hit, query) => openChat(chatId, { messageId: hit.messageId, mark: marker(query) })}
    row=${(hit, query) => {
      const name = hit.sender === now.me.id ? t("message.you") : tellOf(now, hit.sender);
      return html`<${Avatar} id=${hit.sender} name=${nameOf(now, hit.sender)} size="s" />
        <span class="list-text"><span><b><${Name} text=${name} /></b> <time class="hint" title=${formatFull(hit.createdAt)}>${formatShort(hit.createdAt)}</time></span>
          <span class="hint" dir="auto"><${Marked} text=${oneLine(hit.message)} query=${query} /></span></span>`;
    }} />`;
}
