/** One message: text, quotes, pictures, files, its time and its state. Everything in it is text, never markup. */
import { Component } from "preact";
import { explain } from "../../actions/notices.js";
import { compose } from "../../actions/drafts.js";
import { discard, previewUrl, retry } from "../../actions/outbox.js";
import { showMessage } from "../../actions/rooms.js";
import { dialog, state, uploads } from "../../signals.js";
import { formatDay, formatFull, formatSize, formatTime, t } from "../../i18n/i18n.js";
import { elsewhere, emojiCount, isOwnFile, parse } from "../../model/markup.js";
import { messageOf, quoteOf } from "../../model/messages.js";
import { deliveryState, tellOf } from "../../model/state.js";
import { cut, hueOf, oneLine, sizeParts } from "../../model/text.js";
import { isGone } from "../../model/timeline.js";
import { Avatar, Fetching, html, Icon, IconButton, Name, stateText, Ticks } from "../parts.js";

/** The maximum size of a picture, which keeps its aspect ratio. */
const LARGEST = { width: 360, height: 340 };
const UNKNOWN_SHAPE = { width: 320, height: 240 };
/** Maximum tiles of an album. */
const ALBUM_TILES = 6;
const SOUND = /\.(mp3|m4a|aac|ogg|oga|opus|wav|flac)$/i;
/** Characters that a screen reader says while moving through messages; the article has the whole text. */
const LONGEST_SPOKEN = 500;

/** Compute the size of a picture on the screen before it is loaded. */
export function fit({ width, height } = {}) {
  if (!(width > 0 && height > 0)) return UNKNOWN_SHAPE;
  const scale = Math.min(1, LARGEST.width / width, LARGEST.height / height);
  return { width: Math.max(48, Math.round(width * scale)), height: Math.max(48, Math.round(height * scale)) };
}

function boxOf(meta) {
  const { width, height } = fit(meta);
  return { width: `${width}px`, aspectRatio: `${width} / ${height}` };
}

function Span({ span, mark }) {
  const text = mark(span.text);
  if (span.type === "link") return html`<a dir="ltr" href=${span.href} target="_blank" rel="noopener noreferrer nofollow">${text}</a>`;
  if (span.type === "code") return html`<code dir="ltr">${text}</code>`;
  return text;
}

/** The text of a message; `found` splits it into parts of which every second one is marked. */
function MessageText({ text, found }) {
  const mark = (some) => found?.(some).map((part, at) => (at % 2 === 1 ? html`<mark>${part}</mark>` : part)) ?? some;
  const emoji = emojiCount(text);
  if (emoji > 0 && emoji <= 6) return html`<div class="text is-emoji ${emoji <= 3 ? "is-few" : ""}">${text}</div>`;
  return html`<div class="text">
    ${parse(text).map((block) =>
      block.type === "pre"
        ? html`<pre tabindex="0" dir="ltr"><code>${mark(block.text)}</code></pre>`
        : html`<p dir="auto">${block.spans.map((span) => html`<${Span} span=${span} mark=${mark} />`)}</p>`,
    )}
  </div>`;
}

/** Describe a quote: {name, text, missing}. The relay quotes only files, and what is gone, without a text. */
export function sayQuote(now, chatId, said) {
  const { sender, status, messageId, message } = quoteOf(now, chatId, said);
  const name = sender === now.me.id ? t("message.you") : tellOf(now, sender);
  let missing = t("message.earlier");
  if (status === "deleted") missing = t("message.deleted");
  else if (messageOf(now, chatId, messageId)) missing = t("message.attachment");
  else if (isGone(now, chatId, messageId)) missing = t("message.gone");
  return { name, text: oneLine(message), missing };
}

function Quote({ chatId, replyTo }) {
  const { name, text, missing } = sayQuote(state.value, chatId, replyTo);
  return html`<button type="button" class="quote" onClick=${() => showMessage(chatId, replyTo.messageId)}>
    <span class="quote-name"><${Name} text=${name} /></span>
    <span class="quote-text" dir="auto">${text || html`<em>${missing}</em>`}</span>
  </button>`;
}

/** A picture; in an album it fills its tile. One that the browser cannot show is offered as a file. */
class Picture extends Fetching {
  onOpen = () => {
    const { attachment, chatId, message } = this.props;
    const { messageId, clientMessageId } = message;
    dialog.value = { name: "viewer", chatId, messageId, clientMessageId, attachmentId: attachment.id };
  };

