/** The composer: text, files, replies and edits. The text field is uncontrolled until the message is sent. */
import { Component } from "preact";
import { compose, keepDraft, typing, typingDone } from "../actions/drafts.js";
import { tell } from "../actions/notices.js";
import { edit, send } from "../actions/outbox.js";
import { LONGEST_MESSAGE, composing, dialog, session, state } from "../signals.js";
import { keepLastWords } from "../storage.js";
import { t } from "../i18n/i18n.js";
import { lastOwnEditable, quoteOf } from "../model/messages.js";
import { draftOf, tellOf } from "../model/state.js";
import { oneLine } from "../model/text.js";
import { html, Icon, IconButton, isTouch, submits } from "./parts.js";

const DRAFT_AFTER = 300;
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

/** Ask for a text to go with files (File[], or the DataTransfer of a drop), then send them. */
export async function pickFiles(chatId, from) {
  const chosen = [...(from.files ?? from)].filter((file) => file.size > 0 || file.type);
  if (chosen.length === 0) return;
  if (chosen.length > MOST_FILES) tell(t("upload.tooMany", { count: MOST_FILES }), { error: true });
  const kept = chosen.slice(0, MOST_FILES);
  const shapes = await Promise.all(kept.map(shapeOf));
  kept.forEach((file, at) => (file.shape = shapes[at]));
  dialog.value = { name: "files", chatId, files: kept };
}

/** Spreadsheets and word processors add a picture of the text; file managers the names (or paths) of the files. */
function saysMoreThanNames(clipboard, files) {
  const lines = clipboard.getData("text/plain").split(/[\r\n]+/).map((line) => line.trim()).filter(Boolean);
  const isName = (line) => files.some((file) => line === file.name || /[/\\]/.test(line) && lastPart(line) === file.name);
  return lines.some((line) => !isName(line));
}

