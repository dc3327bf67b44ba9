/** The frames of what is above the page or beside it: dialogs and panels, and the forms in them. */
import { Component } from "preact";
import { t } from "../i18n/i18n.js";
import { dialog, typed } from "../signals.js";
import { clearsItself, html, IconButton, isTouch, PATHS } from "./parts.js";

// Icons of panels and dialogs only.
Object.assign(PATHS, {
  camera: "M4 8h3.5l1.5-2.5h6L16.5 8H20v11H4zM12 10a3.3 3.3 0 1 0 0 6.6 3.3 3.3 0 0 0 0-6.6z",
  invite: "M10 12a4 4 0 1 0 0-8 4 4 0 0 0 0 8zM2.5 20.5c.5-4 3.5-6 7.5-6 1.5 0 2.8.3 4 .8M18 14v6M15 17h6",
  device: "M4 5h16v11H4zM9 20h6M12 16v4",
  keyboard: "M3 6h18v12H3zM7 10v.01M11 10v.01M15 10v.01M8 14h8",
  crown: "M4 18h16M4 8l4 4 4-6 4 6 4-4-1.5 8h-13z",
  copy: "M9 9h10v11H9zM15 9V4H5v11h4",
  plus: "M12 5v14M5 12h14",
});

let notices;

/** Open a dialog. Notices move into it: under its veil they would be out of reach, also for screen readers. */
export function openAbove(element) {
  element.showModal();
  notices ??= document.querySelector(".notices");
  element.append(notices);
}

/** Close a dialog; this returns the focus to where it was. */
export function closeAbove(element) {
  if (element.contains(notices) || !notices.isConnected) document.body.append(notices);
  element.close();
}

let pressed;

/** Properties of a dialog that a press on its veil closes: one that begins and ends there. */
export const veil = (close) => ({
  onPointerDown: ({ target }) => (pressed = target),
  onClick: ({ target, currentTarget }) => target === currentTarget && target === pressed && close(),
});

/** A modal dialog: the browser keeps the focus inside and closes it on Escape. */
export class Modal extends Component {
  componentDidMount() {
    openAbove(this.element);
  }

  componentWillUnmount() {
    closeAbove(this.element);
  }

  // The event is late: a dialog opened meanwhile stays open.
  onClose = () => {
    if (dialog.value === this.mine) this.props.onClose();
  };

  render({ label, class: extra = "", onPaste, onDrop, children }) {
    // The open dialog may be given more, such as files.
    this.mine = dialog.value;
    return html`<dialog
      ref=${(element) => (this.element = element ?? this.element)}
      class="modal ${extra}"
      aria-label=${label}
      onClose=${this.onClose}
      onPaste=${onPaste}
      onDrop=${onDrop}
      ...${veil(() => this.element.close())}
    >
      <div class="modal-inside">${children}</div>
    </dialog>`;
  }
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

/** The name of the form for the name of a user or group. */
export const nameForm = (id) => `name ${id}`;

/** A form whose fields outlast its panel or dialog until they are sent. The `formName` says what it is about. */
export class Form extends Component {
  /** What was typed or chosen, by field. */
  get typed() {
    return typed.get(this.formName) ?? {};
  }

  keep(fields) {
    typed.set(this.formName, { ...this.typed, ...fields });
    this.setState({});
  }

  forget() {
    typed.delete(this.formName);
  }

  onName = ({ currentTarget }) => this.keep({ name: currentTarget.value });

  /** Choose a person, or no longer. */
  toggle = (person) => {
    const chosen = new Map(this.typed.chosen);
    if (!chosen.delete(person.id)) chosen.set(person.id, person);
    this.keep({ chosen });
  };

  // Emptied fields are nothing to keep, nor is the name that is in use.
  componentWillUnmount() {
    if (!Object.values(this.typed).some((one) => (one?.size ?? one) && one !== this.props.value)) this.forget();
  }
}
