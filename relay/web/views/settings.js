/** The user's name and picture, the settings of this device, and the signed-in devices. */
import { Component } from "preact";
import { changeProfile, pickLanguage, signOut, wantedLanguage } from "../actions/groups.js";
import { back } from "../actions/navigation.js";
import { explain, report, tell } from "../actions/notices.js";
import { openChat } from "../actions/rooms.js";
import { request } from "../actions/store.js";
import { changeSetting, dialog, session, settings, state } from "../signals.js";
import { formatAgo, LANGUAGES, t } from "../i18n/i18n.js";
import { canNotify } from "../notify.js";
import { sendPhoto } from "./chat/files.js";
import { Form, nameForm, Panel } from "./frames.js";
import { Avatar, html, Icon, IconButton, Name, TryAgain } from "./parts.js";

/** A picture of the user or a group, changed by clicking it and choosing a file. */
export class Photo extends Component {
  state = { busy: false };

  onPick = async (event) => {
    const [file] = event.currentTarget.files;
    event.currentTarget.value = "";
    if (!file) return;
    this.setState({ busy: true });
    try {
      await this.props.onChange(await sendPhoto(file));
    } catch (failure) {
      report(failure);
    }
    this.setState({ busy: false });
  };

  render({ label, id, name, url, type, icon }, { busy }) {
    return html`<button type="button" class="photo" disabled=${busy} title=${label} onClick=${() => this.input.click()}>
      <${Avatar} id=${id} name=${name} url=${url} type=${type} icon=${icon} size="l" />
      <span class="hidden">${label}</span>
      <span class="photo-edit">${busy ? html`<span class="spinner"></span>` : html`<${Icon} name="camera" />`}</span>
      <input type="file" accept="image/*" hidden ref=${(element) => (this.input = element ?? this.input)} onChange=${this.onPick} onClick=${(event) => event.stopPropagation()} />
    </button>`;
  }
}

/** A text that can be edited in place; `id` says of whom it is. */
export class NameForm extends Form {
  formName = nameForm(this.props.id);
  state = { busy: false, failure: null };

  submit = async (event) => {
    event.preventDefault();
    const name = new FormData(event.target).get("name").trim();
    if (!name || name === this.props.value) {
      this.forget();
      this.setState({ failure: null });
      return this.props.onDone?.();
    }
    this.setState({ busy: true, failure: null });
    try {
      await this.props.onChange(name);
      this.forget();
      this.setState({ busy: false });
      this.props.onDone?.();
      tell(t("saved"));
    } catch (failure) {
      this.setState({ busy: false, failure });
    }
  };

  render({ label, value }, { busy, failure }) {
    return html`<form class="form panel-pad" onSubmit=${this.submit}>
      <label class="field"><span>${label}</span><input name="name" value=${this.typed.name ?? value} onInput=${this.onName} required maxlength="64" autocomplete="off" /></label>
      ${failure ? html`<p class="form-error" role="alert">${explain(failure)}</p>` : null}
      <button class="button is-quiet" disabled=${busy}>${t("composer.save")}</button>
    </form>`;
  }
}

class Devices extends Component {
  state = { devices: null, failure: null };

  componentDidMount() {
    this.load();
  }

  async load() {
    this.setState({ failure: null });
    try {
      this.setState({ devices: await request("devices", {}), failure: null });
    } catch (failure) {
      this.setState({ failure });
    }
  }

  revoke(device) {
    dialog.value = {
      name: "confirm",
      text: t("devices.confirm", { name: device.label || t("devices.unnamed") }),
      action: t("devices.revoke"),
      run: async () => {
        try {
          await request("revokeDevice", { deviceId: device.deviceId });
          this.load();
        } catch (failure) {
          report(failure);
        }
      },
    };
  }

