/** A list of which only the beginning is drawn until the rest is scrolled to: a group may have thousands of members. */
import { Component } from "preact";
import { html } from "./parts.js";

const STEP = 60;

export class Growing extends Component {
  state = { count: STEP };

  componentDidMount() {
    this.observer = new IntersectionObserver(
      ([...seen]) => seen.some((one) => one.isIntersecting) && this.setState({ count: this.state.count + STEP }),
      { rootMargin: "600px" },
    );
    this.watch();
  }

  componentDidUpdate() {
    this.watch();
  }

  componentWillUnmount() {
    this.observer.disconnect();
  }

  /** Observe the end afresh: it may still be in view after a step. */
  watch() {
    this.observer.disconnect();
    if (this.end) this.observer.observe(this.end);
  }

  render({ items, row }, { count }) {
    return html`<ul>${items.slice(0, count).map(row)}
      ${items.length > count ? html`<li key="end" aria-hidden="true" ref=${(element) => (this.end = element)}></li>` : null}</ul>`;
  }
}
