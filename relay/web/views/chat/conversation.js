/** A chat: its header, its messages and the composer. */
import { Component } from "preact";
import { back, openPanel } from "../../actions/navigation.js";
import { lossText, tell } from "../../actions/notices.js";
import { dialog, route, state, trouble } from "../../signals.js";
import { formatAgo, t } from "../../i18n/i18n.js";
import { mayWrite, nameOf, presenceOf, typeOf } from "../../model/state.js";
import { chatName, titleOf, typingText } from "../chatlist.js";
import { Composer, pickFiles } from "./composer.js";
import { MessageList } from "./messagelist.js";
import { Avatar, Bot, html, IconButton, lazy, Name } from "../parts.js";

const Closed = lazy(() => import("./closed.js"), "Closed");

/** Dragged files have left when nothing was heard of them for this many ms. */
const DRAG_ENDS = 700;

/** The line under the name: presence, typing, number of members. */
function Subtitle({ chat, chatId }) {
  const now = state.value;
  if (trouble.value) return t("connection.connecting");
  if (chat?.gone) return null;
  const typing = typingText(now, chatId);
  if (typing) return html`<span class="is-typing">${typing}</span>`;
  const type = typeOf(now, chatId);
  if (!type) return null;
  if (type === "favorites") return t("chat.favoritesHint");
  if (type !== "dialog") {
    const participants = now.details.get(chatId)?.meta?.participants;
    if (!participants) return null;
    const here = participants.filter((one) => one.id === now.me.id || now.online.has(one.id)).length;
    const members = t("chat.members", { count: participants.length });
    return type === "group" && here > 1 ? `${members}, ${t("chat.membersOnline", { count: here })}` : members;
  }
  const presence = presenceOf(now, chatId);
  if (presence === "online") return html`<span class="is-online">${t("presence.online")}</span>`;
  const lastSeen = now.people.get(chatId)?.lastSeen;
  if (lastSeen) return t("presence.lastSeen", { when: formatAgo(lastSeen) });
  // Unknown for people without a common chat.
  return presence ? t("presence.offline") : `@${now.people.get(chatId)?.username ?? chatId}`;
}

function Header({ chat, chatId }) {
  const now = state.value;
  const name = titleOf(now, chatId);
  const type = typeOf(now, chatId);
  return html`<header class="bar chat-bar">
    <${IconButton} icon="back" label=${t("nav.back")} class="only-narrow" onClick=${back} />
    <button type="button" class="chat-title" disabled=${Boolean(chat?.gone)} onClick=${() => (route.value.panel === "details" ? back() : openPanel("details"))}
      title=${t("chat.details", { name })} aria-expanded=${route.value.panel === "details"}>
      <${Avatar} id=${chatId} name=${chat ? chatName(chat) : nameOf(now, chatId)} url=${chat?.photoUrl ?? now.people.get(chatId)?.avatarUrl} type=${type} icon=${type ? undefined : "queued"} size="s"
        presence=${type === "dialog" && !chat?.gone ? presenceOf(now, chatId) : undefined} />
      <span class="chat-title-text">
        <span class="chat-title-name"><span><${Name} text=${name} /></span> <${Bot} userId=${chatId} /></span>
        <span class="chat-title-sub"><${Subtitle} chat=${chat} chatId=${chatId} /></span>
      </span>
    </button>
    ${chat && !chat.gone ? html`<${IconButton} icon="search" label=${t("chat.search")} onClick=${() => (dialog.value = { name: "search", chatId })} />` : null}
    ${chat?.gone ? null : html`<${IconButton} icon="info" label=${t("chat.details", { name })} class="not-phone" onClick=${() => (route.value.panel === "details" ? back() : openPanel("details"))} />`}
  </header>`;
}

/** A whole chat; files can be dropped anywhere on it. */
export class Conversation extends Component {
  state = { dragging: false };

  carriesFiles = (event) => event.dataTransfer?.types?.includes("Files");

  // Browsers repeat this while files are above, at least twice a second; nothing says for certain that they have left.
  onDragOver = (event) => {
    if (!this.carriesFiles(event)) return;
    this.onDrag(true);
    this.dragTimer = setTimeout(this.onDrag, DRAG_ENDS);
  };

  onDragLeave = ({ currentTarget, relatedTarget }) => {
    if (relatedTarget && !currentTarget.contains(relatedTarget)) this.onDrag();
  };

  onDrag = (dragging = false) => {
    clearTimeout(this.dragTimer);
    if (dragging !== this.state.dragging) this.setState({ dragging });
  };

  componentWillUnmount() {
    clearTimeout(this.dragTimer);
  }

  onDrop = (event) => {
    if (!this.carriesFiles(event)) return;
    event.preventDefault();
    this.onDrag();
    if (!mayWrite(state.value, this.props.chatId)) {
      const chat = state.value.chats.get(this.props.chatId);
      return tell(chat?.gone ? lossText(chat) : t("chat.readOnly"), { error: true });
    }
    pickFiles(this.props.chatId, event.dataTransfer);
  };

  render({ chatId }, { dragging }) {
    const now = state.value;
    const chat = now.chats.get(chatId);
    const writable = mayWrite(now, chatId);
    return html`<section class="conversation" aria-label=${titleOf(now, chatId)}
      onDragOver=${this.onDragOver} onDragLeave=${this.onDragLeave} onDrop=${this.onDrop}>
      <${Header} chat=${chat} chatId=${chatId} />
      <${MessageList} chatId=${chatId} />
      ${writable ? html`<${Composer} chatId=${chatId} chat=${chat} />` : html`<${Closed} chatId=${chatId} />`}
      ${dragging && writable ? html`<div class="drop"><p>${t("upload.drop")}</p></div>` : null}
    </section>`;
  }
}
