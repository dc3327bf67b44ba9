/** The sign-in screen: an invite link, a password, or just a name if the relay is open. */
import { Component } from "preact";
import { pickLanguage, signIn, wantedLanguage } from "../actions/groups.js";
import { explain } from "../actions/notices.js";
import { dialog, signedOut, signInWays } from "../signals.js";
import { LANGUAGES, t } from "../i18n/i18n.js";
import { html, Icon } from "./parts.js";

/** Read the code of an invite link; it is after the #, which browsers do not send. */
function inviteCode() {
  return new URLSearchParams(location.hash.slice(1)).get("invite");
}

function deviceLabel() {
  const agent = navigator.userAgent;
  const browser = /Edg\//.test(agent) ? "Edge" : /OPR\//.test(agent) ? "Opera" : /Firefox\//.test(agent) ? "Firefox"
    : /Chrome\//.test(agent) ? "Chrome" : /Safari\//.test(agent) ? "Safari" : "Browser";
  const system = /Android/.test(agent) ? "Android" : /iPhone|iPad/.test(agent) ? "iOS" : /Windows/.test(agent)
    ? "Windows" : /Mac OS/.test(agent) ? "macOS" : /Linux/.test(agent) ? "Linux" : "";
  return system ? `${browser} · ${system}` : browser;
}

/** Say what went wrong while signing in. */
function failureText(failure, invite) {
  if (failure.status === 401 || failure.status === 404 || failure.status === 403) {
    return invite ? t("signin.badInvite") : t("signin.badPassword");
  }
  if (failure.code === "conflict") return t("signin.devicesFull");
  if (failure.code === "bad_request" && invite) return t("signin.badInvite");
  return explain(failure);
}

/** Say that this device was signed out, why, what was lost, and what to do. */
function SignedOut({ unsent, disabled }) {
  return html`<div class="signed-out" role="status">
    <strong>${disabled ? t("signin.disabled") : t("signin.signedOut")}</strong>
    ${unsent > 0 ? html`<p>${t("signin.unsent", { count: unsent })}</p>` : null}
    <p class="hint">${disabled ? t("signin.disabledHint") : t("signin.again")}</p>
  </div>`;
}

export class SignIn extends Component {
  state = { invite: inviteCode(), failure: null, busy: false, way: null };

  componentDidMount() {
    addEventListener("hashchange", this.onLink);
  }

  componentWillUnmount() {
    removeEventListener("hashchange", this.onLink);
  }

  // For an invite link opened in the loaded page, the browser only changes the part after the #.
  onLink = () => {
    const invite = inviteCode();
    if (invite) this.setState({ invite, failure: null });
  };

  async enter(credentials, invite = false) {
    this.setState({ busy: true, failure: null });
    try {
      if (invite) history.replaceState(null, "", location.pathname);
      await signIn({ ...credentials, label: deviceLabel() });
      // After an invite, ask for the name first.
      if (invite) dialog.value = { name: "welcome" };
    } catch (failure) {
      this.setState({ busy: false, failure: failureText(failure, invite), invite: invite && failure.code === "connection_lost" ? this.state.invite : null });
    }
  }

  onInvite = (event) => {
    event.preventDefault();
    const typed = new FormData(event.currentTarget).get("invite").trim();
    const code = typed.includes("invite=") ? new URLSearchParams(typed.slice(typed.indexOf("invite="))).get("invite") : typed;
    if (code) this.enter({ invite: code }, true);
  };

  onPassword = (event) => {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    this.enter({ userId: form.get("userId").trim(), password: form.get("password") });
  };

  onName = (event) => {
    event.preventDefault();
    this.enter({ name: new FormData(event.currentTarget).get("name").trim() });
  };

  render(_, { invite, failure, busy, way }) {
    const ways = signInWays.value;
    const shown = way ?? (ways.includes("open") ? "open" : ways.includes("password") ? "password" : "invite");
    const error = failure ? html`<p class="form-error" role="alert"><${Icon} name="failed" />${failure}</p>` : null;
    return html`<main class="signin">
      <div class="card">
        <img class="logo" src="/icons/icon.svg" alt="" width="64" height="64" />
        ${signedOut.value ? html`<${SignedOut} ...${signedOut.value} />` : null}
        ${invite
          ? html`<h1>${t("signin.invited")}</h1><p>${t("signin.invitedText")}</p>${error}
              <button type="button" class="button" disabled=${busy} onClick=${() => this.enter({ invite }, true)}>${t("signin.join")}</button>`
          : html`<h1>${t("signin.title")}</h1>
              ${shown === "open"
                ? html`<form key="open" onSubmit=${this.onName}>
                    <label class="field"><span>${t("signin.name")}</span><input name="name" required maxlength="64" autocomplete="name" autofocus /></label>
                    ${error}<button class="button" disabled=${busy}>${t("signin.enter")}</button>
                  </form>`
                : shown === "password"
                  ? html`<form key="password" onSubmit=${this.onPassword}>
                      <label class="field"><span>${t("signin.user")}</span><input name="userId" required maxlength="64" autocomplete="username" autocapitalize="none" spellcheck=${false} /></label>
                      <label class="field"><span>${t("signin.password")}</span><input name="password" type="password" required autocomplete="current-password" /></label>
                      ${error}<button class="button" disabled=${busy}>${t("signin.enter")}</button>
                    </form>`
                  : html`<form key="invite" onSubmit=${this.onInvite}>
                      <label class="field"><span>${t("signin.invite")}</span><input name="invite" required autocomplete="off" autocapitalize="none" spellcheck=${false} /></label>
                      ${error}<button class="button" disabled=${busy}>${t("signin.join")}</button>
                    </form>`}
              <div class="other-ways">
                ${ways.filter((one) => one !== shown).map((one) => html`<button type="button" class="link" onClick=${() => this.setState({ way: one, failure: null })}>
                  ${one === "password" ? t("signin.withPassword") : one === "open" ? t("signin.withName") : t("signin.withInvite")}</button>`)}
              </div>
              <p class="hint">${t("signin.help")}</p>`}
        <select class="language" aria-label=${t("settings.language")} value=${wantedLanguage.value}
          onChange=${pickLanguage}>
          ${Object.entries(LANGUAGES).map(([code, name]) => html`<option value=${code} selected=${code === wantedLanguage.value}>${name}</option>`)}
        </select>
      </div>
    </main>`;
  }
}
