/** Files to be sent: which of them can be sent, and the dialog that names their chat and asks for a caption. */
import { Component } from "preact";
import { draftAt, keepDraft } from "../../actions/drafts.js";
import { explain, tell } from "../../actions/notices.js";
import { send } from "../../actions/outbox.js";
import { isReadable } from "../../actions/outbox/uploads.js";
import { LONGEST_MESSAGE, composing, dialog, session, state } from "../../signals.js";
import { formatSize, t } from "../../i18n/i18n.js";
import { captionKey } from "../../model/state.js";
import { sizeParts } from "../../model/text.js";
import { RequestError } from "../../net/socket.js";
import { upload } from "../../net/upload.js";
import { titleOf } from "../chatlist.js";
import { Modal } from "../frames.js";
import { filesPasted, pickFiles } from "./composer.js";
import { html, Icon, isTouch, Name, submits } from "../parts.js";

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

/** Say of a file why it cannot be sent, as far as its name and size tell; undefined for nothing. */
function refusalOf({ name, size }, folders) {
  const limit = session.value?.limits?.fileBytes;
  if (folders?.has(name)) return { code: "folder", name };
  return limit && size > limit ? { code: "too_large", name, limit } : undefined;
}

/** Upload a picture of the user or a group; return its address. Refuse a file that the page or the relay cannot read as a picture. */
export async function sendPhoto(file) {
  const { name, type, size } = file;
  const fail = (refusal) => {
    throw Object.assign(new RequestError(refusal.code), refusal);
  };
  const refusal = refusalOf(file);
  if (refusal) fail(refusal);
  if (!(await isReadable(file))) fail({ code: "file_unreadable", name });
  if (!(await shapeOf(file)).width) fail({ code: "no_picture", name });
  const sent = await upload({ blob: file, name, type, size }, () => {});
  return sent.type === "image" ? sent.url : fail({ code: "no_picture", name });
}

/** Say why files cannot be sent. */
function refuse(failures) {
  for (const failure of failures.filter(Boolean).slice(0, 3)) tell(explain(failure), { error: true });
}

/**
 * Open the dialog for files chosen in a chat. It opens before they are read, which may take long: by then the user may
 * be in another chat. If it is open, they are added to those in it. Report files that cannot be sent, and names of
 * folders among them.
 */
export function offer(chatId, chosen, folders) {
  const refused = chosen.map((file) => refusalOf(file, folders));
  refuse(refused);
  const good = chosen.filter((_, at) => !refused[at]);
  if (good.length === 0) return;
  const { name, chatId: to, chosen: before } = dialog.value ?? {};
  dialog.value = { name: "files", chatId, chosen: name === "files" && to === chatId ? [...before, ...good] : good };
}

/** Files about to be sent, with a caption. */
export class Files extends Component {
  state = { failure: null, busy: false, files: null };

  componentDidMount() {
    this.field.value = draftAt(captionKey(this.props.chatId))?.text ?? "";
    this.reading = this.read(this.props.chosen);
  }

  componentDidUpdate({ chosen: before }) {
    const { chosen } = this.props;
    if (chosen !== before) this.reading = this.reading.then(() => this.read(chosen.slice(before.length)));
  }

  /** Add chosen files, but unreadable ones and those too many, and measure pictures. */
  async read(chosen) {
    const readable = await Promise.all(chosen.map(isReadable));
    const good = chosen.filter((_, at) => readable[at]);
    const before = this.state.files ?? [];
    const added = good.slice(0, MOST_FILES - before.length);
    const shapes = await Promise.all(added.map(shapeOf));
    if (this.closed) return;
    refuse(chosen.filter((_, at) => !readable[at]).map(({ name }) => ({ code: "file_unreadable", name })));
    if (good.length > added.length) tell(t("upload.tooMany", { count: MOST_FILES }), { error: true });
    added.forEach((file, at) => (file.shape = shapes[at]));
    const files = [...before, ...added];
    if (files.length === 0) close();
    else await new Promise((resolve) => this.setState({ files }, resolve));
  }

  onPaste = (event) => {
    const files = filesPasted(event);
    if (files) pickFiles(this.props.chatId, files);
  };

  onDrop = (event) => {
    if (event.dataTransfer?.types.includes("Files")) pickFiles(this.props.chatId, event.dataTransfer);
  };

  componentWillUnmount() {
    this.closed = true;
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
    for (const file of this.state.files) if (!(await isReadable(file))) return file;
    return null;
  }

  submit = async (event) => {
    event?.preventDefault();
    if (this.state.busy) return;
    const { chatId } = this.props;
    const text = this.field.value;
    if (text.length > LONGEST_MESSAGE) {
      this.setState({ failure: t("composer.tooLong", { count: LONGEST_MESSAGE }) });
      return;
    }
    this.setState({ busy: true });
    let files;
    let lost;
    do {
      await this.reading;
      ({ files } = this.state);
      lost = files && (await this.lostFile());
      if (this.closed || !files) return;
      // More may have been added meanwhile.
    } while (files !== this.state.files);
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

  render({ chatId, chosen }, { failure, busy, files }) {
    const title = t("upload.title", { count: (files ?? chosen).length });
    const to = t("upload.to", { name: titleOf(state.value, chatId) });
    return html`<${Modal} label="${title}. ${to}" onClose=${close} onPaste=${this.onPaste} onDrop=${this.onDrop}>
      <h2>${title}</h2><p>${to}</p>
      <div class="files" role="group" tabindex="0" aria-label=${title} aria-busy=${!files}>${files ? null : html`<span class="spinner"></span>`}${files?.map((file) => /^image\//.test(file.type) && file.shape?.width
        ? html`<img src=${this.url(file)} alt=${file.name} />`
        : html`<span class="file"><span class="file-icon"><${Icon} name="file" /></span>
            <span class="file-text"><span class="file-name"><${Name} text=${file.name} /></span><span class="file-size">${formatSize(sizeParts(file.size))}</span></span></span>`)}</div>
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
