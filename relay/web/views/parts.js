/** Small components of every screen: icons, avatars, ticks, buttons, loading on demand. */
import { h, Component } from "preact";
import { signal } from "@preact/signals";
import htm from "htm";
import { hueOf, initials } from "../model/text.js";
import { explain } from "../actions/notices.js";
import { reportLoading } from "../actions/store.js";
import { dialog, notice, state } from "../signals.js";
import { t } from "../i18n/i18n.js";

export const html = htm.bind(h);

const HUES = 10;

const PATHS = {
  back: "M15 5l-7 7 7 7",
  send: "M4.5 12h7M4 5l17 7-17 7 2.2-7z",
  attach: "M20 11.5l-8 8a5 5 0 0 1-7.1-7.1l8.5-8.5a3.3 3.3 0 0 1 4.7 4.7l-8.4 8.4a1.7 1.7 0 0 1-2.4-2.4l7.7-7.7",
  search: "M11 4a7 7 0 1 0 0 14 7 7 0 0 0 0-14zM16.2 16.2L21 21",
  more: "M12 5.5v.01M12 12v.01M12 18.5v.01",
  plus: "M12 5v14M5 12h14",
  compose: "M4 20h4l11-11-4-4L4 16zM13.5 6.5l4 4",
  group: "M9 11a3.5 3.5 0 1 0 0-7 3.5 3.5 0 0 0 0 7zM2.5 20c.4-3.6 3-5.5 6.5-5.5s6.100 1.900 6.500 5.500M16 4.600a3.500 3.500 0 0 1 0 6M18 15c2 .700 3.200 2.400 3.500 5",
  channel: "M4 10v4h3l8 4.500V5.500L7 10zM18.500 9a4 4 0 0 1 0 6M8 14.500l1 5h2.500l-1-4",
  bookmark: "M7 4h10v16l-5-4-5 4z",
  settings: "M12 9a3 3 0 1 0 0 6 3 3 0 0 0 0-6zM19 12l2-1.200-2-3.500-2.200.900a7 7 0 0 0-1.800-1L14.600 5h-4l-.400 2.200a7 7 0 0 0-1.800 1L6.200 7.300l-2 3.500L6 12l-1.800 1.200 2 3.500 2.200-.900a7 7 0 0 0 1.800 1l.400 2.200h4l.400-2.200a7 7 0 0 0 1.800-1l2.200.900 2-3.500z",
  sent: "M5 12.500l4.500 4.500L19 7.500",
  delivered: "M2 12.500l4.500 4.500L16 7.500M11.500 16.200l.800.800L22 7.500",
  queued: "M12 4a8 8 0 1 0 0 16 8 8 0 0 0 0-16zM12 8v4.300l2.800 1.700",
  failed: "M12 4a8 8 0 1 0 0 16 8 8 0 0 0 0-16zM12 8v5M12 16v.01",
  close: "M6 6l12 12M18 6L6 18",
  reply: "M9 6l-5.500 5.500L9 17M4 11.500h9c4 0 7 2 7.500 6.500",
  edit: "M4 20h4l11-11-4-4L4 16zM13.500 6.500l4 4",
  trash: "M5 7h14M10 4h4M7 7l1 13h8l1-13M10.500 11v5.500M13.500 11v5.500",
  copy: "M9 9h10v11H9zM15 9V4H5v11h4",
  info: "M12 4a8 8 0 1 0 0 16 8 8 0 0 0 0-16zM12 11v5M12 8v.01",
  down: "M5 9l7 7 7-7",
  file: "M6 3h8l4 4v14H6zM14 3v4h4",
  download: "M12 4v11M7 11l5 5 5-5M5 20h14",
  play: "M8 5l11 7-11 7z",
  camera: "M4 8h3.500l1.500-2.500h6L16.500 8H20v11H4zM12 10a3.300 3.300 0 1 0 0 6.600 3.300 3.300 0 0 0 0-6.600z",
  person: "M12 12a4 4 0 1 0 0-8 4 4 0 0 0 0 8zM4.500 20.500c.500-4 3.500-6 7.500-6s7 2 7.500 6",
  invite: "M10 12a4 4 0 1 0 0-8 4 4 0 0 0 0 8zM2.500 20.500c.500-4 3.500-6 7.500-6 1.500 0 2.800.300 4 .800M18 14v6M15 17h6",
  device: "M4 5h16v11H4zM9 20h6M12 16v4",
  leave: "M10 4H5v16h5M15 8l4 4-4 4M19 12H9",
  bell: "M6 16V11a6 6 0 0 1 12 0v5l1.500 2h-15zM10 20.500h4",
  keyboard: "M3 6h18v12H3zM7 10v.01M11 10v.01M15 10v.01M8 14h8",
  crown: "M4 18h16M4 8l4 4 4-6 4 6 4-4-1.500 8h-13z",
  smile: "M12 4a8 8 0 1 0 0 16 8 8 0 0 0 0-16zM9 10v.01M15 10v.01M8.500 14c1.800 2.600 5.200 2.600 7 0",
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

/** An avatar: a picture, an icon, or initials on a colour made from the id. `presence` draws the dot: "online", "offline", or undefined for none. */
export function Avatar({ id, name, url, type, icon, size = "m", presence }) {
  const mark = icon ?? { favorites: "bookmark" }[type];
  const inner = url
    ? html`<img src=${url} alt="" loading="lazy" decoding="async" />`
    : mark
      ? html`<${Icon} name=${mark} />`
      : initials(name);
  return html`<span class="avatar avatar-${size} ${url ? "" : `hue-${mark ? "own" : hueOf(id, HUES)}`}" aria-hidden="true">
    ${inner}${presence === undefined ? null : html`<span class="presence is-${presence}"></span>`}
  </span>`;
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

/** The delivery state of an own message: an icon with a text for screen readers. */
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

/** Make a component whose module is loaded when it is first shown. Where that fails a button tries again; a dialog closes. */
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

/** Say why something could not be fetched, with a way to try again. */
export function TryAgain({ failure, onTry }) {
  return html`<div class="none" role="alert"><p>${explain(failure)}</p>
    <button type="button" class="link" onClick=${onTry}>${t("message.tryAgain")}</button></div>`;
}

/** Modal dialogs that are open: what is outside of them can be neither pressed nor heard. */
export const modals = signal(0);

export function Notice() {
  const shown = notice.value;
  return html`<div class="notices" role="status" aria-live="polite">
    ${shown
      ? html`<div class="notice ${shown.error ? "is-error" : ""}">
          ${shown.error ? html`<${Icon} name="failed" />` : null}<span>${shown.text}</span>
          ${shown.action ? html`<button type="button" class="link" onClick=${shown.onAction}>${shown.action}</button>` : null}
        </div>`
      : null}
  </div>`;
}

/** A modal dialog: the browser keeps the focus inside and closes it on Escape. */
export class Modal extends Component {
  mine = dialog.value;

  componentDidMount() {
    this.element.showModal();
    modals.value += 1;
  }

  componentWillUnmount() {
    modals.value -= 1;
    // Returns the focus to where it was.
    this.element.close();
  }

  // The event is late: a dialog opened meanwhile stays open.
  onClose = () => {
    if (dialog.value === this.mine) this.props.onClose();
  };

  render({ label, class: extra = "", children }) {
    return html`<dialog
      ref=${(element) => (this.element = element ?? this.element)}
      class="modal ${extra}"
      aria-label=${label}
      onClose=${this.onClose}
      onClick=${(event) => event.target === this.element && this.element.close()}
    >
      <div class="modal-inside">${children}</div>
      <${Notice} />
    </dialog>`;
  }
}

/** Let Escape first clear a search field that has text. */
export function clearsItself({ type, value }) {
  return type === "search" && Boolean(value);
}

/** A panel in place of the list or beside the conversation. It takes the focus, and Escape closes it. */
export class Panel extends Component {
  componentDidMount() {
    const first = isTouch() ? null : this.element.querySelector("[autofocus]");
    (first ?? this.element).focus({ preventScroll: true });
  }

  onKey = (event) => {
    if (event.key !== "Escape" || clearsItself(event.target)) return;
    event.preventDefault();
    this.props.onBack();
  };

  render({ as = "section", label, title = label, icon = "back", onBack, children, ...rest }) {
    return html`<${as} class="panel" tabindex="-1" aria-label=${label} onKeyDown=${this.onKey}
      ref=${(element) => (this.element = element ?? this.element)} ...${rest}>
      <header class="bar"><${IconButton} icon=${icon} label=${icon === "back" ? t("nav.back") : t("dialog.close")} onClick=${onBack} /><h2>${title}</h2></header>
      ${children}
    </${as}>`;
  }
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
