/** Milliseconds within which copies of a signal arrive: a terminal signals the whole process group, and npm forwards it. */
const SAME_MS = 500;

type Heard = {
  /** Called with the name of the first signal. */
  first(signal: string): void;
  /** Called for each later signal that is not a copy of the first. */
  second(): void;
};

export type Signals = {
  /** Sets the functions to call from now on. */
  tell(heard: Heard): void;
};

/** Handles SIGTERM and SIGINT from now on. Before `tell` is called, the first one exits with 0: nothing has started. */
export function hearSignals(): Signals {
  let heard: Heard = { first: () => process.exit(0), second: () => process.exit(1) };
  let first: { signal: string; at: number } | undefined;

  // One listener: Deno also calls listeners that are added while a signal is handled.
  const onSignal = (signal: string) => {
    if (!first) {
      first = { signal, at: performance.now() };
      heard.first(signal);
    } else if (signal !== first.signal || performance.now() - first.at > SAME_MS) heard.second();
  };
  for (const signal of ['SIGTERM', 'SIGINT']) process.on(signal, () => onSignal(signal));

  return {
    tell: (next) => {
      heard = next;
    },
  };
}
