/** Notices: at the foot of the page, and for screen readers. */
import { t } from "../i18n/i18n.js";
import { tellOf } from "../model/state.js";
import { RequestError } from "../net/socket.js";
import { announcements, notice, state } from "../signals.js";

const ANNOUNCED = 10;
let announced = 0;

/** Announce a text to screen readers, even if it is the same as the last one. */
export function announce(text) {
  announced += 1;
  announcements.value = [...announcements.value.slice(1 - ANNOUNCED), { id: announced, text }];
}

let noticeTimer;

/** Show a notice at the foot of the page for `lasts` ms; `action` names a button on it, which calls `onAction`. */
export function tell(text, { error = false, action, onAction, lasts = error ? 8_000 : 4_000 } = {}) {
  clearTimeout(noticeTimer);
  notice.value = { text, error, action, onAction };
  noticeTimer = setTimeout(untell, lasts);
}

/** Take the notice away. */
export function untell() {
  clearTimeout(noticeTimer);
  notice.value = null;
}

/** Say what went wrong and what to do, in the user's language: of {code, limit?, quota?, retryAfter?, name?}, or of a code. */
export function explain(failure) {
  switch (failure?.code ?? failure) {
    case "connection_lost":
    case "unavailable":
      return t("error.offline");
    case "forbidden":
      return t("error.forbidden");
    case "not_found":
      return t("error.notFound");
    case "too_large":
      return t("error.tooLarge");
    case "storage_full":
      return t("error.storageFull");
    case "quota_full":
      return t("error.quotaFull");
    case "rate_limited":
      return t("error.rateLimited", { count: Math.max(1, Math.ceil((failure.retryAfter ?? 5_000) / 1_000)) });
    case "unauthorized":
      return t("error.unauthorized");
    case "conflict":
      return t("error.conflict");
    default:
      return t("error.internal");
  }
}

/** Say how a chat {name, gone} was lost: from what, and by whom. */
export function lossText({ name: chat, gone }) {
  const { me } = state.value;
  if (gone.reason === "left") return t("chat.left", { chat });
  const name = gone.by && gone.by !== me.id ? tellOf(state.value, gone.by) : null;
  if (gone.reason === "deleted") return name ? t("chat.deletedBy", { name, chat }) : t("chat.deleted", { chat });
  return name ? t("chat.removedBy", { name, chat }) : t("chat.removed", { chat });
}

/** Show a failure at the foot of the page, where no view shows it. */
export function report(failure) {
  if (failure instanceof RequestError) tell(explain(failure), { error: true });
  else throw failure;
}
