/** Small components of every screen: icons, avatars, ticks, buttons, loading on demand. */
import { Component, h } from "preact";
import { signal } from "@preact/signals";
import htm from "htm";
import { hueOf, initials } from "../model/text.js";
import { explain } from "../actions/notices.js";
import { reportLoading } from "../actions/store.js";
import { connection, dialog, state } from "../signals.js";
import { t } from "../i18n/i18n.js";

export const html = htm.bind(h);

const HUES = 10;

/** The paths of the icons; those of panels and dialogs are in frames.js. */
export const PATHS = {
  back: "M15 5l-7 7 7 7",
  send: "M4.5 12h7M4 5l17 7-17 7 2.2-7z",
  attach: "M20 11.5l-8 8a5 5 0 0 1-7.1-7.1l8.5-8.5a3.3 3.3 0 0 1 4.7 4.7l-8.4 8.4a1.7 1.7 0 0 1-2.4-2.4l7.7-7.7",
  search: "M11 4a7 7 0 1 0 0 14 7 7 0 0 0 0-14zM16.2 16.2L21 21",
  more: "M12 5.5v.01M12 12v.01M12 18.5v.01",
  compose: "M4 20h4l11-11-4-4L4 16zM13.5 6.5l4 4",
  group: "M9 11a3.5 3.5 0 1 0 0-7 3.5 3.5 0 0 0 0 7zM2.5 20c.4-3.6 3-5.5 6.5-5.5s6.1 1.9 6.5 5.5M16 4.6a3.5 3.5 0 0 1 0 6M18 15c2 .7 3.2 2.4 3.5 5",
  channel: "M4 10v4h3l8 4.5V5.5L7 10zM18.5 9a4 4 0 0 1 0 6M8 14.5l1 5h2.5l-1-4",
  bookmark: "M7 4h10v16l-5-4-5 4z",
  sent: "M5 12.5l4.5 4.5L19 7.5",
  delivered: "M2 12.5l4.5 4.5L16 7.5M11.5 16.2l.8.8L22 7.5",
  queued: "M12 4a8 8 0 1 0 0 16 8 8 0 0 0 0-16zM12 8v4.3l2.8 1.7",
  failed: "M12 4a8 8 0 1 0 0 16 8 8 0 0 0 0-16zM12 8v5M12 16v.01",
  close: "M6 6l12 12M18 6L6 18",
  reply: "M9 6l-5.5 5.5L9 17M4 11.5h9c4 0 7 2 7.5 6.5",
  edit: "M4 20h4l11-11-4-4L4 16zM13.5 6.5l4 4",
  trash: "M5 7h14M10 4h4M7 7l1 13h8l1-13M10.5 11v5.5M13.5 11v5.5",
  info: "M12 4a8 8 0 1 0 0 16 8 8 0 0 0 0-16zM12 11v5M12 8v.01",
  down: "M5 9l7 7 7-7",
  file: "M6 3h8l4 4v14H6zM14 3v4h4",
  download: "M12 4v11M7 11l5 5 5-5M5 20h14",
  leave: "M10 4H5v16h5M15 8l4 4-4 4M19 12H9",
  smile: "M12 4a8 8 0 1 0 0 16 8 8 0 0 0 0-16zM9 10v.01M15 10v.01M8.5 14c1.8 2.6 5.2 2.6 7 0",
};

/** An icon; decorative unless it has a label. */
export function Icon({ name, label }) {
  const hidden = label ? { role: "img", "aria-label": label } : { "aria-hidden": "true" };
  return html`<svg class="icon icon-${name}" viewBox="0 0 24 24" ...${hidden}><path d=${PATHS[name]} /></svg>`;
}

/** A round button with an icon; the label is its tooltip and its accessible name. */
export function IconButton({ icon, label, class: extra = "", ...rest }) {
  return html`<button type="button" class="icon-button ${extra}" aria-label=${label} title=${label} ...${rest}>
    <${Icon} name=${icon} />
  </button>`;
}