  render(_, { devices, failure }) {
    return html`<section class="group-box" aria-label=${t("devices.title")}>
      <h3 class="section">${t("devices.title")}</h3>
      ${failure ? html`<${TryAgain} failure=${failure} onTry=${() => this.load()} />`
        : devices ? null : html`<p class="none" role="status"><span class="spinner"></span> ${t("chat.loading")}</p>`}
      ${devices?.map((device) => html`<div class="person" key=${device.deviceId}>
        <${Icon} name="device" />
        <span class="list-text"><span><${Name} text=${device.label || t("devices.unnamed")} /></span>
          <span class="hint">${device.current ? t("devices.this") : device.online ? t("presence.online") : device.lastSeen ? t("presence.lastSeen", { when: formatAgo(device.lastSeen) }) : t("presence.offline")}</span></span>
        ${device.current ? null : html`<${IconButton} icon="leave" label=${t("devices.revoke")} onClick=${() => this.revoke(device)} />`}
      </div>`)}
    </section>`;
  }
}

async function turnOnNotifications(on) {
  if (on && Notification.permission !== "granted") {
    const answer = await Notification.requestPermission();
    if (answer !== "granted") {
      tell(t("notifications.refused"), { error: true });
      changeSetting({ notifications: false });
      return;
    }
  }
  changeSetting({ notifications: on });
}

function Switch({ label, checked, onChange }) {
  return html`<label class="setting"><span>${label}</span>
    <input type="checkbox" role="switch" class="switch" checked=${checked} onChange=${(event) => onChange(event.currentTarget.checked)} /></label>`;
}

export function Settings() {
  const now = state.value;
  const me = session.value;
  const mine = settings.value;
  return html`<${Panel} label=${t("settings.title")} onBack=${back}>
    <div class="scroll">
      <div class="panel-head">
        <${Photo} label=${t("profile.photo")} id=${me.id} name=${me.name} url=${now.people.get(me.id)?.avatarUrl} onChange=${(photoUrl) => changeProfile({ photoUrl })} />
        <h3><${Name} text=${me.name} /></h3><p class="hint">@${me.id}</p>
      </div>
      <${NameForm} id=${me.id} label=${t("signin.name")} value=${me.name} onChange=${(name) => changeProfile({ name })} />
      <div class="group-box">
        <button type="button" class="list-button" onClick=${() => openChat(me.id)}><${Icon} name="bookmark" />${t("chat.favorites")}</button>
        ${me.admin ? html`<button type="button" class="list-button" onClick=${() => (dialog.value = { name: "invite" })}><${Icon} name="invite" />${t("empty.invite")}</button>` : null}
        <button type="button" class="list-button" onClick=${() => (dialog.value = { name: "keys" })}><${Icon} name="keyboard" />${t("keys.title")}</button>
      </div>
      <div class="group-box">
        <label class="setting"><span>${t("settings.theme")}</span>
          <select onChange=${(event) => changeSetting({ theme: event.currentTarget.value })}>
            ${[["system", t("theme.system")], ["light", t("theme.light")], ["dark", t("theme.dark")]].map(([value, name]) => html`<option value=${value} selected=${mine.theme === value}>${name}</option>`)}
          </select></label>
        <label class="setting"><span>${t("settings.language")}</span>
          <select onChange=${pickLanguage}>
            ${Object.entries(LANGUAGES).map(([code, name]) => html`<option value=${code} selected=${wantedLanguage.value === code}>${name}</option>`)}
          </select></label>
        <${Switch} label=${t("settings.sound")} checked=${mine.sound} onChange=${(sound) => changeSetting({ sound })} />
        ${canNotify()
          ? html`<${Switch} label=${Notification.permission === "granted" ? t("notifications.on") : t("notifications.ask")} checked=${mine.notifications && Notification.permission === "granted"} onChange=${turnOnNotifications} />`
          : html`<p class="hint panel-pad">${t("notifications.insecure")}</p>`}
      </div>
      <${Devices} />
      <div class="group-box">
        <button type="button" class="list-button is-danger" onClick=${() => (dialog.value = { name: "confirm", text: t("signout.confirm"), action: t("signout"), run: signOut })}>
          <${Icon} name="leave" />${t("signout")}</button>
      </div>
      ${me.version ? html`<p class="none hint">${t("settings.version", { version: me.version })}</p>` : null}
    </div>
  </${Panel}>`;
}