  render({ attachment, tile, more }, { failed }) {
    if (attachment.url === failed) return html`<${FileLink} attachment=${attachment} />`;
    return html`<button
      type="button"
      class="picture"
      style=${tile ? null : boxOf(attachment.meta)}
      aria-label=${t("message.openImage", { name: attachment.filename })}
      onClick=${this.onOpen}
    >
      <img src=${attachment.url} alt=${attachment.filename} loading="lazy" decoding="async" draggable=${false} onError=${this.onError} />
      ${more ? html`<span class="picture-more" aria-hidden="true">${`+${more}`}</span>` : null}
    </button>`;
  }
}

/** Several pictures of one message as a grid; the last tile says how many more there are. */
function Album({ pictures, chatId, message }) {
  const more = pictures.length > ALBUM_TILES ? pictures.length - ALBUM_TILES + 1 : 0;
  return html`<div class="album album-${Math.min(pictures.length, ALBUM_TILES)}">
    ${pictures.slice(0, ALBUM_TILES).map((attachment, index) => html`<${Picture}
      key=${attachment.id}
      attachment=${attachment}
      chatId=${chatId}
      message=${message}
      tile
      more=${index === ALBUM_TILES - 1 ? more : 0}
    />`)}
  </div>`;
}

/** A video. A recording without a picture, which has the same format, is played as sound. */
class Video extends Fetching {
  onLoaded = (event) => this.setState({ sound: !event.target.videoWidth });

  render({ attachment }, { sound, failed }) {
    if (attachment.url === failed) return html`<${FileLink} attachment=${attachment} />`;
    if (sound) return html`<${Sound} attachment=${attachment} />`;
    return html`<div class="picture" style=${boxOf(attachment.meta)}>
      <video src=${attachment.url} controls preload="metadata" playsinline aria-label=${attachment.filename} onLoadedMetadata=${this.onLoaded} onError=${this.onError}></video>
    </div>`;
  }
}

function Sound({ attachment }) {
  return html`<div class="sound">
    <audio src=${attachment.url} controls preload="none" aria-label=${attachment.filename}></audio>
    <${FileLink} attachment=${attachment} />
  </div>`;
}

function FileLink({ attachment }) {
  const size = attachment.meta?.size;
  return html`<a class="file" href=${attachment.url} download=${attachment.filename} title=${attachment.filename}>
    <span class="file-icon"><${Icon} name="download" /></span>
    <span class="file-text">
      <span class="file-name"><${Name} text=${attachment.filename} /></span>
      ${size === undefined ? null : html`<span class="file-size">${formatSize(sizeParts(size))}</span>`}
    </span>
  </a>`;
}

/** A file at another address: a link that names its target; nothing is loaded. */
function Elsewhere({ attachment }) {
  const place = elsewhere(attachment);
  if (!place) return html`<span class="file"><${Name} text=${attachment.filename} /></span>`;
  return html`<a class="file" href=${place.href} target="_blank" rel="noopener noreferrer nofollow" title=${place.href}>
    <span class="file-icon"><${Icon} name="leave" /></span>
    <span class="file-text">
      <span class="file-name"><${Name} text=${attachment.filename} /></span>
      <span class="file-size">${t("file.elsewhere", { host: place.host })}</span>
    </span>
  </a>`;
}

function Attachment(props) {
  const { attachment } = props;
  if (!isOwnFile(attachment)) return html`<${Elsewhere} ...${props} />`;
  if (attachment.type === "image") return html`<${Picture} ...${props} />`;
  if (attachment.type === "video") return html`<${Video} ...${props} />`;
  if (SOUND.test(attachment.filename)) return html`<${Sound} ...${props} />`;
  return html`<${FileLink} ...${props} />`;
}

