/** New chats: the directory of users, a new group, a new channel. */
import { Component } from "preact";
import { createChat } from "../actions/groups.js";
import { back } from "../actions/navigation.js";
import { explain } from "../actions/notices.js";
import { openChat } from "../actions/rooms.js";
import { findPeople } from "../actions/store.js";
import { LONGEST_NAME_QUERY, dialog, session, state } from "../signals.js";
import { presenceOf, tellOf } from "../model/state.js";
import { t } from "../i18n/i18n.js";
import { SearchState } from "./chatlist.js";
import { Form, Panel } from "./frames.js";
import { Avatar, Bot, html, Icon, Name } from "./parts.js";
import { Photo } from "./settings.js";

const ASK_AFTER = 150;

/** A list of users to choose from; `chosen` (a Map of profiles) adds check boxes. */
export class Directory extends Component {
  state = { people: null, query: "", failure: null, more: false, asking: true };

  serial = 0;

  componentDidMount() {
    this.find("");
  }

  componentWillUnmount() {
    clearTimeout(this.timer);
  }

  onInput = (event) => {
    const query = event.currentTarget.value;
    this.serial += 1;
    this.setState({ query, asking: true, failure: null });
    clearTimeout(this.timer);
    // Do not search for a half-composed word.
    if (!event.isComposing) this.timer = setTimeout(() => this.find(query.trim()), ASK_AFTER);
  };

  async find(query, after) {
    this.serial += 1;
    const mine = this.serial;
    this.after = after;
    this.setState({ asking: true, failure: null });
    try {
      const found = await findPeople(query, after);
      if (mine !== this.serial) return;
      this.setState({
        people: after ? [...this.state.people, ...found] : found,
        more: found.more,
        next: found.next,
        asking: false,
      });
    } catch (failure) {
      if (mine === this.serial) this.setState({ failure, asking: false });
    }
  }

  render({ chosen, onChoose, without = [] }, { people, query, failure, more, next, asking }) {
    const now = state.value;
    const shown = people?.filter((one) => one.id !== session.value.id && !without.includes(one.id));
    return html`
      <label class="search"><${Icon} name="search" />
        <input type="search" value=${query} maxlength=${LONGEST_NAME_QUERY} placeholder=${t("people.search")} aria-label=${t("people.search")} onInput=${this.onInput} onCompositionEnd=${this.onInput} autocomplete="off" /></label>
      <${SearchState} asking=${asking} failed=${failure} onTry=${() => this.find(query.trim(), this.after)} />
      ${shown?.length === 0 && !asking && !failure ? html`<div class="none"><p>${query ? t("search.none", { query }) : t("people.none")}</p></div>` : null}
      <ul>${shown?.map((one) => html`<li key=${one.id}>
        ${chosen
          ? html`<label class="person"><${Avatar} id=${one.id} name=${one.name} url=${now.people.get(one.id)?.avatarUrl} size="s" presence=${presenceOf(now, one.id)} />
              <span class="list-text"><span><${Name} text=${tellOf(now, one.id)} /></span></span><${Bot} userId=${one.id} />
              <input type="checkbox" class="check" checked=${chosen.has(one.id)} onChange=${() => onChoose(one)} /></label>`
          : html`<button type="button" class="person" onClick=${() => onChoose(one)}>
              <${Avatar} id=${one.id} name=${one.name} url=${now.people.get(one.id)?.avatarUrl} size="s" presence=${presenceOf(now, one.id)} />
              <span class="list-text"><span><${Name} text=${tellOf(now, one.id)} /></span>${one.username ? html`<span class="hint">@${one.username}</span>` : null}</span><${Bot} userId=${one.id} />
            </button>`}
      </li>`)}</ul>
      ${more ? html`<button type="button" class="list-button is-accent" onClick=${() => this.find(query.trim(), next)}>${t("people.more")}</button>` : null}`;
  }
}

/** The form for a new group or channel: name, picture and members. */
class Making extends Form {
  formName = `new ${this.props.type}`;
  state = { busy: false, failure: null };

  submit = async (event) => {
    event.preventDefault();
    const name = new FormData(event.target).get("name").trim();
    if (!name) return;
    this.setState({ busy: true, failure: null });
    try {
      const { chosen, photoUrl } = this.typed;
      await createChat({ type: this.props.type, name, participants: [...(chosen?.keys() ?? [])], photoUrl });
      this.forget();
    } catch (failure) {
      this.setState({ busy: false, failure });
    }
  };

  render({ type, onBack }, { busy, failure }) {
    const { name, chosen = new Map(), photoUrl } = this.typed;
    const title = type === "group" ? t("new.group") : t("new.channel");
    return html`<${Panel} as="form" label=${title} onBack=${onBack} onSubmit=${this.submit}>
      <div class="scroll">
        <div class="panel-head"><${Photo} label=${t("profile.photo")} id=${type} icon=${type} name=${title} url=${photoUrl} onChange=${(url) => this.keep({ photoUrl: url })} /></div>
        <div class="panel-pad">
          <label class="field"><span>${t("new.name")}</span><input name="name" required maxlength="64" autocomplete="off" autofocus value=${name} onInput=${this.onName} /></label>
          ${type === "channel" ? html`<p class="hint">${t("new.channelHint")}</p>` : null}
        </div>
        <h3 class="section">${t("details.members")}</h3>
        ${chosen.size > 0
          ? html`<div class="chips">${[...chosen.values()].map((one) => html`<button type="button" class="chip" key=${one.id} aria-label=${t("new.without", { name: tellOf(state.value, one.id) })} onClick=${() => this.toggle(one)}>
              <span><${Name} text=${tellOf(state.value, one.id)} /></span><${Icon} name="close" /></button>`)}</div>`
          : null}
        <div class="panel-pad"></div>
        <${Directory} chosen=${chosen} onChoose=${this.toggle} />
      </div>
      <div class="panel-foot">${failure ? html`<p class="form-error" role="alert">${explain(failure)}</p>` : null}
        <button class="button is-wide" disabled=${busy}>${t("new.create")}</button></div>
    </${Panel}>`;
  }
}

export class NewChat extends Component {
  state = { making: null };

  render(_, { making }) {
    if (making) return html`<${Making} type=${making} onBack=${() => this.setState({ making: null })} />`;
    return html`<${Panel} label=${t("list.new")} onBack=${back}>
      <div class="scroll">
        <button type="button" class="list-button" onClick=${() => this.setState({ making: "group" })}><${Icon} name="group" />${t("new.group")}</button>
        <button type="button" class="list-button" onClick=${() => this.setState({ making: "channel" })}><${Icon} name="channel" />${t("new.channel")}</button>
        <button type="button" class="list-button" onClick=${() => openChat(session.value.id)}><${Icon} name="bookmark" />${t("chat.favorites")}</button>
        ${session.value.admin ? html`<button type="button" class="list-button" onClick=${() => (dialog.value = { name: "invite" })}><${Icon} name="invite" />${t("empty.invite")}</button>` : null}
        <h3 class="section">${t("people.title")}</h3>
        <${Directory} onChoose=${(one) => openChat(one.id)} />
      </div>
    </${Panel}>`;
  }
}
