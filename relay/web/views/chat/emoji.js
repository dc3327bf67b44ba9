/** A short list of emoji; the system's keyboard has the rest. */
import { Component } from "preact";
import { dialog } from "../../signals.js";
import { t } from "../../i18n/i18n.js";
import { closeAbove, openAbove, veil } from "../frames.js";
import { html } from "../parts.js";

const EMOJI =
  "😀 😄 😅 😂 🙂 😉 😊 😍 😘 😎 🤔 😐 🙄 😴 😮 😢 😭 😡 🥳 🤯 😱 🤗 🙃 😇 👍 👎 👌 🙏 👏 💪 👋 🤝 ✌️ 🤞 👀 🤷 ❤️ 🧡 💛 💚 💙 💜 🔥 ✨ ⭐ 🎉 🎂 🎁 ☀️ 🌧️ ❄️ 🌈 ☕ 🍕 🍰 🍻 🚗 🚲 ✈️ 🏠 💻 📱 📷 🔧 🔑 💡 📌 📅 ⏰ ✅ ❌ ❗ ❓ ➡️ 🐱 🐶 🐝 🌱 🌳 🌻".split(" ");

export class Emoji extends Component {
  componentDidMount() {
    openAbove(this.element);
    const panel = this.element.firstElementChild;
    const { anchor } = this.props;
    panel.style.left = `${Math.max(8, Math.min(anchor.right - panel.offsetWidth, innerWidth - panel.offsetWidth - 8))}px`;
    panel.style.top = `${Math.max(8, anchor.top - panel.offsetHeight - 8)}px`;
    panel.querySelector("button").focus();
  }

  componentWillUnmount() {
    closeAbove(this.element);
  }

  onKey = (event) => {
    const by = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: 8, ArrowUp: -8 }[event.key];
    if (!by) return;
    event.preventDefault();
    const buttons = [...this.element.querySelectorAll("button")];
    buttons[buttons.indexOf(document.activeElement) + by]?.focus();
  };

  render({ onPick }) {
    const close = () => (dialog.value = null);
    return html`<dialog class="menu-veil" aria-label=${t("composer.emoji")} ref=${(element) => (this.element = element ?? this.element)} onClose=${close} ...${veil(close)}>
      <div class="menu emoji-panel" onKeyDown=${this.onKey}><div class="emoji-grid">
        ${EMOJI.map((one) => html`<button type="button" key=${one} onClick=${() => { this.element.close(); close(); onPick(one); }}>${one}</button>`)}
      </div></div>
    </dialog>`;
  }
}
