/** Time as the dispatcher sees it, in milliseconds from any origin. `after` calls once, and returns how to cancel it. */
export type Clock = {
  now(): number;
  after(ms: number, call: () => void): () => void;
};

export const systemClock: Clock = {
  now: () => performance.now(),
  after: (ms, call) => {
    const timer = setTimeout(call, ms);
    return () => clearTimeout(timer);
  },
};
