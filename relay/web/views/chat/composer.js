/** The composer: text, files, replies and edits. The text field is uncontrolled until the message is sent. */
import { Component } from "preact";
import { compose, draftAt, keepDraft, resume, showDrafts, typing, typingDone } from "../../actions/drafts.js";
import { tell } from "../../actions/notices.js";
import { edit, remove, send } from "../../actions/outbox.js";
import { reportLoading } from "../../actions/store.js";
import { LONGEST_MESSAGE, composing, dialog, route, state } from "../../signals.js";
import { t } from "../../i18n/i18n.js";
import { lastOwnEditable } from "../../model/messages.js";
import { editKey } from "../../model/state.js";
import { drawnMessage } from "../../model/timeline.js";
import { begunEdit } from "../../model/writing.js";
import { sayQuote } from "./message.js";
import { html, Icon, IconButton, isTouch, submits } from "../parts.js";

/** The names of dropped folders: they look like files, but cannot be read. */
function foldersOf(transfer) {
  const entries = [...(transfer.items ?? [])].map((item) => item.kind === "file" && item.webkitGetAsEntry?.());
  return new Set(entries.filter((entry) => entry?.isDirectory).map((entry) => entry.name));
}

/** Ask for a caption for files (File[], or the DataTransfer of a drop), then send them to the chat. */
export function pickFiles(chatId, from) {
  // A drop's content is readable only during the event.
  const [chosen, folders] = [[...(from.files ?? from)], foldersOf(from)];
  import("./files.js").then(({ offer }) => offer(chatId, chosen, folders), reportLoading);
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

/** The files that are pasted in place of a text. */
export function filesPasted(event) {
  const files = [...(event.clipboardData?.files ?? [])];
  if (files.length === 0 || saysMoreThanNames(event.clipboardData, files)) return null;
  event.preventDefault();
  return files;
}

export class Composer extends Component {
  componentDidMount() {
    const { chatId } = this.props;
    const draft = draftAt(chatId);
    this.fill(draft?.text ?? "");
    this.written = draft?.at ?? -Infinity;
    this.focus();
    const begun = begunEdit(state.value, chatId);
    if (composing.value?.chatId !== chatId) {
      if (begun) resume(chatId, "edit", begun.quote);
      else if (draft?.quote) resume(chatId, "reply", draft.quote);
    }
    this.stopState = state.subscribe((now) => now && this.follow(now));
    this.stopComposing = composing.subscribe((what) => this.onComposing(what));
    this.shown = true;
  }

  /** Focus the field. On a touch screen that opens the keyboard, which covers the messages: only if the user asked. */
  focus(asked) {
    if (asked || !isTouch()) this.field.focus({ preventScroll: true });
  }

  componentWillUnmount() {
    this.stopState();
    this.stopComposing();
    showDrafts();
  }

  fill(text) {
    if (this.field.value !== text) this.field.value = text;
    this.grow();
    this.showSend();
  }

  /** Apply another tab's draft, or its change of the message edited here. */
  follow(now) {
    const { chatId } = this.props;
    // An input method that loses its text in mid-word writes it twice.
    if (this.composes) return;
    if (this.editing) {
      const { messageId, quote } = this.editing;
      const message = drawnMessage(now, { chatId, messageId });
      if (message?.status === "deleted") return void queueMicrotask(() => this.editing && (composing.value = null));
      const draft = draftAt(editKey(chatId, messageId));
      if (draft?.at > this.editing.at) {
        this.editing.at = draft.at;
        // Saved or cancelled in the other tab.
        if (!draft.text) queueMicrotask(() => this.editing?.messageId === messageId && (composing.value = null));
        else this.fill(draft.text);
      } else if (message?.message && message.message !== quote.message && this.field.value === quote.message) {
        this.editing.quote = { ...quote, message: message.message };
        this.fill(message.message);
      }
      return;
    }
    const draft = draftAt(chatId);
    if (!(draft?.at > this.written)) return;
    this.written = draft.at;
    this.fill(draft.text);
    if (composing.value?.quote.messageId !== draft.quote?.messageId) queueMicrotask(() => this.answer(draft.quote));
  }

  /** Begin or end the reply that another tab has begun or ended. */
  answer(quote) {
    const { chatId } = this.props;
    if (this.editing || route.value.chatId !== chatId) return;
    if (quote) resume(chatId, "reply", quote);
    else composing.value = null;
  }

  onComposing(what) {
    const { chatId } = this.props;
    const mine = what?.chatId === chatId ? what : null;
    if (mine?.kind === "edit") {
      if (this.editing?.messageId !== mine.messageId) {
        const draft = draftAt(editKey(chatId, mine.messageId));
        this.editing = { messageId: mine.messageId, quote: mine.quote, at: draft?.at ?? -Infinity };
        this.fill(draft?.text || (mine.quote.message ?? ""));
      }
    } else if (this.editing) {
      this.endEdit();
      const { quote } = draftAt(chatId) ?? {};
      // The reply that was begun before the edit continues.
      if (!mine && quote && this.isOpen) return resume(chatId, "reply", quote);
    }
    const answered = mine?.kind === "reply" ? mine.quote : undefined;
    // Leaving the chat does not discard the reply.
    if (!this.editing && (mine || route.value.chatId === chatId)) keepDraft(chatId, this.field.value, answered);
    this.showSend();
    if (mine) this.focus(this.shown);
  }

  /** Whether the chat is open and can be written in. */
  get isOpen() {
    const { chatId } = this.props;
    const chat = state.value?.chats.get(chatId);
    return route.value.chatId === chatId && chat && !chat.gone;
  }

  /** The edit was saved or cancelled, unless the user only left the chat: it then continues on return. */
  endEdit() {
    const { chatId } = this.props;
    const { messageId, quote } = this.editing;
    const text = this.field.value;
    this.editing = null;
    const { text: draft = "", quote: answered } = draftAt(chatId) ?? {};
    if (this.isOpen) {
      const lost = drawnMessage(state.value, { chatId, messageId })?.status === "deleted" && text.trim() && text !== quote.message;
      keepDraft(editKey(chatId, messageId), "");
      if (lost) {
        keepDraft(chatId, [draft, text].filter(Boolean).join("\n\n"), answered);
        tell(t("composer.editGone"), { error: true });
      }
    }
    const next = draftAt(chatId);
    this.written = next?.at ?? -Infinity;
    this.fill(next?.text ?? "");
  }

  /** Save the text in the field. */
  keep() {
    const { chatId } = this.props;
    const text = this.field.value;
    if (this.editing) {
      const { messageId, quote } = this.editing;
      const key = editKey(chatId, messageId);
      if (text === (quote.message ?? "")) keepDraft(key, "");
      else keepDraft(key, text, quote);
      this.editing.at = draftAt(key)?.at ?? this.editing.at;
    } else {
      const what = composing.value;
      keepDraft(chatId, text, what?.chatId === chatId && what.kind === "reply" ? what.quote : undefined);
      this.written = draftAt(chatId)?.at ?? this.written;
    }
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
    this.keep();
    if (!this.editing) typing(this.props.chatId, this.field.value.trim().length > 0);
  };

  onCompose = ({ type }) => {
    this.composes = type === "compositionstart";
    if (!this.composes) this.keep();
  };

  submit = () => {
    const { chatId } = this.props;
    const text = this.field.value;
    const what = composing.value?.chatId === chatId ? composing.value : null;
    if (!text.trim() && what?.kind !== "edit") return;
    if (text.length > LONGEST_MESSAGE) {
      tell(t("composer.tooLong", { count: LONGEST_MESSAGE }), { error: true });
      return;
    }
    // The outbox gets the text before the draft is emptied: a tab that dies in between has it twice, not never.
    if (what?.kind === "edit") {
      const { messageId } = what;
      if (!text.trim() && !drawnMessage(state.value, { chatId, messageId })?.attachments?.length) {
        const run = () => {
          composing.value = null;
          remove(chatId, messageId);
        };
        dialog.value = { name: "confirm", chatId, messageId, text: t("message.confirmDelete"), action: t("menu.delete"), run };
        return;
      }
      if (text.trim() !== this.editing?.quote.message) edit(chatId, messageId, text, this.editing?.quote ?? what.quote);
      composing.value = null;
      return;
    }
    send(chatId, { text, replyTo: what?.quote });
    this.field.value = "";
    keepDraft(chatId, "");
    this.written = draftAt(chatId)?.at ?? this.written;
    showDrafts();
    typingDone();
    composing.value = null;
    this.grow();
    this.showSend();
    this.focus(true);
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
    const files = filesPasted(event);
    if (files) pickFiles(this.props.chatId, files);
  };

  onPick = (event) => {
    pickFiles(this.props.chatId, [...event.currentTarget.files]);
    event.currentTarget.value = "";
  };

  insert = (text) => {
    this.field.setRangeText(text, this.field.selectionStart, this.field.selectionEnd, "end");
    this.onInput();
    this.focus();
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
          onCompositionStart=${this.onCompose}
          onCompositionEnd=${this.onCompose}
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
  const { name, text, missing } = sayQuote(state.value, what.chatId, what.quote);
  const title = what.kind === "edit" ? t("composer.editing") : t("composer.replying", { name });
  return html`<div class="what">
    <${Icon} name=${what.kind} />
    <span class="what-text"><span class="quote-name">${title}</span>
      <span class="quote-text" dir="auto">${text || missing}</span></span>
    <${IconButton} icon="close" label=${t("composer.cancel")} onClick=${() => (composing.value = null)} />
  </div>`;
}
