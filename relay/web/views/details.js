/** The details of a chat: its members, shared pictures, and what the user may change. */
import { Component } from "preact";
import { changeChat, endChat } from "../actions/groups.js";
import { back } from "../actions/navigation.js";
import { explain, report, tell } from "../actions/notices.js";
import { openChat, tryAgain } from "../actions/rooms.js";
import { dialog, route, session, state, typed, unfetched } from "../signals.js";
import { formatAgo, t } from "../i18n/i18n.js";
import { isOwnFile } from "../model/markup.js";
import { presenceOf, tellOf, typeOf } from "../model/state.js";
import { chatName, titleOf } from "./chatlist.js";
import { Form, nameForm, Panel } from "./frames.js";
import { Avatar, Bot, html, Icon, IconButton, Name, TryAgain } from "./parts.js";
import { Growing } from "./growing.js";
import { Img } from "./chat/img.js";
import { Directory } from "./newchat.js";
import { NameForm, Photo } from "./settings.js";

const SHOWN_MEDIA = 9;

function ask(text, action, run) {
  dialog.value = { name: "confirm", chatId: route.value.chatId, text, action, run: () => run().catch(report) };
}

/** The latest pictures among the loaded messages. */
function Media({ chatId }) {
  const messages = state.value.rooms.get(chatId)?.messages ?? [];
  const found = [];
  for (let at = messages.length - 1; at >= 0 && found.length < SHOWN_MEDIA; at -= 1) {
    for (const attachment of messages[at].attachments ?? []) {
      if (attachment.type === "image" && isOwnFile(attachment) && found.length < SHOWN_MEDIA) found.push({ attachment, message: messages[at] });
    }
  }
  if (found.length === 0) return null;
  return html`<div class="group-box"><h3 class="section">${t("details.media")}</h3>
    <div class="media">${found.map(({ attachment, message }) => html`<button type="button" key=${attachment.id} aria-label=${t("message.openImage", { name: attachment.filename })}
      onClick=${() => (dialog.value = { name: "viewer", chatId, messageId: message.messageId, attachmentId: attachment.id })}><${Img} src=${attachment.url} alt="" loading="lazy" instead=${html`<${Icon} name="file" />`} /></button>`)}</div></div>`;
}

class AddMembers extends Form {
  formName = `members ${this.props.chatId}`;
  state = { busy: false, failure: null };

  submit = async () => {
    this.setState({ busy: true, failure: null });
    try {
      await changeChat("addParticipants", { chatId: this.props.chatId, participants: [...this.typed.chosen.keys()] });
      this.forget();
      this.props.onDone();
    } catch (failure) {
      this.setState({ busy: false, failure });
    }
  };

  render({ members, onDone }, { busy, failure }) {
    const { chosen = new Map() } = this.typed;
    return html`<${Panel} label=${t("details.add")} onBack=${onDone}>
      <div class="scroll"><${Directory} chosen=${chosen} onChoose=${this.toggle} without=${members} /></div>
      <div class="panel-foot">${failure ? html`<p class="form-error" role="alert">${explain(failure)}</p>`
          : html`<p class="hint">${t("details.addHistory")}</p>`}
        <button type="button" class="button is-wide" disabled=${busy || chosen.size === 0} onClick=${this.submit}>${t("details.add")}</button></div>
    </${Panel}>`;
  }
}

/** One member, drawn again only when what it shows changed: it reads nothing from the state. */
function Member({ person, chatId, meta, rules, name, presence, lastSeen }) {
  const me = session.value.id;
  const owner = meta.owner === person.id;
  const admin = meta.admins?.includes(person.id);
  const mine = meta.owner === me;
  const setAdmins = (admins) => changeChat("updateChat", { chatId, admins }).catch(report);
  return html`<li class="person">
    <button type="button" class="person-open" onClick=${() => openChat(person.id)} disabled=${person.id === me}>
      <${Avatar} id=${person.id} name=${person.name} url=${person.avatarUrl} size="s" presence=${presence} />
      <span class="list-text"><span><${Name} text=${person.id === me ? t("message.you") : name} /></span>
        <span class="hint">${presence === "online" ? t("presence.online") : lastSeen ? t("presence.lastSeen", { when: formatAgo(lastSeen) }) : presence ? t("presence.offline") : null}</span></span>
    </button>
    <${Bot} userId=${person.id} />
    ${owner ? html`<span class="tag">${t("details.owner")}</span>` : admin ? html`<span class="tag">${t("details.admin")}</span>` : null}
    ${mine && !owner
      ? html`<${IconButton} icon="crown" label=${admin ? t("details.noAdmin", { name }) : t("details.makeAdmin", { name })} aria-pressed=${Boolean(admin)} class=${admin ? "is-accent" : ""}
          onClick=${() => setAdmins(admin ? meta.admins.filter((id) => id !== person.id) : [...(meta.admins ?? []), person.id])} />`
      : null}
    ${rules && !owner && person.id !== me
      ? html`<${IconButton} icon="close" label=${t("details.remove", { name })}
          onClick=${() => ask(t("details.confirmRemove", { name }), t("details.removeShort"), () => changeChat("removeParticipants", { chatId, participants: [person.id] }))} />`
      : null}
  </li>`;
}

