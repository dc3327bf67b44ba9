/** A picture with something `instead` of it while it cannot be fetched. */
import { Fetching, html } from "../parts.js";

export class Img extends Fetching {
  render({ instead, ...rest }, { failed }) {
    return rest.src === failed ? instead : html`<img ...${rest} decoding="async" onError=${this.onError} />`;
  }
}
