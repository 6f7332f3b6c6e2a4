import type { Clock } from '../../src/dispatcher/clock.ts';

type Event = { at: number; order: number; call: () => void; canceled: boolean };

/** Time that advances from event to event: code that awaits something resumes before the next event. */
export type VirtualTime = Clock & {
  /** Runs events in order of time until `over` returns true, none are left, or `until` (milliseconds) is reached. */
  run(until: number, over: () => boolean): Promise<void>;
};

// Ticks run after every promise, however long the chain; a turn of the event loop costs a system call.
const everythingSettled = () => new Promise<void>((resolve) => queueMicrotask(() => process.nextTick(resolve)));

export function virtualTime(): VirtualTime {
  const events: Event[] = [];
  let now = 0;
  let order = 0;

  // A binary heap, the earliest event first.
  const isBefore = (a: Event, b: Event) => a.at < b.at || (a.at === b.at && a.order < b.order);

  function push(event: Event): void {
    let at = events.push(event) - 1;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!isBefore(event, events[parent] as Event)) break;
      events[at] = events[parent] as Event;
      at = parent;
    }
    events[at] = event;
  }

  function pop(): Event | undefined {
    const first = events[0];
    const last = events.pop();
    if (!first || !last || events.length === 0) return first;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= events.length) break;
      if (child + 1 < events.length && isBefore(events[child + 1] as Event, events[child] as Event)) child++;
      if (!isBefore(events[child] as Event, last)) break;
      events[at] = events[child] as Event;
      at = child;
    }
    events[at] = last;
    return first;
  }

  return {
    now: () => now,
    after(ms, call) {
      const event = { at: now + Math.max(0, ms), order: order++, call, canceled: false };
      push(event);
      return () => {
        event.canceled = true;
      };
    },
    async run(until, over) {
      for (let next = pop(); next && !over(); next = pop()) {
        if (next.canceled) continue;
        if (next.at > until) return;
        now = next.at;
        next.call();
        await everythingSettled();
      }
    },
  };
}
