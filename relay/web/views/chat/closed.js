/** What stands in place of the composer in a chat that cannot be written in: why, and what was typed for it. */
import { lossText } from "../../actions/notices.js";
import { forgetChat } from "../../actions/restarts.js";
import { dialog, state } from "../../signals.js";
import { t } from "../../i18n/i18n.js";
import { draftsFor, hasUnsent } from "../../model/state.js";
import { copyText } from "../dialogs.js";
import { html, IconButton } from "../parts.js";

/** Remove a lost chat from the list; ask first if that erases something unsent. */
function dismiss({ id }) {
  if (!hasUnsent(state.value, id)) return forgetChat(id);
  dialog.value = { name: "confirm", text: t("dialog.losesText"), action: t("chat.forget"), run: () => forgetChat(id) };
}

export function Closed({ chatId }) {
  const now = state.value;
  const chat = now.chats.get(chatId);
  const drafts = draftsFor(now, chatId);
  return html`<div class="read-only lost"><p>${chat?.gone ? lossText(chat) : t("chat.readOnly")}</p>
    ${drafts.map(([key, { text }]) => html`<div class="unsent" key=${key}>
      <p dir="auto" tabindex="0"><span class="is-draft">${t("chat.draft")}</span> ${text}</p>
      <${IconButton} icon="copy" label=${t("menu.copy")} onClick=${() => copyText(text)} />
    </div>`)}
    ${chat?.gone ? html`<button type="button" class="link" onClick=${() => dismiss(chat)}>${t("chat.forget")}</button>` : null}</div>`;
}
