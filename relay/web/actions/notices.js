/** Notices: at the foot of the page, and for screen readers. */
import { formatSize, t } from "../i18n/i18n.js";
import { tellOf } from "../model/state.js";
import { sizeParts } from "../model/text.js";
import { clock } from "../net/clock.js";
import { RequestError } from "../net/socket.js";
import { announcements, notice, ofUser, state } from "../signals.js";

const ANNOUNCED = 10;
let announced = 0;

/** Announce a text to screen readers, even if it is the same as the last one. */
export function announce(text) {
  announced += 1;
  announcements.value = [...announcements.value.slice(1 - ANNOUNCED), { id: announced, text }];
}

/** A notice stays at least this many ms before the next one. */
const READ_WITHIN = 2_500;
const MOST_WAITING = 3;
let noticeTimer;
let shownAt = -Infinity;
let waiting = [];
ofUser(() => {
  waiting = [];
  clearTimeout(noticeTimer);
});

function showNotice({ text, error, action, onAction, lasts }) {
  clearTimeout(noticeTimer);
  shownAt = clock.steady();
  notice.value = { text, error, action, onAction };
  noticeTimer = setTimeout(untell, waiting.length > 0 ? READ_WITHIN : lasts);
}

/** Show a notice at the foot of the page for `lasts` ms; `action` names a button on it, which calls `onAction`. */
export function tell(text, { error = false, action, onAction, lasts = error ? 8_000 : 4_000 } = {}) {
  const next = { text, error, action, onAction, lasts };
  const left = shownAt + READ_WITHIN - clock.steady();
  if (!notice.value || notice.value.text === text || left <= 0) return showNotice(next);
  waiting = [...waiting.filter((one) => one.text !== text), next].slice(-MOST_WAITING);
  clearTimeout(noticeTimer);
  noticeTimer = setTimeout(untell, left);
}

/** Remove the notice and show the next one. */
export function untell() {
  clearTimeout(noticeTimer);
  if (waiting.length > 0) showNotice(waiting.shift());
  else notice.value = null;
}

/**
 * Describe a failure and what to do, in the user's language. A failure is {code, limit?, quota?, retryAfter?, name?},
 * with sizes in bytes and a wait in ms, or a code: one of the protocol's (PROTOCOL.md, section 2) or of the page's own.
 */
export function explain(failure) {
  const { code = failure, limit, quota, retryAfter, name } = failure ?? {};
  switch (code) {
    case "connection_lost":
      return t("error.offline");
    case "upload_broken":
      return t("error.uploadBroken");
    case "unavailable":
    case "busy":
      return t("error.busy");
    case "forbidden":
      return t("error.forbidden");
    case "not_found":
      return t("error.notFound");
    case "too_large":
      return limit && name ? t("error.tooLargeFile", { name, limit: formatSize(sizeParts(limit)) }) : t("error.tooLarge");
    case "storage_full":
      return t("error.storageFull");
    case "quota_full":
      return quota ? t("error.quotaFull", { limit: formatSize(sizeParts(quota)) }) : t("error.storageFull");
    case "file_unreadable":
      return t("error.fileUnreadable", { name: name ?? t("message.file") });
    case "folder":
      return t("error.folder", { name: name ?? "" });
    case "no_picture":
      return t("error.noPicture", { name });
    case "rate_limited":
      return retryAfter ? t("error.rateLimited", { count: Math.max(1, Math.ceil(retryAfter / 1_000)) }) : t("error.tooFast");
    case "unauthorized":
      return t("error.unauthorized");
    case "name_taken":
      return t("error.nameTaken");
    case "conflict":
    case "bad_request":
    case "unknown_request":
      return t("error.refused");
    case "stale_page":
      return t("error.stalePage");
    case "aborted":
      return t("error.aborted");
    case "internal":
    default:
      return t("error.internal");
  }
}

/** Say how a chat {name, gone} was lost: from which, and by whom. */
export function lossText({ name: chat, gone }) {
  const { me } = state.value;
  if (gone.reason === "left") return t("chat.left", { chat });
  const name = gone.by && gone.by !== me.id ? tellOf(state.value, gone.by) : null;
  if (gone.reason === "deleted") return name ? t("chat.deletedBy", { name, chat }) : t("chat.deleted", { chat });
  return name ? t("chat.removedBy", { name, chat }) : t("chat.removed", { chat });
}

/** Show a failure at the foot of the page if no view does. Requests that end with the session have not failed. */
export function report(failure) {
  if (!(failure instanceof RequestError)) throw failure;
  if (state.value) tell(explain(failure), { error: true });
}
