// Know venue time: what the venue last said, carried on at wall speed and never past the next step.

export class VenueClock {
  constructor() {
    this.status = null;
    this.heardAt = 0;
  }

  hear(status) {
    this.status = status;
    this.heardAt = performance.now();
  }

  /** Venue time in milliseconds; 0 before the venue has spoken. */
  nowMs() {
    if (!this.status) return 0;
    const carried = this.status.venue_time_ms + Math.floor(performance.now() - this.heardAt);
    const next = this.status.next_step_ms;
    return next === null ? carried : Math.max(this.status.venue_time_ms, Math.min(carried, next - 1));
  }

  nowS() {
    return Math.floor(this.nowMs() / 1000);
  }
}
