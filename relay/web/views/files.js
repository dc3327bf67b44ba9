/** The dialog of files that are about to be sent. */
import { Component } from "preact";
import { send } from "../actions/outbox.js";
import { LONGEST_MESSAGE, composing, dialog } from "../signals.js";
import { formatSize, t } from "../i18n/i18n.js";
import { sizeParts } from "../model/markup.js";
import { html, Icon, Modal, submits } from "./parts.js";

const close = () => (dialog.value = null);

/** Files about to be sent, with a caption. */
export class Files extends Component {
  state = { tooLong: false };

  componentWillUnmount() {
    for (const url of this.urls?.values() ?? []) URL.revokeObjectURL(url);
  }

  url(file) {
    this.urls ??= new Map();
    if (!this.urls.has(file)) this.urls.set(file, URL.createObjectURL(file));
    return this.urls.get(file);
  }

  submit = (event) => {
    event?.preventDefault();
    const { chatId, files } = this.props;
    const text = this.field.value;
    this.setState({ tooLong: text.length > LONGEST_MESSAGE });
    if (text.length > LONGEST_MESSAGE) return;
    const replyTo = composing.value?.kind === "reply" && composing.value.chatId === chatId ? composing.value.quote : undefined;
    close();
    // Continue the edit at its old position.
    if (replyTo) composing.value = null;
    send(chatId, { text, files, replyTo });
  };

  render({ files }, { tooLong }) {
    return html`<${Modal} label=${t("upload.title", { count: files.length })} onClose=${close}>
      <h2>${t("upload.title", { count: files.length })}</h2>
      <div class="files" role="group" tabindex="0" aria-label=${t("upload.title", { count: files.length })}>${files.map((file) => /^image\//.test(file.type) && file.shape?.width
        ? html`<img src=${this.url(file)} alt=${file.name} />`
        : html`<span class="file"><span class="file-icon"><${Icon} name="file" /></span>
            <span class="file-text"><span class="file-name">${file.name}</span><span class="file-size">${formatSize(sizeParts(file.size))}</span></span></span>`)}</div>
      <form class="form" onSubmit=${this.submit}>
        <textarea rows="1" dir="auto" autofocus ref=${(element) => (this.field = element ?? this.field)} placeholder=${t("upload.caption")} aria-label=${t("upload.caption")}
          onKeyDown=${(event) => submits(event) && this.submit(event)}></textarea>
        ${tooLong ? html`<p class="form-error" role="alert">${t("composer.tooLong", { count: LONGEST_MESSAGE })}</p>` : null}
        <div class="modal-buttons">
          <button type="button" class="button is-quiet" onClick=${close}>${t("dialog.cancel")}</button>
          <button class="button">${t("composer.send")}</button>
        </div>
      </form>
    </${Modal}>`;
  }
}
