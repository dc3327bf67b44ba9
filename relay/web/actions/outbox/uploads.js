/** Sends the files of the outbox. The tab that has a message's files uploads them. */
import { asking, elsewhere, finished, own, patch, rowOf, running, setProgress, tabId, waits } from "../outbox.js";
import { change, runtime } from "../store.js";
import { patchOutbox } from "../../model/state.js";
import { clock } from "../../net/clock.js";
import { RequestError, rowBackoff } from "../../net/socket.js";
import { upload } from "../../net/upload.js";

/** Another tab with a row's files answers within this many ms. */
const CLAIMED_WITHIN = 1_000;

/** Whether the browser can read a file: it fails for folders and files changed, moved or removed since the choice. */
export const isReadable = (blob) => blob.slice(0, 1).arrayBuffer().then(() => true, () => false);

/** Whether this tab sends the files of a row: it got them from the user, or no other tab has them. */
async function claim(clientMessageId) {
  if (own.has(clientMessageId)) return true;
  const isTaken = await new Promise((resolve) => {
    asking.set(clientMessageId, resolve);
    setTimeout(resolve, CLAIMED_WITHIN, false);
    runtime.storage?.tell({ kind: "whose", clientMessageId, tabId });
  });
  if (!asking.delete(clientMessageId) || isTaken) return false;
  own.add(clientMessageId);
  return true;
}

/** The readable files of a row: as chosen, or from the disk. */
async function readableFiles(row) {
  const readable = async (files) => {
    for (const file of files ?? row.files) if (!file.blob || !(await isReadable(file.blob))) return file;
    return files ? null : row.files[0];
  };
  const lost = await readable(row.files);
  if (!lost) return row.files;
  const kept = await runtime.storage?.loadRow(row.clientMessageId);
  if (await readable(kept?.files)) throw Object.assign(new RequestError("file_unreadable", "The file cannot be read."), { file: lost.name });
  change((now) => patchOutbox(now, row.clientMessageId, { files: kept.files }));
  return kept.files;
}

/** Upload the files of a row, and give it their attachments; if another tab has the files, let the row wait. */
export async function uploadAll(row) {
  const { clientMessageId: id } = row;
  let sending;
  try {
    if (await claim(id)) {
      const files = await readableFiles(row);
      const total = files.reduce((sum, file) => sum + file.size, 0) || 1;
      const attachments = finished.get(id) ?? [];
      let done = files.slice(0, attachments.length).reduce((sum, file) => sum + file.size, 0);
      for (sending of files.slice(attachments.length)) {
        if (!rowOf(id)) return;
        const begun = (request) => running.set(id, request);
        attachments.push(await upload(sending, (loaded) => setProgress(id, (done + loaded) / total), begun));
        finished.set(id, attachments);
        done += sending.size;
      }
      if (!rowOf(id)) return;
      waits.delete(id);
      patch(id, { attachments: [...attachments] });
    } else if (rowOf(id)) {
      const times = elsewhere.get(id) ?? 0;
      elsewhere.set(id, times + 1);
      waits.set(id, { tries: 0, notBefore: clock.steady() + rowBackoff(times) });
    }
  } catch (failure) {
    throw Object.assign(failure, { code: failure.code ?? "internal", file: failure.file ?? sending?.name });
  } finally {
    running.delete(id);
  }
}