/** A part that shows what is at an address, and tries it again at the next connection. */
export class Fetching extends Component {
  onError = ({ currentTarget }) => {
    const failedIn = connection.value;
    this.setState({ failed: currentTarget.getAttribute("src") });
    this.stop ??= connection.subscribe((now) => now !== failedIn && now.name === "live" && this.setState({ failed: null }));
  };

  componentWillUnmount() {
    this.stop?.();
  }
}

/** An avatar: a picture, an icon, or initials on a colour made from the id. `presence` draws the dot: "online", "offline", or undefined for none. */
export class Avatar extends Fetching {
  render({ id, name, url: from, type, icon, size = "m", presence }, { failed }) {
    const url = from !== failed && from;
    const mark = icon ?? { favorites: "bookmark" }[type];
    const inner = url
      ? html`<img src=${url} alt="" loading="lazy" decoding="async" onError=${this.onError} />`
      : mark
        ? html`<${Icon} name=${mark} />`
        : initials(name);
    return html`<span class="avatar avatar-${size} ${url ? "" : `hue-${mark ? "own" : hueOf(id, HUES)}`}" aria-hidden="true">
      ${inner}${presence === undefined ? null : html`<span class="presence is-${presence}"></span>`}
    </span>`;
  }
}

/** Say a delivery state, for screen readers and tooltips. */
export function stateText(name) {
  switch (name) {
    case "queued":
      return t("state.queued");
    case "sent":
      return t("state.sent");
    case "delivered":
      return t("state.delivered");
    case "read":
      return t("state.read");
    default:
      return t("state.failed");
  }
}

/** The delivery state of my message: an icon with a text for screen readers. */
export function Ticks({ name }) {
  const text = stateText(name);
  return html`<span class="ticks ticks-${name}" title=${text}>
    <${Icon} name=${name === "read" ? "delivered" : name} /><span class="hidden">${text}</span>
  </span>`;
}

/** The tag of a bot. */
export function Bot({ userId }) {
  return state.value?.people.get(userId)?.bot ? html`<span class="tag">${t("person.bot")}</span>` : null;
}

/** Make a component whose module is loaded when it is first shown. If loading fails, a button tries again, and a dialog closes. */
export function lazy(load, name, isDialog) {
  const module = signal(null);
  const failure = signal(null);
  let asked = false;
  const ask = () => {
    asked = true;
    failure.value = null;
    load().then(
      (loaded) => (module.value = loaded),
      () => {
        asked = !isDialog;
        if (isDialog) dialog.value = null;
        failure.value = reportLoading();
      },
    );
  };
  return function Lazy(props) {
    if (module.value) return html`<${module.value[name]} ...${props} />`;
    if (!asked) ask();
    return failure.value && html`<${TryAgain} failure=${failure.value} onTry=${ask} />`;
  };
}

/** Say why a fetch failed, with a way to try again. */
export function TryAgain({ failure, onTry }) {
  return html`<div class="none" role="alert"><p>${explain(failure)}</p>
    <button type="button" class="link" onClick=${onTry}>${t("message.tryAgain")}</button></div>`;
}

/** Whether the keyboard has a Command key, which shortcuts use there. */
export const isMac = /Mac|iPhone|iPad/.test(navigator.platform);

/** Let Escape first clear a search field that has text. */
export function clearsItself({ type, value }) {
  return type === "search" && Boolean(value);
}

/** A name, which may run in the other direction than its surroundings. */
export function Name({ text }) {
  return html`<bdi>${text}</bdi>`;
}

/** Whether a key sends the text: Enter, unless an input method uses it, it makes a new line or it is a touch
 * keyboard's. */
export function submits(event) {
  const composes = event.isComposing || event.keyCode === 229;
  return event.key === "Enter" && !event.shiftKey && !event.altKey && !composes && !isTouch();
}

/** Whether the person uses a touch screen, where a keyboard covers half the page. */
export function isTouch() {
  return matchMedia("(pointer: coarse)").matches;
}
