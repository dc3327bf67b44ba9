/** Uploads to the relay. */
import { RequestError } from "./socket.js";

const blobUrls = new Map();

/** Upload one file with progress in bytes; fetch cannot report the progress of an upload. */
export function upload(file, onProgress, onStart) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    onStart?.(request);
    request.open("POST", "/files");
    request.setRequestHeader("Content-Type", file.type || "application/octet-stream");
    request.setRequestHeader("Content-Disposition", `attachment; filename*=UTF-8''${percentEncoded(file.name)}`);
    request.responseType = "json";
    request.upload.onprogress = (event) => onProgress(event.loaded);
    request.onload = () => {
      const answer = request.response;
      if (request.status >= 200 && request.status < 300 && answer) {
        resolve(withShape(answer, file));
      } else {
        const said = answer?.error?.code ?? { 413: "too_large", 507: "storage_full" }[request.status] ?? "internal";
        // The user's quota is used up, not the relay's disk (PROTOCOL.md, section 2).
        const code = said === "storage_full" && answer?.error?.quota !== undefined ? "quota_full" : said;
        reject(new RequestError(code, answer?.error?.message, answer?.error?.retryAfter));
      }
    };
    request.onabort = () => reject(new RequestError("aborted", "The upload was stopped."));
    request.onerror = () => reject(new RequestError("connection_lost", "The upload broke off."));
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

/** Make an address for the preview of a file in the outbox. */
export function previewUrl(blob) {
  if (!blobUrls.has(blob)) blobUrls.set(blob, URL.createObjectURL(blob));
  return blobUrls.get(blob);
}
