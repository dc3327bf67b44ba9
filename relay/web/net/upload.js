/** Uploads to the relay. */
import { RequestError } from "./socket.js";

/** An upload without progress for this many ms is given up and retried later: the network may be broken. */
export const STALLS_AFTER = 30_000;
/** Once everything is sent, the relay may need this many ms to answer on a slow disk. */
const ANSWERS_WITHIN = 120_000;

/** The failure in an answer of the relay. */
function failureOf({ status, response }) {
  const said = response?.error;
  // Without the relay's error a proxy has answered, and a retry may work.
  const code = said?.code ?? { 413: "too_large", 507: "storage_full" }[status] ?? "connection_lost";
  // The user's quota is used up, not the relay's disk (PROTOCOL.md, section 2).
  const own = code === "storage_full" && said?.quota !== undefined;
  return Object.assign(new RequestError(own ? "quota_full" : code, said?.message, said?.retryAfter), own ? { quota: said.quota } : {});
}

/** Upload one file with progress in bytes; fetch cannot report the progress of an upload. */
export function upload(file, onProgress, onStart) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    let timer;
    let stalled = false;
    const expect = (ms) => {
      clearTimeout(timer);
      timer = setTimeout(() => {
        stalled = true;
        request.abort();
      }, ms);
    };
    const end = (settle, value) => {
      clearTimeout(timer);
      settle(value);
    };
    onStart?.(request);
    request.open("POST", "/files");
    request.setRequestHeader("Content-Type", file.type || "application/octet-stream");
    request.setRequestHeader("Content-Disposition", `attachment; filename*=UTF-8''${percentEncoded(file.name)}`);
    request.responseType = "json";
    request.upload.onprogress = (event) => {
      expect(STALLS_AFTER);
      onProgress(event.loaded);
    };
    request.upload.onload = () => expect(ANSWERS_WITHIN);
    request.onload = () => {
      const { status, response } = request;
      // A captive portal's page names no file.
      if (status >= 200 && status < 300 && response?.id) end(resolve, withShape(response, file));
      else if (status >= 200 && status < 300) end(reject, new RequestError("connection_lost", "Somebody else than the relay answered."));
      else end(reject, failureOf(request));
    };
    request.onabort = () =>
      end(reject, stalled ? new RequestError("connection_lost", "The upload stood still.") : new RequestError("aborted", "The upload was stopped."));
    request.onerror = () => end(reject, new RequestError("connection_lost", "The upload broke off."));
    expect(STALLS_AFTER);
    request.send(file.blob);
  });
}

/** RFC 8187's ext-value: characters that encodeURIComponent keeps and the grammar forbids. */
function percentEncoded(name) {
  return encodeURIComponent(name).replace(/['()*]/g, (letter) => `%${letter.charCodeAt(0).toString(16).toUpperCase()}`);
}

/** Width, height and duration measured by the browser if the relay did not. */
function withShape(attachment, file) {
  if (!file.width || attachment.meta?.width) return attachment;
  const { width, height, duration } = file;
  const meta = { ...attachment.meta, width, height };
  if (attachment.type === "video" && duration) meta.duration ??= duration;
  return attachment.type === "file" ? attachment : { ...attachment, meta };
}
