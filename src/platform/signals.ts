/** Milliseconds within which copies of a signal arrive: a terminal signals the whole process group, and npm forwards it. */
const DUPLICATE_MS = 1000;

type SignalHandlers = {
  /** Called with the name of the first signal. */
  first(signal: string): void;
  /** Called for each later signal that is not a copy of the first. */
  second(): void;
};

export type Signals = {
  /** Sets the functions to call from now on. */
  setHandlers(handlers: SignalHandlers): void;
};

/** Handles SIGTERM and SIGINT from now on. Before `setHandlers`, the first one exits with 0: nothing has started. */
export function handleSignals(): Signals {
  let handlers: SignalHandlers = { first: () => process.exit(0), second: () => process.exit(1) };
  let first: { signal: string; at: number } | undefined;

  // One listener: Deno also calls listeners that are added while a signal is handled.
  const onSignal = (signal: string) => {
    if (!first) {
      first = { signal, at: performance.now() };
      handlers.first(signal);
    } else if (signal !== first.signal || performance.now() - first.at > DUPLICATE_MS) handlers.second();
  };
  for (const signal of ['SIGTERM', 'SIGINT']) process.on(signal, () => onSignal(signal));

  return {
    setHandlers: (next) => {
      handlers = next;
    },
  };
}