/** The members are being fetched, or could not be. */
function Waiting({ chatId }) {
  const failure = unfetched.value.get(chatId);
  if (failure) return html`<${TryAgain} failure=${failure} onTry=${() => tryAgain(chatId)} />`;
  return html`<p class="none" role="status"><span class="spinner"></span> ${t("chat.loading")}</p>`;
}

export class Details extends Component {
  state = { adding: false, renaming: typed.has(nameForm(this.props.chatId)) };

  render({ chatId }, { adding, renaming }) {
    const now = state.value;
    const chat = now.chats.get(chatId);
    const details = now.details.get(chatId);
    const meta = details?.meta ?? {};
    const type = typeOf(now, chatId);
    const title = titleOf(now, chatId);
    const name = chat ? chatName(chat) : title;
    const many = type === "group" || type === "channel";
    const me = session.value.id;
    const owns = many && meta.owner === me;
    const rules = owns || Boolean(many && meta.admins?.includes(me));
    const members = meta.participants ?? [];
    const photo = chat?.photoUrl ?? now.people.get(chatId)?.avatarUrl;
    // In a group the page must know who may do what.
    const isKnown = details || type === "dialog" || type === "favorites";
    if (adding) return html`<${AddMembers} chatId=${chatId} members=${members.map((one) => one.id)} onDone=${() => this.setState({ adding: false })} />`;
    return html`<${Panel} label=${t("chat.details", { name })} title=${t("details.title")} icon="close" onBack=${back}>
      <div class="scroll">
        <div class="panel-head">
          ${rules ? html`<${Photo} label=${t("profile.photo")} id=${chatId} name=${name} url=${photo} onChange=${(photoUrl) => changeChat("updateChat", { chatId, photoUrl })} />`
            : html`<${Avatar} id=${chatId} name=${name} url=${photo} type=${type} size="l" />`}
          <h3><${Name} text=${title} /> <${Bot} userId=${chatId} /></h3>
          ${!isKnown ? null : many ? html`<p class="hint">${t("chat.members", { count: members.length })}</p>` : type === "favorites" ? null : html`<p class="hint">${meta.username ? `@${meta.username}` : ""}</p>`}
        </div>
        ${isKnown ? null : html`<${Waiting} chatId=${chatId} />`}
        ${rules && renaming
          ? html`<${NameForm} id=${chatId} label=${t("new.name")} value=${name} onChange=${(next) => changeChat("updateChat", { chatId, name: next })} onDone=${() => this.setState({ renaming: false })} />`
          : null}
        <div class="group-box">
          ${chat ? html`<button type="button" class="list-button" onClick=${() => (dialog.value = { name: "search", chatId })}><${Icon} name="search" />${t("chat.search")}</button>` : null}
          ${rules && !renaming ? html`<button type="button" class="list-button" onClick=${() => this.setState({ renaming: true })}><${Icon} name="edit" />${t("details.rename")}</button>` : null}
          ${rules && session.value.admin ? html`<button type="button" class="list-button" onClick=${() => (dialog.value = { name: "invite", chatId })}><${Icon} name="invite" />${t("details.invite")}</button>` : null}
        </div>
        <${Media} chatId=${chatId} />
        ${many && isKnown
          ? html`<div class="group-box"><h3 class="section">${t("details.members")}</h3>
              ${rules ? html`<button type="button" class="list-button is-accent" onClick=${() => this.setState({ adding: true })}><${Icon} name="plus" />${t("details.add")}</button>` : null}
              <${Growing} items=${members} row=${(person) => html`<${Member} key=${person.id} person=${person} chatId=${chatId} meta=${meta} rules=${rules}
                name=${tellOf(now, person.id)} presence=${presenceOf(now, person.id)} lastSeen=${now.people.get(person.id)?.lastSeen} />`} /></div>`
          : null}
        ${chat && isKnown
          ? html`<div class="group-box">
              ${many && !owns ? html`<button type="button" class="list-button is-danger" onClick=${() => ask(t("details.confirmLeave", { name }), t("details.leave"), () => endChat("leaveChat", chatId))}><${Icon} name="leave" />${t("details.leave")}</button>` : null}
              ${owns ? html`<button type="button" class="list-button is-danger" onClick=${() => ask(t("details.confirmDelete", { name }), t("details.delete"), () => endChat("deleteChat", chatId))}><${Icon} name="trash" />${t("details.delete")}</button>` : null}
              ${many ? null : html`<button type="button" class="list-button is-danger" onClick=${() => ask(t("details.confirmClear"), t("details.clear"), () => endChat("deleteChat", chatId).then(() => tell(t("details.cleared"))))}><${Icon} name="trash" />${t("details.clear")}</button>`}
            </div>`
          : null}
      </div>
    </${Panel}>`;
  }
}