/** Return whether a pending file can be shown as a picture. */
const isPicture = (file) => Boolean(file.blob && /^image\//.test(file.type) && file.width);

/** A file that is being uploaded, with its progress. */
function Waiting({ file, message, tile }) {
  const progress = uploads.value.get(message.clientMessageId);
  const percent = Math.round((progress ?? 0) * 100);
  const bar = html`<progress max="100" value=${percent} aria-label=${t("upload.progress", { percent })}></progress>`;
  const cancel = html`<${IconButton} icon="close" label=${t("upload.cancel")} onClick=${() => discard(message.clientMessageId)} />`;
  if (isPicture(file)) {
    return html`<div class="picture is-waiting" style=${tile ? null : boxOf(file)}>
      <img src=${previewUrl(file.blob)} alt=${file.name} />${cancel}${bar}
    </div>`;
  }
  return html`<div class="file is-waiting">
    <span class="file-icon">${cancel}</span>
    <span class="file-text"><span class="file-name"><${Name} text=${file.name} /></span>
      <span class="file-size">${formatSize(sizeParts(file.size))}</span>${bar}</span>
  </div>`;
}

function WaitingFiles({ message }) {
  const pictures = message.files.filter(isPicture);
  const album = pictures.length > 1;
  const rest = album ? message.files.filter((file) => !isPicture(file)) : message.files;
  return html`
    ${album
      ? html`<div class="album album-${Math.min(pictures.length, ALBUM_TILES)}">
          ${pictures.slice(0, ALBUM_TILES).map((file) => html`<${Waiting} file=${file} message=${message} tile />`)}
        </div>`
      : null}
    ${rest.map((file) => html`<${Waiting} file=${file} message=${message} />`)}
  `;
}

function Failed({ message }) {
  const id = message.changeId ?? message.clientMessageId;
  return html`<div class="failed" role="alert">
    <span>${explain(message.failure)}</span>
    <button type="button" class="link" onClick=${() => retry(id)}>${t("message.tryAgain")}</button>
    <button type="button" class="link" onClick=${() => discard(id)}>${t("message.discard")}</button>
  </div>`;
}

function Time({ at }) {
  return html`<time class="time" title=${formatFull(at)} datetime=${new Date(at).toISOString()}>${formatTime(at)}</time>`;
}

/** Return the delivery state of a message, or null if there is none to show. */
function shownState(message, mine, chatType) {
  const name = message.changing ?? (mine && message.status !== "deleted" ? deliveryState(message) : null);
  return chatType === "favorites" && (name === "delivered" || name === "read") ? "sent" : name;
}

const isEdited = (message) => message.updatedAt && message.status !== "deleted";

function spokenText(message) {
  if (message.status === "deleted") return t("message.deleted");
  // Before they are sent, files have `name` instead of `filename`.
  const names = (message.attachments ?? message.files ?? []).map((file) => file.filename ?? file.name);
  return [oneLine(cut(message.message ?? "", LONGEST_SPOKEN)), ...names].filter(Boolean).join(", ");
}

/** Say what a message answers; null for nothing. */
function answered({ chatId, row: { message: { replyTo, status: own } } }) {
  if (!replyTo || own === "deleted") return null;
  const { name, text, missing } = sayQuote(state.value, chatId, replyTo);
  return `${t("composer.replying", { name })}: ${cut(text, LONGEST_SPOKEN) || missing}`;
}

/** Return everything that a message shows, as the accessible name of its article. */
function spoken(message, { answer, mine, name, chatType }) {
  const state_ = shownState(message, mine, chatType);
  return [
    mine ? t("message.you") : name,
    answer,
    spokenText(message),
    isEdited(message) ? t("message.edited") : null,
    `${formatDay(message.createdAt)} ${formatTime(message.createdAt)}`,
    state_ ? stateText(state_) : null,
  ].filter(Boolean).join(", ");
}

function Meta({ message, mine, chatType, ends }) {
  const edited = isEdited(message);
  const state_ = shownState(message, mine, chatType);
  if (!edited && !ends && !state_) return null;
  return html`<span class="meta">
    ${edited ? html`<span class="edited">${t("message.edited")}</span>` : null}
    ${ends ? html`<${Time} at=${message.createdAt} />` : null}
    ${state_ ? html`<${Ticks} name=${state_} />` : null}
  </span>`;
}

/** Open the menu of a message at a point, or beside the message when opened by keyboard. */
export function openMenu(chatId, row, element, event) {
  const box = element.querySelector(".bubble").getBoundingClientRect();
  const byKeyboard = !event.clientX && !event.clientY;
  dialog.value = {
    name: "menu",
    chatId,
    messageId: row.message.messageId,
    clientMessageId: row.message.clientMessageId,
    x: byKeyboard ? box.left + 24 : event.clientX,
    y: byKeyboard ? Math.min(box.bottom - 16, innerHeight - 40) : event.clientY,
    from: element,
  };
}

/** One row of a conversation, rendered again only when its message changed. */
export class MessageRow extends Component {
  state = { near: false };

  shouldComponentUpdate(next, nextState) {
    if (nextState.near !== this.state.near) return true;
    const { row } = this.props;
    const other = next.row;
    return (
      (row !== other && (row.message !== other.message || row.starts !== other.starts || row.ends !== other.ends)) ||
      next.chatType !== this.props.chatType ||
      next.name !== this.props.name ||
      next.label !== this.props.label ||
      next.photo !== this.props.photo ||
      next.flash !== this.props.flash ||
      next.found !== this.props.found ||
      next.language !== this.props.language ||
      next.today !== this.props.today ||
      this.answer !== answered(next)
    );
  }

  onMenu = (event) => {
    // Android sends contextmenu for the same long press.
    clearTimeout(this.press);
    // Selected text and links keep the browser's menu.
    if (event.target.closest("a") || (getSelection()?.toString() && event.type === "contextmenu")) return;
    event.preventDefault();
    openMenu(this.props.chatId, this.props.row, event.currentTarget.closest(".message"), event);
  };

  // The tools beside a message are rendered on hover: most messages are only read.
  onNear = (event) => {
    if (event.pointerType !== "touch" && !this.state.near) this.setState({ near: true });
  };

  // iOS has no contextmenu event for a long press.
  onTouchStart = (event) => {
    clearTimeout(this.press);
    // Two fingers zoom.
    if (event.touches.length > 1) return;
    const [touch] = event.touches;
    const element = event.currentTarget;
    this.press = setTimeout(() => {
      openMenu(this.props.chatId, this.props.row, element, { clientX: touch.clientX, clientY: touch.clientY });
    }, 550);
  };

  onTouchEnd = () => clearTimeout(this.press);

  // A double click beside the bubble replies; on the text it selects a word, as everywhere.
  onDoubleClick = (event) => {
    const { message } = this.props.row;
    if (event.target === event.currentTarget && message.messageId && message.status !== "deleted") this.onReply();
  };

  onReply = () => compose(this.props.chatId, "reply", this.props.row.message.messageId);

  render({ row, chatId, chatType, name, label, photo, flash, found }, { near }) {
    const { message, mine, starts, ends } = row;
    this.answer = answered(this.props);
    const others = chatType === "group" || chatType === "channel";
    const deleted = message.status === "deleted";
    const emoji = !deleted && !message.attachments && !message.files && !message.replyTo ? emojiCount(message.message) : 0;
    const bare = emoji > 0 && emoji <= 6;
    const failed = message.state === "failed" || message.changing === "failed";
    const attachments = deleted ? [] : (message.attachments ?? []);
    const pictures = attachments.filter((one) => one.type === "image" && isOwnFile(one));
    const rest = pictures.length > 1 ? attachments.filter((one) => !pictures.includes(one)) : attachments;
    const waiting = !attachments.length && message.files ? message.files : [];
    const pictured = attachments.some((one) => one.type !== "file") || waiting.some(isPicture);
    return html`<article
      class="message ${mine ? "is-mine" : "is-theirs"} ${starts ? "starts" : ""} ${ends ? "ends" : ""} ${flash ? "is-flash" : ""} ${others ? "in-group" : ""}"
      data-id=${message.messageId}
      tabindex="-1"
      aria-label=${spoken(message, { answer: this.answer, mine, name: label, chatType })}
      onPointerEnter=${this.onNear}
      onFocus=${this.onNear}
      onContextMenu=${this.onMenu}
      onTouchStart=${this.onTouchStart}
      onTouchEnd=${this.onTouchEnd}
      onTouchCancel=${this.onTouchEnd}
      onTouchMove=${this.onTouchEnd}
      onDblClick=${this.onDoubleClick}
    >
      ${others && !mine ? html`<span class="message-avatar">${ends ? html`<${Avatar} id=${message.sender} name=${name} url=${photo} size="xs" />` : null}</span>` : null}
      <div class="bubble ${bare ? "is-bare" : ""} ${pictured ? "has-picture" : ""} ${message.message ? "has-text" : ""}">
        ${others && !mine && starts ? html`<div class="author hue-text-${hueOf(message.sender, 10)}"><${Name} text=${label} /></div>` : null}
        ${message.replyTo && !deleted ? html`<${Quote} chatId=${chatId} replyTo=${message.replyTo} />` : null}
        ${pictures.length > 1 ? html`<${Album} pictures=${pictures} chatId=${chatId} message=${message} />` : null}
        ${rest.map((attachment) => html`<${Attachment} key=${attachment.id} attachment=${attachment} chatId=${chatId} message=${message} />`)}
        ${attachments.length === 0 && message.files ? html`<${WaitingFiles} message=${message} />` : null}
        ${deleted
          ? html`<div class="text is-deleted"><p><${Icon} name="trash" /> ${t("message.deleted")}</p></div>`
          : message.message
            ? html`<${MessageText} text=${message.message} found=${found} />`
            : null}
        <${Meta} message=${message} mine=${mine} chatType=${chatType} ends=${ends} />
        ${failed ? html`<${Failed} message=${message} />` : null}
      </div>
      ${near ? html`<div class="actions">
        ${ends ? null : html`<${Time} at=${message.createdAt} />`}
        ${deleted || !message.messageId
          ? null
          : html`<${IconButton} icon="reply" label=${t("menu.reply")} tabindex="-1" onClick=${this.onReply} />
              <${IconButton} icon="more" label=${t("menu.more")} tabindex="-1" aria-haspopup="menu" onClick=${this.onMenu} />`}
      </div>` : null}
    </article>`;
  }
}
