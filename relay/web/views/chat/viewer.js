/** A picture in the size of the window, with keys for the previous and next ones. */
import { Component } from "preact";
import { dialog, state } from "../../signals.js";
import { formatFull, t } from "../../i18n/i18n.js";
import { isOwnFile } from "../../model/markup.js";
import { tellOf } from "../../model/state.js";
import { closeAbove, openAbove } from "../frames.js";
import { Img } from "./img.js";
import { html, Icon, IconButton, Name } from "../parts.js";

export class Viewer extends Component {
  state = { step: 0 };

  componentDidMount() {
    if (this.element) openAbove(this.element);
    this.closeIfGone();
  }

  componentDidUpdate() {
    this.closeIfGone();
  }

  componentWillUnmount() {
    if (this.element) closeAbove(this.element);
  }

  /** The picture was deleted meanwhile. */
  closeIfGone() {
    if (this.gone) dialog.value = null;
  }

  pictures() {
    const { chatId, attachmentId, message } = this.props;
    const all = (state.value.rooms.get(chatId)?.messages ?? []).flatMap((one) =>
      (one.attachments ?? []).filter((file) => file.type === "image" && isOwnFile(file)).map((file) => ({ attachment: file, message: one })),
    );
    const at = all.findIndex((one) => one.attachment.id === attachmentId);
    // Its message is not answered yet.
    const waiting = at < 0 && message.state ? message.attachments?.find((one) => one.id === attachmentId) : null;
    return waiting ? { all: [{ attachment: waiting, message }], at: 0 } : { all, at };
  }

  go = (by) => this.setState({ step: this.state.step + by });

  onKey = (event) => {
    if (event.key === "ArrowLeft" && this.before) this.go(-1);
    else if (event.key === "ArrowRight" && this.after) this.go(1);
  };

  render(_, { step }) {
    const now = state.value;
    const { all, at } = this.pictures();
    this.gone = at < 0;
    if (this.gone) return null;
    const index = Math.max(0, Math.min(all.length - 1, at + step));
    const { attachment, message } = all[index];
    this.before = index > 0;
    this.after = index < all.length - 1;
    const author = message.sender === now.me.id ? t("message.you") : tellOf(now, message.sender);
    const close = () => (dialog.value = null);
    return html`<dialog class="viewer" aria-label=${attachment.filename} ref=${(element) => (this.element = element ?? this.element)} onClose=${close} onKeyDown=${this.onKey}>
      <div class="viewer-bar"><span><${Name} text=${author} /> · ${formatFull(message.createdAt)}</span>
        <a class="icon-button" href=${attachment.url} download=${attachment.filename} aria-label=${t("viewer.save")} title=${t("viewer.save")}><${Icon} name="download" /></a>
        <${IconButton} icon="close" label=${t("dialog.close")} onClick=${close} autofocus /></div>
      ${this.before ? html`<${IconButton} icon="back" label=${t("viewer.before")} class="prev" onClick=${() => this.go(-1)} />` : null}
      ${this.after ? html`<${IconButton} icon="back" label=${t("viewer.after")} class="next" onClick=${() => this.go(1)} />` : null}
      <${Img} src=${attachment.url} alt=${attachment.filename} onClick=${close} instead=${html`<p class="nothing"><${Icon} name="failed" /><${Name} text=${attachment.filename} /></p>`} />
    </dialog>`;
  }
}