function lastPart(path) {
  const part = path.split(/[/\\]/).at(-1);
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

export class Composer extends Component {
  componentDidMount() {
    this.field.value = draftOf(state.value, this.props.chatId);
    this.written = this.field.value;
    this.grow();
    this.showSend();
    // A keyboard that opens unasked covers the messages.
    if (!isTouch()) this.field.focus({ preventScroll: true });
    this.stopDrafts = state.subscribe((now) => {
      const draft = now ? draftOf(now, this.props.chatId) : "";
      // Take the draft of another tab, unless the user is typing here.
      if (draft === this.written || this.timer || this.editing) return;
      this.written = draft;
      this.field.value = draft;
      this.grow();
      this.showSend();
    });
    this.stopComposing = composing.subscribe((what) => this.onComposing(what));
    addEventListener("pagehide", this.onLeave);
  }

  componentWillUnmount() {
    this.stopDrafts();
    this.stopComposing();
    removeEventListener("pagehide", this.onLeave);
    this.saveDraft();
  }

  onLeave = () => {
    if (!this.editing) keepLastWords(session.value?.id, this.props.chatId, this.field.value);
  };

  onComposing(what) {
    const mine = what?.chatId === this.props.chatId ? what : null;
    if (mine?.kind === "edit") {
      if (this.editing !== mine.messageId) {
        if (!this.editing) this.saveDraft();
        this.editing = mine.messageId;
        this.field.value = mine.quote.message ?? "";
        this.grow();
      }
    } else if (this.editing) {
      this.editing = null;
      this.field.value = this.written;
      this.grow();
    }
    this.showSend();
    if (mine) this.field.focus();
  }

  saveDraft() {
    clearTimeout(this.timer);
    this.timer = undefined;
    if (this.editing) return;
    this.written = this.field.value;
    keepDraft(this.props.chatId, this.field.value);
  }

  grow() {
    if (CSS.supports("field-sizing", "content")) return;
    this.field.style.height = "auto";
    this.field.style.height = `${this.field.scrollHeight}px`;
  }

  showSend() {
    this.element.classList.toggle("has-text", this.field.value.trim().length > 0);
  }

  onInput = () => {
    this.grow();
    this.showSend();
    if (this.editing) return;
    typing(this.props.chatId, this.field.value.trim().length > 0);
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.saveDraft(), DRAFT_AFTER);
  };

  submit = () => {
    const { chatId } = this.props;
    const text = this.field.value;
    if (!text.trim()) return;
    if (text.length > LONGEST_MESSAGE) {
      tell(t("composer.tooLong", { count: LONGEST_MESSAGE }), { error: true });
      return;
    }
    const what = composing.value?.chatId === chatId ? composing.value : null;
    if (what?.kind === "edit") {
      if (text.trim() !== what.quote.message) edit(chatId, what.messageId, text);
      composing.value = null;
      return;
    }
    clearTimeout(this.timer);
    this.timer = undefined;
    this.field.value = "";
    this.written = "";
    keepDraft(chatId, "");
    typingDone();
    composing.value = null;
    send(chatId, { text, replyTo: what?.quote });
    this.grow();
    this.showSend();
    this.field.focus();
  };

  onKey = (event) => {
    // While an input method composes a character, its keys are its own.
    if (event.isComposing || event.keyCode === 229) return;
    if (submits(event)) {
      event.preventDefault();
      this.submit();
    } else if (event.key === "ArrowUp" && !event.altKey && !event.shiftKey && this.field.value === "" && !this.editing) {
      const message = lastOwnEditable(state.value, this.props.chatId);
      if (!message) return;
      event.preventDefault();
      compose(this.props.chatId, "edit", message.messageId);
    }
  };

  onPaste = (event) => {
    const files = [...(event.clipboardData?.files ?? [])];
    if (files.length === 0 || saysMoreThanNames(event.clipboardData, files)) return;
    event.preventDefault();
    pickFiles(this.props.chatId, files);
  };

  onPick = (event) => {
    pickFiles(this.props.chatId, [...event.currentTarget.files]);
    event.currentTarget.value = "";
  };

  insert = (text) => {
    this.field.setRangeText(text, this.field.selectionStart, this.field.selectionEnd, "end");
    this.onInput();
    if (!isTouch()) this.field.focus();
  };

  render({ chatId }) {
    const what = composing.value?.chatId === chatId ? composing.value : null;
    return html`<footer class="composer" ref=${(element) => (this.element = element ?? this.element)}>
      ${what ? html`<${What} what=${what} />` : null}
      <div class="composer-row">
        <${IconButton} icon="attach" label=${t("composer.attach")} onClick=${() => this.files.click()} />
        <input type="file" multiple hidden ref=${(element) => (this.files = element ?? this.files)} onChange=${this.onPick} tabindex="-1" aria-hidden="true" />
        <textarea
          ref=${(element) => (this.field = element ?? this.field)}
          rows="1"
          dir="auto"
          placeholder=${t("composer.placeholder")}
          aria-label=${t("composer.placeholder")}
          enterkeyhint=${isTouch() ? "enter" : "send"}
          autocomplete="off"
          onInput=${this.onInput}
          onKeyDown=${this.onKey}
          onPaste=${this.onPaste}
        ></textarea>
        <${IconButton} icon="smile" label=${t("composer.emoji")} class="not-phone" aria-haspopup="dialog"
          onClick=${(event) => (dialog.value = { name: "emoji", chatId, anchor: event.currentTarget.getBoundingClientRect(), onPick: this.insert })} />
        <${IconButton} icon=${what?.kind === "edit" ? "sent" : "send"} label=${what?.kind === "edit" ? t("composer.save") : t("composer.send")} class="send"
          onPointerDown=${(event) => event.preventDefault()} onClick=${this.submit} />
      </div>
    </footer>`;
  }
}

function What({ what }) {
  const now = state.value;
  const { sender, message } = quoteOf(now, what.chatId, what.quote);
  const title = what.kind === "edit" ? t("composer.editing") : t("composer.replying", {
    name: sender === now.me.id ? t("message.you") : tellOf(now, sender),
  });
  return html`<div class="what">
    <${Icon} name=${what.kind} />
    <span class="what-text"><span class="quote-name">${title}</span>
      <span class="quote-text" dir="auto">${oneLine(message) || t("message.attachment")}</span></span>
    <${IconButton} icon="close" label=${t("composer.cancel")} onClick=${() => (composing.value = null)} />
  </div>`;
}
