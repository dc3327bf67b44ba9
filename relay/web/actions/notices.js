/** What the page says to the person: at its foot, and to a screen reader. */
import { t } from "../i18n/i18n.js";
import { RequestError } from "../net/socket.js";
import { announcements, notice } from "../signals.js";

const ANNOUNCED = 10;
let announced = 0;

/** Say something to those who hear the page: each time, also when it is the same again. */
export function announce(text) {
  announced += 1;
  announcements.value = [...announcements.value.slice(1 - ANNOUNCED), { id: announced, text }];
}

let noticeTimer;

/** Say something at the foot of the page. */
export function tell(text, error = false) {
  clearTimeout(noticeTimer);
  notice.value = { text, error };
  noticeTimer = setTimeout(() => (notice.value = null), error ? 8_000 : 4_000);
}

/** What went wrong and what to do, in the person's language. */
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

/** Show a failure where nothing closer can. */
export function report(failure) {
  if (failure instanceof RequestError) tell(explain(failure), true);
  else throw failure;
}
