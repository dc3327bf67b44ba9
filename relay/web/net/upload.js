/** Uploads to the relay. */
import { RequestError } from "./socket.js";

/** An upload that makes no progress for so many ms is given up, and tried again later: the network may be a lie. */
export const STALLS_AFTER = 30_000;
/** Once all is sent, a slow disk may need so many ms until the relay answers. */
export const ANSWERS_WITHIN = 120_000;

/** The failure that an answer of the relay tells. */
function failureOf({ status, response }) {
  const said = response?.error;
  // Without the relay's own words a proxy on the way has answered: what it could not do may work later.
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
      // A page that a hotel or a proxy shows in place of the relay's answer names no file.
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

/** RFC 8187's ext-value: what encodeURIComponent leaves alone and the grammar does not. */
function percentEncoded(name) {
  return encodeURIComponent(name).replace(/['()*]/g, (letter) => `%${letter.charCodeAt(0).toString(16).toUpperCase()}`);
}

/** Width, height and duration as the browser measured them, where the relay did not. */
function withShape(attachment, file) {
  if (!file.width || attachment.meta?.width) return attachment;
  const { width, height, duration } = file;
  const meta = { ...attachment.meta, width, height };
  if (attachment.type === "video" && duration) meta.duration ??= duration;
  return attachment.type === "file" ? attachment : { ...attachment, meta };
}

/** Upload a picture of the user or a group; returns its address. */
export async function uploadPhoto(file) {
  const attachment = await upload({ blob: file, name: file.name, type: file.type, size: file.size }, () => {});
  return attachment.url;
}
