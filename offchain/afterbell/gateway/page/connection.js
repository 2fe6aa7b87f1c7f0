// Say how the page is connected and what time it is at the venue; notice when another venue answers.

import { get } from "/page/api.js";
import { byId, setText } from "/page/dom.js";
import { Stream } from "/page/stream.js";
import { formatVenueTime } from "/page/units.js";

const CLOCK_MS = 250;

export class Connection {
  constructor(venue, clock) {
    this.venue = venue;
    this.clock = clock;
    this.stream = new Stream((state) => this.hear(state));
    setInterval(() => this.showClock(), CLOCK_MS);
  }

  hear(state) {
    const isLive = state === "live";
    byId("connection").className = `dot ${state}`;
    byId("connection").title = isLive ? "connected" : "connection lost, trying again";
    setText(byId("connection-words"), isLive ? "Connected" : "Reconnecting");
    byId("reconnecting").hidden = isLive;
    if (isLive) this.mustBeSameVenue();
  }

  showClock() {
    const { status } = this.clock;
    if (!status) return;
    setText(byId("venue-time"), formatVenueTime(this.clock.nowMs()));
    setText(byId("clock-label"), status.step === null ? "Venue time" : `Venue time · replay step ${status.step}`);
    byId("clock-label").title = status.mode === "replay" ? `History is replayed, ${status.speed} trading days a minute.` : "";
  }

  /** Another instance may have started under the same address: nothing shown here would be true. */
  async mustBeSameVenue() {
    try {
      const found = await get("/v1/venue");
      const isSame = found.genesis_s === this.venue.genesis_s && found.domain.verifying_contract === this.venue.domain.verifying_contract;
      if (!isSame) location.reload();
    } catch {
      return; // The next connection asks again.
    }
  }
}
