/** Files to be sent: which of them can be sent, and the dialog that asks for a caption. */
import { Component } from "preact";
import { draftAt, keepDraft } from "../actions/drafts.js";
import { explain, tell } from "../actions/notices.js";
import { isReadable, send } from "../actions/outbox.js";
import { LONGEST_MESSAGE, composing, dialog, session } from "../signals.js";
import { formatSize, t } from "../i18n/i18n.js";
import { sizeParts } from "../model/text.js";
import { captionKey } from "../model/writing.js";
import { html, Icon, isTouch, Modal, submits } from "./parts.js";

const close = () => (dialog.value = null);

const MOST_FILES = 10;

/** Measure a picture or video, so that its space is reserved before it loads. */
async function shapeOf(file) {
  const picture = /^image\//.test(file.type);
  if (!picture && !/^video\//.test(file.type)) return {};
  const url = URL.createObjectURL(file);
  try {
    return await new Promise((resolve, reject) => {
      const element = document.createElement(picture ? "img" : "video");
      element.onerror = reject;
      setTimeout(reject, 3_000);
      if (picture) {
        element.onload = () => resolve({ width: element.naturalWidth, height: element.naturalHeight });
      } else {
        element.preload = "metadata";
        element.onloadedmetadata = () =>
          resolve({ width: element.videoWidth, height: element.videoHeight, duration: element.duration });
      }
      element.src = url;
    });
  } catch {
    return {};
  } finally {
    URL.revokeObjectURL(url);
  }
}

/** Say for each file why it cannot be sent; undefined if it can. */
async function refusals(files, folders) {
  const limit = session.value?.limits?.fileBytes;
  return Promise.all(files.map(async (file) => {
    const { name, size } = file;
    if (folders.has(name)) return { code: "folder", name };
    if (limit && size > limit) return { code: "too_large", name, limit };
    return (await isReadable(file)) ? undefined : { code: "file_unreadable", name };
  }));
}

/** Ask for a caption for files, then send them; `folders` are the names of folders among them. Report the others. */
export async function offer(chatId, chosen, folders) {
  const refused = await refusals(chosen, folders);
  for (const failure of refused.filter(Boolean).slice(0, 3)) tell(explain(failure), { error: true });
  const good = chosen.filter((_, at) => !refused[at]);
  if (good.length === 0) return;
  if (good.length > MOST_FILES) tell(t("upload.tooMany", { count: MOST_FILES }), { error: true });
  const kept = good.slice(0, MOST_FILES);
  const shapes = await Promise.all(kept.map(shapeOf));
  kept.forEach((file, at) => (file.shape = shapes[at]));
  dialog.value = { name: "files", chatId, files: kept };
}

/** Files about to be sent, with a caption. */
export class Files extends Component {
  state = { failure: null, busy: false };

  componentDidMount() {
    this.field.value = draftAt(captionKey(this.props.chatId))?.text ?? "";
  }

  componentWillUnmount() {
    for (const url of this.urls?.values() ?? []) URL.revokeObjectURL(url);
  }

  url(file) {
    this.urls ??= new Map();
    if (!this.urls.has(file)) this.urls.set(file, URL.createObjectURL(file));
    return this.urls.get(file);
  }

  onInput = () => keepDraft(captionKey(this.props.chatId), this.field.value);

  cancel = () => {
    keepDraft(captionKey(this.props.chatId), "");
    close();
  };

  /** Find the first file that was changed, moved or removed since it was chosen. */
  async lostFile() {
    for (const file of this.props.files) if (!(await isReadable(file))) return file;
    return null;
  }

  submit = async (event) => {
    event?.preventDefault();
    if (this.state.busy) return;
    const { chatId, files } = this.props;
    const text = this.field.value;
    if (text.length > LONGEST_MESSAGE) {
      this.setState({ failure: t("composer.tooLong", { count: LONGEST_MESSAGE }) });
      return;
    }
    this.setState({ busy: true });
    const lost = await this.lostFile();
    if (!this.field.isConnected) return;
    if (lost) {
      this.setState({ busy: false, failure: explain({ code: "file_unreadable", name: lost.name }) });
      return;
    }
    const replyTo = composing.value?.kind === "reply" && composing.value.chatId === chatId ? composing.value.quote : undefined;
    close();
    send(chatId, { text, files, replyTo });
    keepDraft(captionKey(chatId), "");
    // Continue the edit at its old position.
    if (replyTo) composing.value = null;
  };

  render({ files }, { failure, busy }) {
    return html`<${Modal} label=${t("upload.title", { count: files.length })} onClose=${close}>
      <h2>${t("upload.title", { count: files.length })}</h2>
      <div class="files" role="group" tabindex="0" aria-label=${t("upload.title", { count: files.length })}>${files.map((file) => /^image\//.test(file.type) && file.shape?.width
        ? html`<img src=${this.url(file)} alt=${file.name} />`
        : html`<span class="file"><span class="file-icon"><${Icon} name="file" /></span>
            <span class="file-text"><span class="file-name">${file.name}</span><span class="file-size">${formatSize(sizeParts(file.size))}</span></span></span>`)}</div>
      <form class="form" onSubmit=${this.submit}>
        <textarea rows="1" dir="auto" autofocus ref=${(element) => (this.field = element ?? this.field)} placeholder=${t("upload.caption")} aria-label=${t("upload.caption")}
          enterkeyhint=${isTouch() ? "enter" : "send"} onInput=${this.onInput} onKeyDown=${(event) => submits(event) && this.submit(event)}></textarea>
        ${failure ? html`<p class="form-error" role="alert">${failure}</p>` : null}
        <div class="modal-buttons">
          <button type="button" class="button is-quiet" onClick=${this.cancel}>${t("dialog.cancel")}</button>
          <button class="button" disabled=${busy}>${t("composer.send")}</button>
        </div>
      </form>
    </${Modal}>`;
  }
}
