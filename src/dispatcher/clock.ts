/** The dispatcher's clock, in milliseconds from any origin. `after` calls `call` once; its result cancels the call. */
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
